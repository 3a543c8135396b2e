"""Running normalisation in an environment."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from rl_envs import (
    AutoResetTransform,
    ClipTransform,
    Compose,
    ObservationNorm,
    ParallelEnv,
    PendulumEnv,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    VecNorm,
    check_env_specs,
)
from rl_envs.testing import CountingEnv
from rl_specs import SpecError

MakeEnv = Callable[..., Any]


def _env(toy: MakeEnv, batch_size: tuple[int, ...] = (), **options: Any) -> tuple[TransformedEnv, VecNorm]:
    norm = VecNorm(in_keys=["observation"], **({"decay": 1.0} | options))
    return TransformedEnv(toy(batch_size, horizon=5), norm), norm


def _bytes(norm: VecNorm) -> dict[str, Tensor]:
    return copy.deepcopy(dict(norm.state_dict()))


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_counts_every_frame_of_every_row(toy: MakeEnv) -> None:
    """A reset and four steps of 3 rows are 15 frames, with the mean of the env's own observations."""
    env, norm = _env(toy, (3,))
    env.rollout(4)
    assert norm.count.item() == pytest.approx(15)
    # t = 0..4 and row i: t * [1, 2, 3] + i
    torch.testing.assert_close(norm.loc, torch.tensor([3.0, 5.0, 7.0], dtype=torch.float64))
    variance = 2.0 * torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64) + 2 / 3
    torch.testing.assert_close(norm.scale, variance.sqrt())


def test_observation_and_reward_by_default() -> None:
    """Without in keys the entries `"observation"` and `"reward"` are normalised, each by its own statistics."""
    norm = VecNorm()
    assert norm.in_keys == norm.out_keys == ["observation", "reward"]
    env = TransformedEnv(CountingEnv(), norm)
    env.rollout(3, lambda td: td.set("action", torch.zeros(1)))
    means = [norm.frozen_copy(key).loc for key in norm.in_keys]  # of 0, 1, 2, 3 and of 1, 2, 3
    expected = [torch.tensor([mean], dtype=torch.float64) for mean in (1.5, 2.0)]
    torch.testing.assert_close(means, expected, atol=1e-3, rtol=0)


def test_output_by_hand(toy: MakeEnv) -> None:
    """After observations 0 and 1 the second is one deviation above the mean of 1/2."""
    env, _ = _env(toy)
    data = env.rollout(1)
    assert torch.equal(data["observation"], torch.zeros(1, 3, dtype=torch.float64))
    torch.testing.assert_close(data["next", "observation"], torch.ones(1, 3, dtype=torch.float64), atol=1e-6, rtol=0)


def test_evaluation_never_updates(toy: MakeEnv) -> None:
    """Resets, steps and partial resets in evaluation mode leave the statistics byte for byte."""
    env, norm = _env(toy, (3,))
    env.rollout(4)
    before = _bytes(norm)
    env.eval()
    assert not norm.training
    env.rollout(20, break_when_any_done=False)
    assert _same(before, _bytes(norm))
    env.train().rollout(2)
    assert not _same(before, _bytes(norm))


def test_joining_an_env_in_evaluation_mode(toy: MakeEnv) -> None:
    """A transform appended to an env in evaluation mode does not update either."""
    env = TransformedEnv(toy()).eval()
    norm = VecNorm(in_keys=["observation"])
    env.append_transform(norm)
    before = _bytes(norm)
    env.rollout(3)
    assert _same(before, _bytes(norm))


def test_a_frozen_transform_stays_frozen(toy: MakeEnv) -> None:
    """`norm.eval()` on its own freezes it inside an env in training mode."""
    norm = VecNorm(in_keys=["observation"], shapes=[(3,)]).eval()
    env = TransformedEnv(toy(), norm)
    before = _bytes(norm)
    env.rollout(3)
    assert _same(before, _bytes(norm))


def test_stored_data_never_update(toy: MakeEnv) -> None:
    """`forward` leaves the statistics alone in training mode too."""
    env, norm = _env(toy)
    env.rollout(3)
    before = _bytes(norm)
    norm(TensorDict({"observation": torch.randn(7, 3, dtype=torch.float64)}, [7]))
    assert _same(before, _bytes(norm))


def test_partial_reset_counts_the_rows_reset(toy: MakeEnv) -> None:
    """A reset of 1 row of 3 is 1 frame."""
    env, norm = _env(toy, (3,))
    root = env.reset()
    assert norm.count.item() == pytest.approx(3)
    env.reset(root.set("_reset", torch.tensor([[False], [True], [False]])))
    assert norm.count.item() == pytest.approx(4)


def test_auto_reset_equals_a_hand_written_loop(toy: MakeEnv) -> None:
    """With rows that end at different times the statistics are those of all frames seen, once each."""
    env, norm = _env(toy, (2,))
    base = toy((2,), horizon=5)
    root, raw = env.reset(), base.reset()
    frames = [raw["observation"]]
    action = base.full_action_spec["action"].zero()
    for _ in range(9):
        root = env.step_and_maybe_reset(root.set("action", action))[1]
        stepped, raw = base.step_and_maybe_reset(raw.set("action", action))
        frames += [stepped["next", "observation"], raw["observation"][stepped["next", "done"].squeeze(-1)]]
    seen = torch.cat(frames)
    assert len(seen) == 2 + 2 * 9 + 2
    assert norm.count.item() == pytest.approx(len(seen))
    torch.testing.assert_close(norm.loc, seen.mean(0))
    torch.testing.assert_close(norm.scale, seen.std(0, correction=0))


def test_survives_a_checkpoint_and_goes_on_bitwise(toy: MakeEnv) -> None:
    """Statistics, the count included, come back from a saved file; two runs go on bit for bit."""
    env, norm = _env(toy, (2,), decay=0.95)
    root = env.rollout(4)[:, -1]["next"].exclude("reward")
    file = io.BytesIO()
    torch.save(env.state_dict(), file)
    file.seek(0)
    other, fresh = _env(toy, (2,), decay=0.95)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh.count, norm.count)
    action = env.full_action_spec["action"].zero()
    one = env.step(root.clone().set("action", action))
    two = other.step(root.clone().set("action", action))
    assert torch.equal(one["next", "observation"], two["next", "observation"])
    assert _same(_bytes(norm), _bytes(fresh))


def test_loads_before_it_is_in_an_env(toy: MakeEnv) -> None:
    """A transform that has seen no env takes the shape of its statistics from the state."""
    env, norm = _env(toy)
    env.rollout(3)
    fresh = VecNorm(in_keys=["observation"])
    with pytest.raises(RuntimeError, match=r"no statistics yet.*shapes"):
        fresh(TensorDict({"observation": torch.zeros(3)}))
    fresh.load_state_dict(norm.state_dict())
    assert _same(_bytes(norm), _bytes(fresh))
    joined = TransformedEnv(toy(), fresh).eval()
    assert torch.equal(joined.reset()["observation"], env.eval().reset()["observation"])


def test_state_is_a_snapshot(toy: MakeEnv) -> None:
    """A state taken from the env does not move when the env goes on."""
    env, _ = _env(toy)
    state = env.state_dict()
    before = copy.deepcopy(state)
    env.rollout(3)
    assert torch.equal(
        state["transform"]["transforms.0.stats.0.mean"], before["transform"]["transforms.0.stats.0.mean"]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_frozen_copy_gives_the_same_numbers(toy: MakeEnv, dtype: torch.dtype) -> None:
    """The frozen copy normalises bit for bit as the original does, and does not follow it."""
    env, norm = _env(toy)
    env.rollout(4)
    frozen = norm.frozen_copy()
    value = torch.randn(5, 3, dtype=dtype)
    expected = norm(TensorDict({"observation": value}, [5]))["observation"]
    assert torch.equal(frozen(TensorDict({"observation": value}, [5]))["observation"], expected)
    assert frozen.container is None
    env.rollout(4)
    assert torch.equal(frozen(TensorDict({"observation": value}, [5]))["observation"], expected)


def test_frozen_copy_of_several_needs_a_key(toy: MakeEnv) -> None:
    """With two entries `frozen_copy` asks which one."""
    norm = VecNorm(in_keys=["observation", ("agents", "x")], shapes=[(3,), (2,)])
    with pytest.raises(ValueError, match="key needed"):
        norm.frozen_copy()
    frozen = norm.frozen_copy(("agents", "x"))
    assert frozen.in_keys == [("agents", "x")]
    assert frozen.loc is not None
    assert frozen.loc.shape == (2,)


def test_uninitialised_env_in_evaluation_passes_data_on(toy: MakeEnv) -> None:
    """An env in evaluation mode whose statistics are empty gives observations as they are."""
    env, _ = _env(toy)
    data = env.eval().rollout(2)
    assert torch.equal(data["next", "observation"][1], torch.tensor([2.0, 4.0, 6.0], dtype=torch.float64))


def test_rewards_are_not_taken_for_reset_data(toy: MakeEnv) -> None:
    """Rewards have statistics of their own, which resets do not touch."""
    norm = VecNorm(in_keys=["observation", "reward"], decay=1.0)
    env = TransformedEnv(toy(), norm)
    env.rollout(3)
    state = norm.state_dict()
    counts = [state[f"stats.{position}.count"].item() for position in (0, 1)]
    assert counts == pytest.approx([4, 3])


def test_wiring_problems_are_told_when_connecting(toy: MakeEnv) -> None:
    """An integer entry, and statistics of another shape, are refused with what is wrong."""
    with pytest.raises(SpecError, match=r"pixels.*uint8.*Cast it first"):
        TransformedEnv(toy(), VecNorm(in_keys=["pixels"]))
    with pytest.raises(SpecError, match=r"rows of shape \(3,\), its statistics \(2,\)"):
        TransformedEnv(toy(), VecNorm(in_keys=["observation"], shapes=[(2,)]))


@pytest.mark.parametrize(
    ("options", "text"), [({"decay": 0.0}, "decay"), ({"eps": 0.0}, "eps"), ({"shapes": []}, "lengths")]
)
def test_bad_arguments(options: dict[str, Any], text: str) -> None:
    """Arguments out of range are refused."""
    with pytest.raises(ValueError, match=text):
        VecNorm(in_keys=["observation"], **options)


def test_moves_between_positions_keep_statistics(toy: MakeEnv) -> None:
    """Inserting another transform keeps what has been learned."""
    env, norm = _env(toy)
    env.rollout(3)
    before = _bytes(norm)
    env.insert_transform(0, StepCounter())
    env.append_transform(ClipTransform(in_keys=["observation"], low=-1, high=1))
    assert _same(before, _bytes(norm))


def test_freeze_holds_in_training_mode(toy: MakeEnv) -> None:
    """Frozen statistics stay byte for byte whatever the mode, until `unfreeze`; results are those of evaluation."""
    env, norm = _env(toy, (2,))
    env.rollout(3)
    was_frozen = norm.frozen
    assert norm.freeze() is norm
    assert (was_frozen, norm.frozen) == (False, True)
    before = _bytes(norm)
    frozen = env.train().rollout(6, break_when_any_done=False)
    assert _same(before, _bytes(norm))
    assert (env.eval().rollout(6, break_when_any_done=False).exclude("action") == frozen.exclude("action")).all()
    env.train()
    norm.unfreeze()
    env.rollout(2)
    assert (norm.frozen, norm.is_shared) == (False, False)
    assert not _same(before, _bytes(norm))


def test_as_observation_norms(toy: MakeEnv) -> None:
    """One entry gives an `ObservationNorm`, several a `Compose` of them, with the numbers of evaluation bit for bit."""
    env, norm = _env(toy, (2,))
    env.rollout(3)
    assert isinstance(norm.to_observation_norm(), ObservationNorm)
    several = VecNorm(in_keys=["observation", ("agents", "x")], out_keys=["a", ("agents", "b")])
    env = TransformedEnv(toy((2,)), several)
    env.rollout(3)
    constant = several.to_observation_norm()
    assert isinstance(constant, Compose)
    one, two = (
        each.eval().rollout(5, break_when_any_done=False) for each in (env, TransformedEnv(toy((2,)), constant))
    )
    for key in ("a", ("agents", "b"), ("next", "a"), ("next", "agents", "b")):
        assert torch.equal(one[key], two[key])
    with pytest.raises(RuntimeError, match="no statistics yet"):
        VecNorm(in_keys=["a", "b"]).to_observation_norm()


def _shared(**options: Any) -> VecNorm:
    return VecNorm(in_keys=["observation"], shapes=[(3,)], **({"decay": 1.0} | options)).share()


def _frames(*steps: int, rows: int = 1) -> Tensor:
    """Observations of row 0 of the toy env after that many steps, `rows` times each."""
    factor = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    return torch.tensor(steps, dtype=torch.float64).repeat_interleave(rows).unsqueeze(-1) * factor


def test_shared_in_one_process(toy: MakeEnv) -> None:
    """The environments of a `SerialEnv` update one set: its statistics are those of the frames of all."""
    norm = _shared()
    assert norm.is_shared
    assert norm.share() is norm
    env = SerialEnv(3, lambda: TransformedEnv(toy(horizon=9), norm.clone()))
    env.rollout(4)
    frames = _frames(0, 1, 2, 3, 4, rows=3)
    assert norm.count.item() == pytest.approx(15)
    torch.testing.assert_close(norm.loc, frames.mean(0))
    torch.testing.assert_close(norm.scale, frames.std(0, correction=0))
    assert _same(_bytes(norm), _bytes(env.envs[1].transform[0]))  # type: ignore[attr-defined]  # a TransformedEnv


@pytest.mark.parametrize("batch_size", [(), (2, 2)], ids=str)
def test_shared_in_any_batch_and_form(toy: MakeEnv, batch_size: tuple[int, ...]) -> None:
    """Alone with its statistics, a shared one gives bit for bit what another gives, in every form of data."""
    envs = [
        TransformedEnv(toy(batch_size, accepts_mapping=accepts_mapping), norm)
        for accepts_mapping in (True, False)
        for norm in (_shared(decay=0.9), VecNorm(in_keys=["observation"], decay=0.9))
    ]
    runs = []
    for env in envs:
        check_env_specs(env, seed=0)
        runs.append(env.rollout(9, _still_actions, break_when_any_done=False))
    assert all((run == runs[0]).all() for run in runs[1:])


def _still_actions(data: TensorDictBase) -> TensorDictBase:
    return data.set("action", torch.zeros(*data.shape, 2, dtype=torch.float64))


def test_shared_normalisation_by_hand(toy: MakeEnv) -> None:
    """The second env normalises its first frame, 0, with that of the first env in the statistics."""
    norm = _shared()
    one, two = (TransformedEnv(toy(), norm.clone()) for _ in range(2))
    action = one.full_action_spec["action"].zero()
    one.step(one.reset().set("action", action))
    found = two.reset()["observation"]  # after frames 0, 1 and 0: mean 1/3, variance 2/9
    torch.testing.assert_close(found, torch.full((3,), -(2**-0.5), dtype=torch.float64))


def test_shared_between_workers() -> None:
    """Environments in worker processes update one set, which this process reads; evaluation changes nothing."""
    norm = VecNorm(in_keys=["observation"], shapes=[(3,)], decay=1.0).share()
    plain = VecNorm(in_keys=["observation"], decay=1.0)
    with ParallelEnv(4, lambda: TransformedEnv(PendulumEnv(), norm.clone()), num_processes=2) as env:
        env.set_seed(0)
        steps = env.rollout(20, _still)
        assert norm.count.item() == pytest.approx(4 * 21)
        env.eval()
        before = _bytes(norm)
        env.rollout(5, _still)
        assert _same(before, _bytes(norm))
        env.train()
        env.rollout(1, _still)
        assert norm.count.item() == pytest.approx(4 * 23)
    other = TransformedEnv(SerialEnv(4, PendulumEnv), plain)
    other.set_seed(0)
    alone = other.rollout(20, _still)
    assert plain.count.item() == pytest.approx(4 * 21)
    assert steps.shape == alone.shape
    saved = {name.removeprefix("stats.0."): value for name, value in before.items()}
    torch.testing.assert_close(saved["mean"], plain.loc)
    torch.testing.assert_close((saved["m2"] / saved["count"]).sqrt(), plain.scale)


def _still(data: TensorDictBase) -> TensorDictBase:
    return data.set("action", torch.zeros(*data.shape, 1))


def test_a_state_of_shared_statistics(toy: MakeEnv) -> None:
    """The state of any of them is that of all; a state that one loads holds for all."""
    norm = _shared(decay=0.9)
    env = TransformedEnv(toy(), norm.clone())
    env.rollout(3)
    state = copy.deepcopy(norm.state_dict())
    assert _same(dict(state), _bytes(env.transform[0]))
    env.rollout(2)
    assert not _same(dict(state), _bytes(norm))
    env.rollout(1)
    norm.load_state_dict(state)
    assert _same(dict(state), _bytes(env.transform[0]))
    unshared = VecNorm(in_keys=["observation"], shapes=[(3,)], decay=0.9)
    unshared.load_state_dict(state)
    assert not unshared.is_shared
    assert torch.equal(unshared.loc, norm.loc)


def test_shared_and_frozen(toy: MakeEnv) -> None:
    """A frozen one neither updates nor follows; after `unfreeze` it goes on from what the others have made."""
    norm = _shared()
    train, held = TransformedEnv(toy(), norm.clone()), TransformedEnv(toy(), norm.clone())
    train.rollout(3)
    held.transform[0].freeze()
    before, frozen = _bytes(norm), _bytes(held.transform[0])
    held.rollout(3)
    assert _same(before, _bytes(norm))
    train.rollout(2)
    held.rollout(1)
    assert _same(frozen, _bytes(held.transform[0]))
    held.transform[0].load_state_dict(before)
    assert _same(before, _bytes(held.transform[0]))
    assert not _same(before, _bytes(norm))
    held.transform[0].unfreeze()
    assert _same(_bytes(norm), _bytes(held.transform[0]))


def test_shared_statistics_follow_in_evaluation(toy: MakeEnv) -> None:
    """An environment in evaluation mode normalises by what the others have made of the statistics."""
    norm = _shared()
    env = TransformedEnv(toy(), norm.clone()).eval()
    assert torch.equal(env.rollout(1)["next", "observation"], _frames(1))
    TransformedEnv(toy(), norm).rollout(1)
    torch.testing.assert_close(
        env.rollout(1)["next", "observation"], torch.ones(1, 3, dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_an_error_in_a_turn_leaves_the_shared_statistics(toy: MakeEnv) -> None:
    """A step without the entry ends the turn, changes nothing, and the next step starts from what is shared."""
    norm = VecNorm(in_keys=["observation", "reward"], shapes=[(3,), (1,)], decay=1.0).share()
    before = _bytes(norm)
    with pytest.raises(KeyError, match="reward"):
        norm._step({}, {"observation": torch.ones(3, dtype=torch.float64)})
    assert _same(before, _bytes(norm))
    norm._step({}, {"observation": torch.ones(3, dtype=torch.float64), "reward": torch.ones(1)})
    assert norm.count.item() == pytest.approx(1)


def test_sharing_needs_statistics() -> None:
    """Without shapes there is nothing to share yet."""
    with pytest.raises(RuntimeError, match=r"no statistics yet.*shapes"):
        VecNorm(in_keys=["observation"]).share()


@pytest.mark.parametrize("fill", ["nan", 5000.0])
def test_fill_values_of_lost_observations_are_not_counted(endless: MakeEnv, fill: float | str) -> None:
    """Statistics behind an `AutoResetTransform`, in one environment or around several, rest on true frames alone; the
    rewards of the last steps count."""

    def make(norm: VecNorm, *, outside: bool) -> TransformedEnv:
        if outside:
            return TransformedEnv(
                SerialEnv(2, lambda: TransformedEnv(endless(), AutoResetTransform(fill_float=fill))), norm
            )
        return TransformedEnv(endless((2,)), [AutoResetTransform(fill_float=fill), norm])

    def still(data: TensorDictBase) -> TensorDictBase:
        return data.set("action", torch.zeros(*data.batch_size, 1))

    for outside in (False, True):
        check_env_specs(make(VecNorm(["observation", "reward"], ["o", "r"]), outside=outside))
        norm = VecNorm(["observation", "reward"], ["o", "r"], decay=1.0)
        data = make(norm, outside=outside).rollout(6, still, break_when_any_done=False)
        done, following = data["next", "done"], data["next", "observation"]
        starts = data["observation"][:, 1:][done[:, :-1]]
        frames = torch.cat([data["observation"][:, 0].flatten(), starts, following[~done]]).double()
        assert norm.count.item() == len(frames)
        assert norm.loc.item() == pytest.approx(frames.mean().item())
        rewards = norm.frozen_copy("reward").loc
        assert rewards is not None
        assert rewards.item() == pytest.approx(data["next", "reward"].double().mean().item())
        assert torch.isfinite(data["o"]).all()


def test_flags_have_no_statistics(toy: MakeEnv) -> None:
    """A flag, or an integer, among the in keys is refused, rather than passed over."""
    with pytest.raises(SpecError, match=r'"done" is a flag or state, not floating-point\. Cast it first'):
        TransformedEnv(toy(), VecNorm(["observation", "done"]))
    with pytest.raises(SpecError, match=r'"pixels" is torch\.uint8, not floating-point'):
        TransformedEnv(toy(), VecNorm(["pixels"]))


def test_statistics_loaded_into_one_that_is_bound(toy: MakeEnv) -> None:
    """Loading leaves rewards out of resets as before, with the norm's own `load_state_dict` too."""
    env = TransformedEnv(toy((2,)), VecNorm(["observation", "reward"], decay=1.0))
    env.rollout(3)
    state = copy.deepcopy(dict(env.transform[0].state_dict()))
    env.transform[0].load_state_dict(state)
    env.rollout(3)
    assert env.transform[0].count.item() == 16
