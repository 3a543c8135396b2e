"""Slices that a replay buffer draws, seen as trajectories."""

from typing import final

from tensordict import TensorDictBase
from torch import nn

from rl_envs.transforms.transform import Transform
from rl_specs import ShapeError, message


@final
class LastOfSlices(nn.Module):
    """Applies a transform that works over time to slices, and keeps the last step of each.

    Args:
        transform: its `forward` takes steps `[S, N]`.
        slice_len: steps in a slice, `N`.
    """

    def __init__(self, transform: Transform, slice_len: int) -> None:
        super().__init__()
        self.transform = transform
        self.slice_len = slice_len

    def forward(self, batch: TensorDictBase) -> TensorDictBase:
        """The last steps.

        Args:
            batch: slices one after the other, `[S * N]`, or `[S, N]`.
        Returns:
            Another TensorDict, `[S]`.
        Raises:
            ShapeError: the batch does not consist of slices of that length.
        """
        size = batch.batch_size
        fits = size[-1] == self.slice_len if len(size) == 2 else len(size) == 1 and size[0] % self.slice_len == 0
        if not fits:
            expected = f"[S * {self.slice_len}] or [S, {self.slice_len}]"
            fix = f"Draw slices of {self.slice_len} steps"
            raise ShapeError(message("CatFrames", "no slices", expected=expected, found=tuple(size), fix=fix))
        slices = batch.reshape(-1, self.slice_len) if len(size) == 1 else batch.copy()
        last: TensorDictBase = self.transform(slices)[:, -1]
        return last
