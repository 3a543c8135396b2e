"""Environments that start the next episode by themselves, in the step that ends one."""

from typing import TYPE_CHECKING, Any, final

from torch import Tensor

from rl_envs._env_plan import RESET_KEY
from rl_envs._flat import unpack_flat
from rl_envs.transforms.transform import ResetCall
from rl_specs import FlatDict, NestedKey, TensorMap, message

if TYPE_CHECKING:
    from rl_envs.transforms.transformed_env import TransformedEnv


@final
class KeptStarts:
    """First observations of episodes that the environment has started, until somebody asks for a reset.

    Args:
        component: the transform, for messages.
    """

    def __init__(self, component: str) -> None:
        self._component = component
        self._entries: FlatDict = {}
        self._rows: Tensor | None = None

    def keep(self, entries: FlatDict, rows: Tensor) -> None:
        """Keep entries `[*B, ...]`, of meaning in the rows of a mask bool `[*B, 1]`, in place of those kept before."""
        self._entries, self._rows = entries, rows

    def forget(self) -> None:
        """Keep nothing."""
        self._entries, self._rows = {}, None

    def is_full_reset(self, mask: Tensor) -> bool:
        """Whether a mask of every row, looked at on the CPU, asks for more than what is kept."""
        if mask.device.type != "cpu" and self._rows is not None:
            return False
        return bool(mask.all()) and (self._rows is None or not bool(self._rows.all()))

    def hand_out(self, mask: Tensor) -> FlatDict:
        """The entries of rows that are to be reset.

        Raises:
            RuntimeError: a row of the mask (looked at on the CPU) has not ended its episode in the last step.
        """
        rows = self._rows
        looks = mask.device.type == "cpu"
        if rows is None or (looks and bool((mask & ~rows).any())):
            raise RuntimeError(
                message(
                    self._component,
                    "reset of a row whose episode has not ended in the last step",
                    fix="The environment resets itself when an episode ends. Reset all rows with env.reset()",
                )
            )
        return dict(self._entries)

    def state(self) -> dict[str, Any]:
        """What is kept, for `state_dict`."""
        keys = [(key,) if isinstance(key, str) else key for key in self._entries]
        return {"keys": keys, "values": list(self._entries.values()), "rows": self._rows}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        paths: list[tuple[str, ...]] = [tuple(path) for path in state["keys"]]
        keys: list[NestedKey] = [path[0] if len(path) == 1 else path for path in paths]
        self._entries = dict(zip(keys, state["values"], strict=True))
        self._rows = state["rows"]


@final
class OwnResets:
    """The reset of an environment that resets itself: partial ones hand out what is kept.

    Args:
        env: the environment.
        kept: what its steps have kept.
    """

    def __init__(self, env: "TransformedEnv", kept: KeptStarts) -> None:
        self._env_reset: ResetCall = env._reset
        self._kept = kept

    def __call__(self, data: TensorMap | None) -> FlatDict:
        mask = None if data is None else data.get(RESET_KEY, None)
        if mask is None or self._kept.is_full_reset(mask):
            self._kept.forget()
            return dict(unpack_flat(self._env_reset(data)))
        return self._kept.hand_out(mask)
