"""Tests of `rl_envs.tic_tac_toe`."""

import itertools

import pytest
import torch
from tensordict import TensorDict, TensorDictBase

from rl_envs import ActionMask, TicTacToeEnv, TransformedEnv, check_env_specs
from rl_specs import MissingKeyError, SpecError

LINES = [
    *([3 * row + column for column in range(3)] for row in range(3)),
    *([3 * row + column for row in range(3)] for column in range(3)),
    [0, 4, 8],
    [2, 4, 6],
]


def play(moves: list[int]) -> TensorDictBase:
    """What the last of these moves returns."""
    env = TicTacToeEnv()
    root: TensorDictBase = env.reset()
    for index, move in enumerate(moves):
        stepped = env.step(root.set("action", torch.tensor([move])))
        if index + 1 < len(moves):
            assert not stepped["next", "done"].item()
            root = env.step_mdp(stepped)
    following: TensorDictBase = stepped["next"]
    return following


def rewards(following: TensorDictBase) -> tuple[float, float]:
    """Rewards of both players."""
    return following["player0", "reward"].item(), following["player1", "reward"].item()


def test_first_moves() -> None:
    """Players take turns, and cells that are taken leave the mask."""
    following = play([4, 0])
    assert following["board"].tolist() == [[1, -1, -1], [-1, 0, -1], [-1, -1, -1]]
    assert following["turn"].tolist() == [0]
    assert following["mask"].tolist() == [False, True, True, True, False, True, True, True, True]
    assert rewards(following) == (0.0, 0.0)


@pytest.mark.parametrize("line", LINES)
def test_every_line_wins(line: list[int]) -> None:
    """A player with three in a row, column or diagonal has won, the other has lost."""
    others = [cell for cell in range(9) if cell not in line]
    free = next(pair for pair in itertools.permutations(others, 2))
    following = play([line[0], free[0], line[1], free[1], line[2]])
    assert following["done"].item()
    assert following["terminated"].item()
    assert rewards(following) == (1.0, -1.0)


def test_the_second_player_can_win() -> None:
    """A line of player 1 counts for player 1."""
    assert rewards(play([0, 3, 1, 4, 8, 5])) == (-1.0, 1.0)


def test_a_full_board_is_a_draw() -> None:
    """Nine moves without a line end the game with no reward."""
    following = play([0, 1, 2, 4, 3, 5, 7, 6, 8])
    assert following["done"].item()
    assert rewards(following) == (0.0, 0.0)
    assert not following["mask"].any()


def test_a_taken_cell_loses() -> None:
    """Who takes a cell that is not free has lost, and the board stays as it is."""
    following = play([4, 4])
    assert following["terminated"].item()
    assert rewards(following) == (1.0, -1.0)
    assert following["board"].tolist() == [[-1, -1, -1], [-1, 0, -1], [-1, -1, -1]]


def test_random_games_end_within_nine_moves() -> None:
    """Random actions follow the mask: no game ends by a foul, each within nine moves, in a batch of any size."""
    env = TicTacToeEnv()
    games = env.rollout(9, tensordict=TensorDict(batch_size=[200]), break_when_any_done=False, break_when_all_done=True)
    assert games["next", "done"][:, -1].all()
    chosen = games["mask"].gather(-1, games["action"])
    is_played = ~games["done"]
    assert chosen[is_played].all()
    total = games["next", "player0", "reward"].sum((1, 2))
    shares = [(total == outcome).float().mean().item() for outcome in (1.0, -1.0, 0.0)]
    assert shares == pytest.approx([0.585, 0.288, 0.127], abs=0.11)  # of uniformly random games


def test_against_chance() -> None:
    """With one player, the other answers at random on a free cell within the step; the turn stays 0."""
    env = TicTacToeEnv(single_player=True, batch_size=(400,))
    root = env.reset(seed=0)
    root["action"] = torch.full((400, 1), 4)
    following = env.step(root)["next"]
    assert (following["turn"] == 0).all()
    cells = following["board"].flatten(1)
    assert (cells[:, 4] == 0).all()
    assert ((cells == 1).sum(1) == 1).all()
    shares = (cells == 1).float().mean(0)
    assert shares[4] == 0
    assert shares[[0, 1, 2, 3, 5, 6, 7, 8]] == pytest.approx([1 / 8] * 8, abs=0.07)


def test_chance_can_win() -> None:
    """A line of the random player ends the game and is a loss."""
    env = TicTacToeEnv(single_player=True)
    root = env.reset()
    root["board"] = torch.tensor([[1, 1, -1], [0, 0, 1], [0, 1, -1]], dtype=torch.int32)
    root["mask"] = root["board"].flatten() == -1
    root["action"] = torch.tensor([8])
    following = env.step(root)["next"]
    assert following["board"].tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 0]]
    assert rewards(following) == (-1.0, 1.0)
    assert following["done"].item()


def test_names_of_the_entries() -> None:
    """Observations and states are board, turn and mask; there is one reward per player."""
    env = TicTacToeEnv()
    assert env.observation_keys == env.state_keys == ["board", "turn", "mask"]
    assert env.reward_keys == [("player0", "reward"), ("player1", "reward")]
    assert env.action_spec.space.n == 9
    assert env.full_observation_spec["board"].dtype == torch.int32


@pytest.mark.parametrize("batch_size", [(), (3,), (9,), (2, 9)])
def test_the_mask_of_a_batch_is_followed(batch_size: tuple[int, ...]) -> None:
    """With `ActionMask`, an action `[*B, 1]` of one cell has the mask `[*B, 9]`: no random move is a foul."""
    env = TransformedEnv(TicTacToeEnv(batch_size=batch_size), ActionMask(mask_key="mask"))
    check_env_specs(env)
    root = env.reset()
    for _ in range(4):  # nobody has won after four moves
        action = env.action_spec.rand()
        assert env.action_spec.is_in(action)
        assert root["mask"].gather(-1, action).all()
        _, root = env.step_and_maybe_reset(root.set("action", action))
    taken = (~root["mask"]).to(torch.int64).argmax(-1, keepdim=True)
    with pytest.raises(SpecError, match="outside its bounds"):
        env.step(root.set("action", taken))


def test_the_state_of_something_else() -> None:
    """A state without the generator is refused by name."""
    with pytest.raises(MissingKeyError, match=r'TicTacToeEnv.set_state: key "generator" missing'):
        TicTacToeEnv().set_state({"envs": []})
