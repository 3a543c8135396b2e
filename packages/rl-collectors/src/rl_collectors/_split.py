"""Cut collected batches into trajectories."""

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rl_envs import pack_flat
from rl_specs import FlatDict, NestedKey, canonical_key, join_key, missing_key


def split_trajectories(
    rollout: TensorDictBase,
    *,
    prefix: NestedKey = "collector",
    trajectory_key: NestedKey | None = None,
    done_key: NestedKey = "done",
) -> TensorDictBase:
    """Trajectories of a batch, one per row, padded with zeros at the end.

    Args:
        rollout: batch `[*B, T]`, time last.
        prefix: where the trajectory ids and the mask live.
        trajectory_key: entry with the trajectory ids, int64 `[*B, T]`; `(prefix, "traj_ids")` by default. Where it is
            absent, trajectories end where `("next", done_key)` is true.
        done_key: name of the done flag under `"next"`.
    Returns:
        TensorDict `[N, L]`: `N` trajectories in the order in which they appear, `L` the length of the longest;
        `(prefix, "mask")`, bool `[N, L]`, is true on real steps.
    Raises:
        MissingKeyError: neither the ids nor the done flags are there.
    """
    ids_key: NestedKey = trajectory_key if trajectory_key is not None else _under(prefix, "traj_ids")
    flat = rollout.reshape(-1)
    lengths = _lengths(rollout, flat, ids_key, done_key)
    pieces = flat.split(lengths, 0)
    longest = max(lengths)
    mask = torch.arange(longest, device=flat.device) < torch.tensor(lengths, device=flat.device)[:, None]

    def pad(key: NestedKey) -> Tensor:
        return pad_sequence([piece.get(key) for piece in pieces], batch_first=True)

    entries: FlatDict = {canonical_key(key): pad(key) for key in flat.keys(True, True)}
    entries[canonical_key(_under(prefix, "mask"))] = mask
    out = pack_flat(entries, torch.Size((len(pieces), longest)), flat.device)
    out.names = [None, "time"]
    return out


def _under(prefix: NestedKey, name: str) -> NestedKey:
    return (prefix, name) if isinstance(prefix, str) else (*prefix, name)


def _lengths(rollout: TensorDictBase, flat: TensorDictBase, ids_key: NestedKey, done_key: NestedKey) -> list[int]:
    """Lengths of the trajectories, in the order of the flattened batch."""
    steps = rollout.batch_size[-1]
    count = flat.batch_size[0]
    last = torch.zeros(count, dtype=torch.bool)
    last[steps - 1 :: steps] = True
    ids = flat.get(ids_key, None)
    if ids is not None:
        last[:-1] |= (ids[1:] != ids[:-1]).cpu()
    else:
        done = flat.get(join_key("next", done_key), None)
        if done is None:
            raise missing_key(
                "split_trajectories",
                ids_key,
                flat.keys(True, True),
                fix='Pass a collected batch, or one that has ("next", "done")',
            )
        last |= done.reshape(count).cpu()
    ends = last.nonzero().squeeze(-1) + 1
    return [int(n) for n in torch.diff(ends, prepend=torch.zeros(1, dtype=ends.dtype))]
