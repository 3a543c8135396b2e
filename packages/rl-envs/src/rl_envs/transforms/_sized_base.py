"""An environment without a batch size of its own, at the one that a transform gives it."""

from collections.abc import Sequence
from typing import final

from torch import Size

from rl_envs._env_base import EnvBase
from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms.transform import Transform
from rl_specs import TensorMap


def wanted_batch(env: EnvBase, own: Size, leaves: Sequence[Transform]) -> Size | None:
    """Batch size that the first of the transforms which cares gives an environment that is not `batch_locked`.

    Args:
        env: the environment inside.
        own: its batch size.
        leaves: the transforms around it.
    Returns:
        None where no transform cares, or the environment has a batch size of its own.
    """
    if env.batch_locked:
        return None
    return next((size for leaf in leaves if (size := leaf._batch_wanted(own)) is not None), None)


def specs_at(specs: EnvSpecs, size: Size | None) -> EnvSpecs:
    """Specs of an environment at a batch size; None: at that of its own."""
    return specs if size is None or size == specs.observation.shape else specs.expand(size)


@final
class SizedBase:
    """Step and reset of an environment that is not `batch_locked`, at a batch size that is not its own.

    Args:
        env: the environment; between the calls it is as it was.
        size: the batch size, which ends in its own.
    """

    def __init__(self, env: EnvBase, size: Size) -> None:
        self._env = env
        self._size = size

    def step(self, data: TensorMap) -> TensorMap:
        """One step."""
        with self._env._resized(self._size):
            return self._env._step(data)

    def reset(self, data: TensorMap | None) -> TensorMap:
        """A reset."""
        with self._env._resized(self._size):
            return self._env._reset(data)
