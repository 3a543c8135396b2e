"""An accelerator made of the CPU, on which every wait of the host for the device is seen.

Tensors of device `"sim"` hold a CPU tensor, and each operation on them is that operation on what they hold, so the
numbers are those of the CPU, bit by bit. What a real accelerator refuses (operands on two devices) is an error here as
well, and what makes the host wait for one (reading a value, a result whose size depends on values, a copy between
devices) is recorded while `waits_recorded` is on. Setting the device up changes the whole process: it is done in a
process of its own, by `call`.
"""

import runpy
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

DEVICE = "sim"
_READS = {
    "_local_scalar_dense",
    "_unique",
    "_unique2",
    "allclose",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}
"""Operations that need the values of their operands on the host."""

_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
_COPIES = {"_to_copy", "copy_", "copy", "_foreach_copy_"}

_TAKES_HOST_NUMBERS = {
    *("add", "sub", "rsub", "mul", "div", "floor_divide", "remainder", "fmod", "pow", "atan2"),
    *("eq", "ne", "lt", "le", "gt", "ge", "maximum", "minimum", "fmax", "fmin"),
    *("bitwise_and", "bitwise_or", "bitwise_xor", "logical_and", "logical_or", "logical_xor"),
    *("fill", "masked_fill", "nextafter", "copysign"),
}
"""Operations that take a CPU tensor without dimensions as a number, beside operands on an accelerator."""

_TAKES_HOST_NUMBERS_AFTER_A_COPY = {"where", *_INDEXING}

_recorded: list[str] | None = None


@contextmanager
def simulate() -> Iterator[None]:
    """Operations run on the simulated accelerator where their tensors, or their `device`, say so."""
    if torch._C._get_privateuse1_backend_name() != DEVICE:
        _setup_privateuseone_for_python_backend(DEVICE)
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device) copies through the operation below
    try:
        with _SimulatedDevice():  # type: ignore[no-untyped-call]  # torch leaves it untyped
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(False)


@contextmanager
def waits_recorded() -> Iterator[list[str]]:
    """The list of what makes the host wait for the device from here on: operation, and line of the code that ran it."""
    global _recorded
    outer, _recorded = _recorded, []
    try:
        yield _recorded
    finally:
        _recorded = outer


def call(path: str, name: str, *args: Any) -> Any:
    """What a function of a file returns when it runs with the simulated accelerator; for a process of its own.

    Args:
        path: the file.
        name: the function.
        args: its arguments.
    """
    function = runpy.run_path(path)[name]
    with simulate():
        return function(*args)


def on_host(value: Tensor) -> Tensor:
    """What a tensor holds, as a CPU tensor, for a test to look at."""
    return value.held if isinstance(value, SimulatedTensor) else value


class SimulatedTensor(Tensor):
    """A tensor on the simulated accelerator."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "SimulatedTensor":
        """A tensor of the form of `held`, on the device."""
        form: dict[str, Any] = {
            "strides": held.stride(),
            "storage_offset": held.storage_offset(),
            "dtype": held.dtype,
            "device": torch.device(DEVICE, 0),
        }
        tensor: SimulatedTensor = Tensor._make_wrapper_subclass(cls, held.shape, **form)
        tensor.held = held
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch declares a function in place of a method
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation on what its operands hold."""
        return _run(func, args, kwargs or {})


class _SimulatedDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Sees the operations that make tensors, which have no operand to tell the device by."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func._schema.name.removeprefix("aten::")
    tensors: list[Tensor] = []

    def held(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return on_host(tensor)

    held_args, held_kwargs = _mapped(held, (args, kwargs))
    has_ours = any(isinstance(tensor, SimulatedTensor) for tensor in tensors)
    device = kwargs.get("device")
    goes_there = has_ours if device is None else torch.device(device).type == DEVICE
    if not has_ours and not goes_there:
        return func(*args, **kwargs)
    _check_devices(name, tensors)
    if _recorded is not None and _waits(name, args, kwargs, tensors, goes_there):
        _recorded.append(f"{name} at {_caller()}")
    if device is not None:
        held_kwargs["device"] = torch.device("cpu")
    out = func(*held_args, **held_kwargs)
    if goes_there:
        out = _mapped(SimulatedTensor, out)
        if has_ours:  # writes in place and views go back to the operands
            return return_and_correct_aliasing(func, args, kwargs, out)  # type: ignore[no-untyped-call]  # likewise
    return out


def _mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """`value` with `function` applied to each tensor in it."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, list | tuple):
        items = [_mapped(function, item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, dict):
        return {key: _mapped(function, item) for key, item in value.items()}
    return value


def _check_devices(name: str, tensors: list[Tensor]) -> None:
    """What an accelerator refuses: operands on the CPU, but for numbers where the operation takes them."""
    on_cpu = [tensor for tensor in tensors if not isinstance(tensor, SimulatedTensor)]
    if not on_cpu or len(on_cpu) == len(tensors) or name in _COPIES or name in _INDEXING:
        return
    takes_numbers = name.removesuffix("_") in _TAKES_HOST_NUMBERS | _TAKES_HOST_NUMBERS_AFTER_A_COPY
    if not takes_numbers or any(tensor.ndim for tensor in on_cpu):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device; at {_caller()}")


def _waits(name: str, args: Any, kwargs: dict[str, Any], tensors: list[Tensor], goes_there: bool) -> bool:
    if name in _READS:
        return True
    if name == "repeat_interleave":
        return kwargs.get("output_size") is None
    if name in _TAKES_HOST_NUMBERS_AFTER_A_COPY and any(not isinstance(tensor, SimulatedTensor) for tensor in tensors):
        return True
    if name in _INDEXING:
        return any(index is not None and index.dtype is torch.bool for index in args[1])
    if name not in _COPIES:
        return False
    is_queued = bool(kwargs.get("non_blocking") or (name != "_to_copy" and len(args) > 2 and args[2]))
    if name == "_to_copy":
        crosses = isinstance(tensors[0], SimulatedTensor) != goes_there
    else:
        crosses = len({tensor.device.type for tensor in tensors}) > 1
        goes_there = isinstance(tensors[0], SimulatedTensor)
    return crosses and not (is_queued and goes_there)


def _caller() -> str:
    """The innermost lines outside torch, tensordict and this file."""
    stack = [frame for frame in traceback.extract_stack() if not _is_foreign(frame.filename)]
    return " < ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in stack[:-4:-1])


def _is_foreign(path: str) -> bool:
    return "site-packages" in path or path == __file__ or "<" in path
