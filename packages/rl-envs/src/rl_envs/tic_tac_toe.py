"""Noughts and crosses, for two players or against a random one."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from rl_envs._env_base import EnvBase
from rl_specs import Bounded, Categorical, Composite, FlatDict, NestedKey, TensorMap, TensorSpec, Unbounded, missing_key

_EMPTY = -1
_LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))


@final
class TicTacToeEnv(EnvBase):
    """Noughts and crosses, any number of games at once.

    Entries: `"board"` int32 `[*B, 3, 3]`, -1 where a cell is free, else the number of the player who took it; `"turn"`
    int32 `[*B, 1]`, the player to move; `"mask"` bool `[*B, 9]`, the free cells. The action, int64 `[*B, 1]`, is a
    cell, row by row. `("player0", "reward")` and `("player1", "reward")`, float32 `[*B, 1]`, are 1 for the winner, -1
    for the loser, and 0 otherwise. Who takes a cell that is not free has lost, and the board stays as it is.

    The games live in the data: `reset` and `step` take TensorDicts of any batch size, `rollout` with
    `tensordict=TensorDict(batch_size=...)`. Random actions follow the mask.

    Args:
        single_player: the other player, number 1, moves at random within the step; `"turn"` is always 0.
        device: device of the tensors; None: the CPU.
        batch_size: batch shape of the specs, and of the games where `reset` is given no TensorDict.
    """

    accepts_mapping = True
    batch_locked = False

    def __init__(
        self,
        *,
        single_player: bool = False,
        device: torch.device | str | int | None = None,
        batch_size: Sequence[int] = (),
    ) -> None:
        super().__init__(device=device, batch_size=batch_size)
        self.single_player = single_player
        batch, place = self._batch_size, self._device or torch.device("cpu")

        def shape(*sizes: int) -> torch.Size:
            return torch.Size((*batch, *sizes))

        entries: dict[NestedKey, TensorSpec] = {
            "board": Bounded(_EMPTY, 1, shape=shape(3, 3), dtype=torch.int32, device=place),
            "turn": Categorical(2, shape=shape(1), dtype=torch.int32, device=place),
            "mask": Categorical(2, shape=shape(9), dtype=torch.bool, device=place),
        }
        self.observation_spec = Composite(entries, shape=batch, device=self._device)
        self.state_spec = Composite(entries, shape=batch, device=self._device)
        self.action_spec = Categorical(9, shape=shape(1), dtype=torch.int64, device=place)
        reward = Unbounded(shape=shape(1), dtype=torch.float32, device=place)
        rewards: dict[NestedKey, TensorSpec] = {("player0", "reward"): reward, ("player1", "reward"): reward}
        self.reward_spec = Composite(rewards, shape=batch, device=self._device)
        self._generator = torch.Generator(device=place)
        self._generator.seed()
        self._place(place)

    def _place(self, device: torch.device) -> None:
        self._lines = torch.tensor(_LINES, device=device)
        self._cells = torch.arange(9, device=device)
        if device != self._generator.device:
            self._generator = torch.Generator(device=device).manual_seed(self._generator.initial_seed())

    def _reset(self, data: TensorMap | None) -> FlatDict:
        shape, device = self._batch_size, self._cells.device
        return {
            "board": torch.full((*shape, 3, 3), _EMPTY, dtype=torch.int32, device=device),
            "turn": torch.zeros((*shape, 1), dtype=torch.int32, device=device),
            "mask": torch.ones((*shape, 9), dtype=torch.bool, device=device),
        }

    def _step(self, data: TensorMap) -> FlatDict:
        turn = data["turn"]
        before = data["board"].flatten(-2)
        cells, has_won = self._play(before, data["action"], turn)
        is_foul = before.gather(-1, data["action"]) != _EMPTY
        has_won = has_won & ~is_foul
        outcome = has_won.float() - is_foul.float()
        done = has_won | is_foul | _is_full(cells)
        if self.single_player:
            cells, has_lost = self._answer(cells, turn, done)
            outcome = outcome - has_lost.float()
            done = done | has_lost | _is_full(cells)
        first = torch.where(turn == 0, outcome, -outcome)
        return {
            "board": cells.reshape((*cells.shape[:-1], 3, 3)),
            "turn": turn.clone() if self.single_player else 1 - turn,
            "mask": cells == _EMPTY,
            ("player0", "reward"): first,
            ("player1", "reward"): -first,
            "done": done,
            "terminated": done.clone(),
            "truncated": torch.zeros_like(done),
        }

    def _play(self, cells: Tensor, action: Tensor, player: Tensor) -> tuple[Tensor, Tensor]:
        """The cells `[*B, 9]` after a move, and whether the player has a line, bool `[*B, 1]`."""
        is_taken_now = (self._cells == action) & (cells == _EMPTY)
        after = torch.where(is_taken_now, player, cells)
        has_line = (after[..., self._lines] == player.unsqueeze(-1)).all(-1).any(-1, keepdim=True)
        return after, has_line

    def _answer(self, cells: Tensor, turn: Tensor, done: Tensor) -> tuple[Tensor, Tensor]:
        """The cells after the random move of the other player in the games that go on, and whether that one has won."""
        noise = torch.rand(cells.shape, generator=self._generator, device=cells.device)
        after, has_won = self._play(cells, _drawn(noise, cells == _EMPTY), 1 - turn)
        return torch.where(done, cells, after), has_won & ~done

    def _random_action(self, data: TensorMap, specs: Sequence[tuple[NestedKey, TensorSpec]]) -> None:
        mask = data.get("mask", None)
        if mask is None:
            super()._random_action(data, specs)
        else:
            data["action"] = _drawn(torch.rand(mask.shape, device=mask.device), mask)

    def _set_seed(self, seed: int) -> None:
        self._generator.manual_seed(seed)

    def _to(self, device: torch.device) -> None:
        self._place(device)

    def _repr_fields(self) -> dict[str, object]:
        return {"single_player": self.single_player}

    @property
    def has_exact_state(self) -> bool:
        """True: the games are in the data, and the random player's draws can be read out."""
        return True

    def get_state(self) -> dict[str, Any]:
        """State of the generator of the random player, uint8."""
        return {"generator": self._generator.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned, on the same kind of device.

        Raises:
            MissingKeyError: it is the state of something else.
        """
        if "generator" not in state:
            fix = "Give what get_state of a TicTacToeEnv returned"
            raise missing_key("TicTacToeEnv.set_state", "generator", state, fix=fix)
        self.drive(None)
        self._generator.set_state(state["generator"].cpu())


def _is_full(cells: Tensor) -> Tensor:
    return (cells != _EMPTY).all(-1, keepdim=True)


def _drawn(noise: Tensor, mask: Tensor) -> Tensor:
    """One of the places of `mask`, bool `[*B, 9]`, by `noise` in [0, 1) of its shape: int64 `[*B, 1]`."""
    return noise.masked_fill(~mask, -1.0).argmax(-1, keepdim=True)
