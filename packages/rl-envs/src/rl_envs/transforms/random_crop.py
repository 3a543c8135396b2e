"""Random parts of stored trajectories."""

from typing import final

import torch
from tensordict import TensorDictBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._stored import as_trajectories, frame_flags, read_stored, stored_only
from rl_envs.transforms.transform import Transform
from rl_specs import NestedKey, ShapeError, canonical_key, message


@final
class RandomCropTensorDict(Transform):
    """Takes a random run of `sub_seq_len` steps out of each row of a batch.

    Each row of a batch `[*B, T, *D]` starts at a place of its own, each place alike; the result is
    `[*B, sub_seq_len, *D]` and a copy.

    Args:
        sub_seq_len: steps to take.
        sample_dim: batch dimension of time, negative so that the other batch dimensions do not matter.
        mask_key: entry, bool with the batch shape, of steps that are real: these alone are taken. In each row they come
            first. None: all are real.
        generator: source of randomness; None for torch's global one.
    Raises:
        ValueError: `sub_seq_len` is not positive, or `sample_dim` not negative.
    """

    def __init__(
        self,
        sub_seq_len: int,
        sample_dim: int = -1,
        *,
        mask_key: NestedKey | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if sub_seq_len < 1:
            raise ValueError(message("RandomCropTensorDict", "sub_seq_len", expected=">= 1", found=sub_seq_len))
        if sample_dim >= 0:
            problem = "sample_dim counts from the front"
            raise ValueError(message("RandomCropTensorDict", problem, expected="a negative one", found=sample_dim))
        self.sub_seq_len = sub_seq_len
        self.sample_dim = sample_dim
        self.mask_key = None if mask_key is None else canonical_key(mask_key)
        self._generator = generator

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """A crop of each row; a new TensorDict.

        Raises:
            ShapeError: the batch lacks the dimension, or a row has fewer than `sub_seq_len` (real) steps.
            MissingKeyError: there is no mask under `mask_key`.
        """
        batch = as_trajectories("RandomCropTensorDict", tensordict)
        time = batch.ndim + self.sample_dim
        if time < 0:
            problem = f"the batch has no dimension {self.sample_dim}"
            raise ShapeError(message("RandomCropTensorDict", problem, found=tuple(batch.shape)))
        rows = torch.Size((*batch.shape[:time], *batch.shape[time + 1 :]))
        starts = self._starts(self._lengths(batch, time, rows))
        steps = torch.arange(self.sub_seq_len, device=starts.device)
        index = starts.unsqueeze(-1) + steps
        return batch.gather(time, index.movedim(-1, time))

    def _lengths(self, batch: TensorDictBase, time: int, rows: torch.Size) -> Tensor:
        """Real steps of each row, int64 `[*rows]`."""
        if self.mask_key is None:
            lengths = torch.full(rows, batch.shape[time], device=batch.device)
        else:
            mask = read_stored("RandomCropTensorDict", batch, self.mask_key, "Store it, or leave mask_key out")
            lengths = frame_flags("RandomCropTensorDict", self.mask_key, mask, batch.batch_size).sum(time)
        least = int(lengths.min()) if lengths.numel() else self.sub_seq_len
        if least < self.sub_seq_len:
            fix = "Draw longer rows, or crop shorter ones with sub_seq_len"
            problem = "a row has too few steps"
            expected = f"at least {self.sub_seq_len}"
            raise ShapeError(message("RandomCropTensorDict", problem, expected=expected, found=least, fix=fix))
        return lengths

    def _starts(self, lengths: Tensor) -> Tensor:
        places = lengths - self.sub_seq_len + 1
        device = lengths.device if self._generator is None else self._generator.device
        draw = torch.rand(lengths.shape, dtype=torch.float64, generator=self._generator, device=device)
        return torch.minimum((draw.to(lengths.device) * places).long(), places - 1)

    def _bind(self, specs: EnvSpecs) -> list[str]:
        return stored_only()

    def __repr__(self) -> str:
        return f"RandomCropTensorDict(sub_seq_len={self.sub_seq_len}, sample_dim={self.sample_dim})"
