"""Hashes of entries."""

import hashlib
from collections.abc import Callable
from typing import Any, final

import torch
from tensordict import NonTensorData, NonTensorStack
from torch import Tensor

from rl_envs.transforms._feature_map import FeatureMap
from rl_envs.transforms.transform import Keys
from rl_specs import LeafSpec, NestedKey, TensorSpec, Unbounded, message


@final
class Hash(FeatureMap):
    """Hashes each row of some entries; equal rows have equal hashes, on every machine and in every process.

    The values are read on the host: on an accelerator that waits for them.

    Args:
        in_keys: entries to hash, tensors or other objects.
        out_keys: names of the hashes, `[*B, 32]` uint8 with the default function.
        in_keys_inv: inner entries (actions), looked up in the repertoire.
        out_keys_inv: their names outside, where they are hashes.
        hash_fn: from the value of one row, and the seed where there is one, to a tensor; default
            `Hash.reproducible_hash`.
        seed: handed to `hash_fn` as its second argument; None: not handed over.
        use_raw_nontensor: hand entries that are no tensors over as TensorDicts hold them, batch and all.
        repertoire: inputs by hash, as a tuple of its numbers. Every hash made is added to it. It is not copied, so that
            what others add is found too, and it is not part of `state_dict`. Made when left out with `in_keys_inv`.
    """

    def __init__(
        self,
        in_keys: Keys | NestedKey,
        out_keys: Keys | NestedKey,
        *,
        in_keys_inv: Keys | NestedKey | None = None,
        out_keys_inv: Keys | NestedKey | None = None,
        hash_fn: Callable[..., Tensor] | None = None,
        seed: Any | None = None,
        use_raw_nontensor: bool = False,
        repertoire: dict[tuple[int, ...], Any] | None = None,
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv=in_keys_inv, out_keys_inv=out_keys_inv)
        self._hash_fn = Hash.reproducible_hash if hash_fn is None else hash_fn
        self._seed = seed
        self._use_raw_nontensor = use_raw_nontensor
        self.repertoire = {} if repertoire is None and self.in_keys_inv else repertoire

    @staticmethod
    def reproducible_hash(value: Any, seed: Any | None = None) -> Tensor:
        """SHA-256 of a tensor (dtype, shape and bits), a string, bytes or None, uint8 `[32]`.

        Args:
            value: what to hash; anything else than those is hashed by its `repr`.
            seed: hashed in front of it, by its `str`.
        """
        digest = hashlib.sha256(b"" if seed is None else str(seed).encode())
        if isinstance(value, Tensor):
            host = value.detach().cpu().contiguous()
            digest.update(f"{host.dtype}{tuple(host.shape)}".encode())
            digest.update(host.reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(value, bytes):
            digest.update(value)
        elif value is not None:
            digest.update((value if isinstance(value, str) else repr(value)).encode())
        return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)

    def get_input_from_hash(self, hash_value: Tensor) -> Any:
        """What a hash was made of.

        Args:
            hash_value: one hash, without a batch.
        Raises:
            KeyError: it is not in the repertoire, or there is none.
        """
        known = {} if self.repertoire is None else self.repertoire
        key = tuple(hash_value.flatten().tolist())
        if key not in known:
            fix = "Pass repertoire={...}, which collects every hash made, or add the entry to it"
            raise KeyError(message("Hash", "hash not in the repertoire", found=f"{len(known)} others", fix=fix))
        return known[key]

    def _map(self, value: Any, batch_dims: int) -> Tensor:
        if isinstance(value, Tensor):
            batch, size = value.shape[:batch_dims], value.shape[batch_dims:]
            if not batch.numel():
                form = self._computed(value.new_zeros(size))
                return form.new_zeros((*batch, *form.shape)).to(value.device)
            hashes = torch.stack([self._hash(row) for row in value.reshape(batch.numel(), *size)])
            return hashes.reshape(*batch, *hashes.shape[1:]).to(value.device)
        if isinstance(value, (NonTensorData, NonTensorStack)) and not self._use_raw_nontensor:
            return self._nested(value.tolist(), len(value.batch_size))
        return self._hash(value)

    def _nested(self, data: Any, levels: int) -> Tensor:
        """Hashes of objects in lists `levels` deep."""
        return torch.stack([self._nested(part, levels - 1) for part in data]) if levels else self._hash(data)

    def _hash(self, value: Any) -> Tensor:
        result = self._computed(value)
        if self.repertoire is not None:
            self.repertoire[tuple(result.flatten().tolist())] = value
        return result

    def _computed(self, value: Any) -> Tensor:
        return self._hash_fn(value) if self._seed is None else self._hash_fn(value, self._seed)

    def _inv_map(self, value: Tensor, batch_dims: int) -> Tensor:
        batch = value.shape[:batch_dims]
        found = [self.get_input_from_hash(row) for row in value.reshape(batch.numel(), *value.shape[batch_dims:])]
        rows = torch.stack([torch.as_tensor(row) for row in found])
        return rows.reshape(*batch, *rows.shape[1:])

    def _leaf_spec(self, spec: TensorSpec) -> TensorSpec:
        batch = spec.shape[: self._batch_dims]
        if isinstance(spec, LeafSpec):
            whole: Tensor = spec.zero()
            row = self._computed(whole.new_zeros(whole.shape[len(batch) :]))
        else:
            zero = spec.index((0,) * len(batch)).zero()
            row = self._computed(zero if self._use_raw_nontensor else zero.data)
        return Unbounded(shape=batch + row.shape, dtype=row.dtype, device=spec.device)

    def _leaf_spec_inv(self, spec: TensorSpec) -> TensorSpec:
        return self._leaf_spec(spec)
