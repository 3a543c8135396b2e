"""Episodes that end where a condition says so."""

from typing import ClassVar, final

from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_plan import flag_groups
from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import no_forward
from rl_envs.transforms._predicates import Predicate, RowPredicate
from rl_envs.transforms._wiring import leaf_keys
from rl_envs.transforms.transform import Transform
from rl_specs import NestedKey, TensorMap


@final
class TerminateTransform(Transform):
    """Sets `terminated`, and `done`, where a condition holds after a step.

    Args:
        stop: from the entries that the step returned `[*B]`, rewards and flags included, to a bool, or a tensor of them
            `[*B]` or `[*B, 1]`.
        write_done: set `done` together with `terminated`.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(self, stop: Predicate, *, write_done: bool = True) -> None:
        super().__init__()
        self.stop = stop
        self.write_done = write_done
        self._keys: list[tuple[NestedKey, int]] = []
        self._stops: RowPredicate | None = None

    def _bind(self, specs: EnvSpecs) -> list[str]:
        batch, flags = specs.done.shape, dict(specs.done.flat_items())
        self._stops = RowPredicate("TerminateTransform: stop", self.stop, batch_size=batch, device=specs.done.device)
        groups = flag_groups(leaf_keys(specs.done))
        keys = [group[1] for group in groups] + ([group[0] for group in groups] if self.write_done else [])
        self._keys = [(key, len(flags[key].shape) - len(batch) - 1) for key in keys]
        return []

    def _writes(self) -> list[NestedKey]:
        return [key for key, _ in self._keys]

    def _step(self, data: TensorMap, next_data: TensorMap) -> TensorMap:
        assert self._stops is not None
        rows = self._stops(next_data)
        for key, extra in self._keys:
            next_data[key] = next_data[key] | _wider(rows, extra)
        return next_data

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return reset_data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Refused: an episode that is stored has ended where it has."""
        raise no_forward("TerminateTransform")

    def __repr__(self) -> str:
        return f"TerminateTransform(stop={self.stop}, write_done={self.write_done})"


def _wider(rows: Tensor, extra: int) -> Tensor:
    return rows.reshape(rows.shape + (1,) * extra) if extra else rows
