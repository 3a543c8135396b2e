"""The two calls that a step is made of, under `torch.compile` where that is asked for."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from rl_envs import EnvPlan
from rl_specs import FlatDict, message

Act: TypeAlias = Callable[[FlatDict], None]
Take: TypeAlias = Callable[[FlatDict], FlatDict]
Advance: TypeAlias = Callable[[FlatDict, FlatDict], tuple[FlatDict, Tensor | None]]
T = TypeVar("T")


def compile_options(component: str, value: object) -> dict[str, Any] | None:
    """What `compile_step` means: arguments of `torch.compile`, or None where nothing is compiled.

    Raises:
        TypeError: it is neither a bool nor a mapping.
    """
    usual = {"fullgraph": True, "dynamic": False}
    if "isolate_recompiles" in inspect.signature(torch.compile).parameters:  # torch 2.13; all collectors share a limit
        usual["isolate_recompiles"] = True  # on graphs of one function otherwise
    if isinstance(value, Mapping):
        return {**usual, **value}
    if isinstance(value, bool):
        return usual if value else None
    fix = 'Pass True, or arguments of torch.compile such as {"mode": "max-autotune-no-cudagraphs"}'
    raise TypeError(message(component, "compile_step", expected="a bool or a mapping", found=repr(value), fix=fix))


class StepCalls:
    """Acting and stepping as one call, carrying over and resetting as another.

    Args:
        component: whose calls these are, for messages.
        plan: of the environment.
        options: arguments of `torch.compile`; None does not compile.
    """

    def __init__(self, component: str, plan: EnvPlan, options: dict[str, Any] | None) -> None:
        self._component = component
        self._plan = plan
        self._options = options
        self._act: Act | None = None
        self._compiled: tuple[Take, Advance] | None = None

    def of(self, act: Act) -> tuple[Take, Advance]:
        """The calls for a batch whose actions `act` writes; compiled from the batch after the plan's first step on.

        The first step teaches the plan, which is no part of a graph.
        """
        self._act = act
        if self._options is None or not self._plan.is_connected:
            return self._take, self._plan.advance
        if self._compiled is None:
            self._compiled = self._compile(self._take), self._compile(self._plan.advance)
        return self._compiled

    def _take(self, root: FlatDict) -> FlatDict:
        assert self._act is not None
        self._act(root)
        return self._plan.step(root)

    def _compile(self, function: Callable[..., T]) -> Callable[..., T]:
        """`function` under `torch.compile`, with advice where it cannot be compiled."""
        call = torch.compile(function, **(self._options or {}))

        def run(*args: Any) -> T:
            try:
                return call(*args)
            except torch._dynamo.exc.Unsupported as error:
                problem = f"a step cannot be compiled as one graph ({str(error).splitlines()[0].rstrip('.')})"
                fix = 'Leave compile_step out, or pass compile_step={"fullgraph": False}'
                expected = "a policy and an environment written in torch"
                raise RuntimeError(message(self._component, problem, expected=expected, fix=fix)) from error

        return run
