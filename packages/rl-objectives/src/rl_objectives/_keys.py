"""Names of the entries that estimators and losses read and write, and how they are changed."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from rl_specs import NestedKey, canonical_key, message, missing_key, near_matches


@dataclass(frozen=True)
class TensorKeys:
    """Entries that estimators and policy-gradient losses read and write.

    `reward`, `done` and `terminated` are read under `"next"`. `sample_log_prob` may be a list of entries, one per
    head of a composite action; they are summed. `steps_to_next_obs` is read where there is one: how many steps lie
    between a state and the one to bootstrap from.
    """

    advantage: NestedKey = "advantage"
    value_target: NestedKey = "value_target"
    value: NestedKey = "state_value"
    reward: NestedKey = "reward"
    done: NestedKey = "done"
    terminated: NestedKey = "terminated"
    action: NestedKey = "action"
    sample_log_prob: NestedKey | list[NestedKey] = "sample_log_prob"
    steps_to_next_obs: NestedKey = "steps_to_next_obs"

    @property
    def log_prob_keys(self) -> list[NestedKey]:
        """The entries of `sample_log_prob`, one or several."""
        return self.sample_log_prob if isinstance(self.sample_log_prob, list) else [self.sample_log_prob]

    def changed(self, component: str, changes: Mapping[str, Any]) -> "TensorKeys":
        """These names with `changes` made; None leaves a name as it is.

        Raises:
            KeyError: `changes` names an entry that is not one of these.
            TypeError: a new name is not a key.
        """
        known = [field.name for field in fields(self)]
        for name, key in changes.items():
            if name not in known:
                fix = f"Choose from: {', '.join(known)}.{near_matches(name, known)}"
                raise UnknownKeyError(message(component, f'set_keys has no key "{name}"', fix=fix))
            if key is not None and not isinstance(key, list):
                canonical_key(key)
        return replace(self, **{name: key for name, key in changes.items() if key is not None})

    def as_dict(self) -> dict[str, Any]:
        """Name of the role to name of the entry."""
        return asdict(self)


class UnknownKeyError(KeyError):
    """`set_keys` was given the name of a role that the component does not have."""

    def __str__(self) -> str:
        return str(self.args[0])


def read(component: str, data: TensorDictBase, key: NestedKey, *, fix: str) -> Tensor:
    """Entry under `key`.

    Raises:
        MissingKeyError: it is not there; `fix` ends the message.
    """
    value: Tensor | None = data.get(key, None)
    if value is None:
        raise missing_key(component, key, data.keys(True, True), fix=fix)
    return value


def input_keys(module: TensorDictModuleBase) -> list[NestedKey]:
    """What `module` reads, without the parents of entries that it writes itself.

    A policy over several heads names the TensorDict of its distribution parameters among its inputs, although it fills
    it; what a batch holds there is from another time.
    """
    written = [key for key in module.out_keys if isinstance(key, tuple)]
    if not written:
        return list(module.in_keys)
    paths = [(key,) if isinstance(key, str) else key for key in module.in_keys]
    is_parent = [any(len(path) < len(key) and key[: len(path)] == path for key in written) for path in paths]
    return [key for key, parent in zip(module.in_keys, is_parent, strict=True) if not parent]


def select_inputs(component: str, data: TensorDictBase, keys: Iterable[NestedKey], *, fix: str) -> TensorDict:
    """New TensorDict with the entries under `keys`, not copied, so that a module may write without touching `data`.

    Raises:
        MissingKeyError: one of them is not there; `fix` ends the message.
    """
    entries: dict[str, Tensor] = {}
    nested: dict[NestedKey, Tensor] = {}
    for key in keys:
        value = read(component, data, key, fix=fix)
        if isinstance(key, str):
            entries[key] = value
        else:
            nested[key] = value
    inputs = TensorDict._new_unsafe(entries, batch_size=data.batch_size, device=data.device)
    for key, value in nested.items():
        inputs.set(key, value)
    return inputs
