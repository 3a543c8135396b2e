"""Constant normalisation and its estimation."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import (
    Compose,
    DoubleToFloat,
    DTypeCastTransform,
    ObservationNorm,
    StepCounter,
    ToTensorImage,
    TransformedEnv,
    check_env_specs,
)
from rl_envs.testing import CountingEnv
from rl_specs import Bounded, SpecError

MakeEnv = Callable[..., Any]


def test_both_maps_by_hand() -> None:
    """The default is `x * scale + loc`, the other `(x - loc) / scale`."""
    data = TensorDict({"observation": torch.tensor([1.0, 4.0])})
    assert ObservationNorm(2, 3, in_keys=["observation"])(data.clone())["observation"].tolist() == [5.0, 14.0]
    standard = ObservationNorm(2, 4, in_keys=["observation"], standard_normal=True)
    assert standard(data.clone())["observation"].tolist() == [-0.25, 0.5]


def test_uninitialised_use_says_what_to_do(toy: MakeEnv) -> None:
    """Before `init_stats` the specs can be read, and using the data is an error that names the fix."""
    env = TransformedEnv(toy(), ObservationNorm(in_keys=["observation"]))
    assert env.observation_spec["observation"].shape == (3,)
    with pytest.raises(RuntimeError, match="init_stats"):
        env.reset()


@pytest.mark.parametrize("standard_normal", [True, False])
def test_init_stats_makes_the_output_standard(toy: MakeEnv, standard_normal: bool) -> None:
    """After `init_stats` the frames it has seen have mean 0 and deviation 1."""
    norm = ObservationNorm(in_keys=["observation"], standard_normal=standard_normal)
    env = TransformedEnv(toy(horizon=5), Compose(norm, DoubleToFloat(), StepCounter()))
    env.transform[0].init_stats(num_iter=10, reduce_dim=0, cat_dim=0)
    assert norm.loc is not None
    assert norm.loc.shape == (3,)
    data = env.rollout(5)["next", "observation"]
    torch.testing.assert_close(data.mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    # 10 frames, 1..5 twice: the unbiased variance of a column is 20 / 9
    torch.testing.assert_close(data[:, 0] * (20 / 9) ** 0.5, torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]))
    check_env_specs(env)


def test_init_stats_by_hand(toy: MakeEnv) -> None:
    """Over t = 1..5 of column k the mean is 3k and the standard deviation k times sqrt(2.5)."""
    norm = ObservationNorm(in_keys=["observation"], standard_normal=True)
    TransformedEnv(toy(horizon=5), norm)
    norm.init_stats(5)
    assert norm.loc is not None
    assert norm.scale is not None
    torch.testing.assert_close(norm.loc, torch.tensor([3.0, 6.0, 9.0], dtype=torch.float64))
    torch.testing.assert_close(norm.scale, 2.5**0.5 * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))


def test_init_stats_of_a_batch_over_rows_and_time(toy: MakeEnv) -> None:
    """With `reduce_dim=(0, 1)` rows and steps are pooled; `cat_dim` joins episodes."""
    norm = ObservationNorm(in_keys=["observation"], standard_normal=True)
    TransformedEnv(toy((2,), horizon=2), norm)
    norm.init_stats(4, reduce_dim=(0, 1), cat_dim=1)
    assert norm.loc is not None
    torch.testing.assert_close(norm.loc, torch.tensor([2.0, 3.5, 5.0], dtype=torch.float64))


def test_init_stats_keeps_dims_of_images(toy: MakeEnv) -> None:
    """`keep_dims` gives one constant per channel, of shape `[C, 1, 1]`, from what earlier transforms make of it."""
    norm = ObservationNorm(in_keys=["pixels"], standard_normal=True)
    TransformedEnv(toy(horizon=3), Compose(ToTensorImage(), norm))
    norm.init_stats(3, reduce_dim=(0, -1, -2), cat_dim=0, keep_dims=(-1, -2))
    assert norm.loc is not None
    assert norm.loc.shape == (3, 1, 1)
    torch.testing.assert_close(norm.loc, torch.full((3, 1, 1), 20 / 255))


def test_init_stats_misuse_is_told(toy: MakeEnv) -> None:
    """Each way to call `init_stats` wrongly has its message."""
    with pytest.raises(ValueError, match="which of"):
        ObservationNorm(in_keys=["observation", ("agents", "x")]).init_stats(3)
    norm = ObservationNorm(in_keys=["observation"])
    with pytest.raises(RuntimeError, match="Append the transform to a TransformedEnv first"):
        norm.init_stats(3, key="observation")
    with pytest.raises(ValueError, match="Give cat_dim"):
        norm.init_stats(3, (0, 1), key="observation")
    with pytest.raises(ValueError, match="bad cat_dim"):
        norm.init_stats(3, 0, cat_dim=1, key="observation")
    TransformedEnv(toy(), norm)
    with pytest.raises(ValueError, match="num_iter"):
        norm.init_stats(0, key="observation")
    with pytest.raises(ValueError, match="keep_dims"):
        norm.init_stats(3, key="observation", keep_dims=(1,))
    norm.init_stats(3, key="observation")
    with pytest.raises(RuntimeError, match="set already"):
        norm.init_stats(3, key="observation")


def test_constants_that_fit_no_entry_are_refused(toy: MakeEnv) -> None:
    """Constants of another shape than an entry are told when connecting; a failed `init_stats` leaves none behind."""
    with pytest.raises(SpecError, match="ObservationNorm: specs do not fit"):
        TransformedEnv(toy(), ObservationNorm([0.0, 0.0], [1.0, 1.0], in_keys=["observation"]))
    norm = ObservationNorm(in_keys=["observation", ("agents", "x")])
    TransformedEnv(toy(), norm)
    with pytest.raises(SpecError, match="specs do not fit"):
        norm.init_stats(3, key="observation")
    assert not norm.is_initialized


def test_constant_entry_has_the_lowest_deviation(toy: MakeEnv) -> None:
    """An entry that never changes is divided by `eps`, not by zero."""
    norm = ObservationNorm(in_keys=["pixels"], standard_normal=True, eps=0.5)
    TransformedEnv(toy(), norm)
    norm.init_stats(1 + 1, reduce_dim=(0, 1, 2, 3), cat_dim=0)
    assert norm.scale is not None
    assert norm.scale.item() > 0.5
    other = ObservationNorm(in_keys=["observation"], standard_normal=True, eps=7.0)
    TransformedEnv(toy(), other)
    other.init_stats(3)
    assert other.scale is not None
    assert other.scale.tolist() == [7.0, 7.0, 7.0]


def test_one_constant_alone_is_refused() -> None:
    """`loc` without `scale` is an error."""
    with pytest.raises(ValueError, match="both or none"):
        ObservationNorm(loc=0.0, in_keys=["observation"])


def test_state_loads_into_an_uninitialised_one(toy: MakeEnv) -> None:
    """Constants come back from a state into a transform, in an env or not, that has none."""
    first = ObservationNorm(in_keys=["observation"])
    env = TransformedEnv(toy(), first)
    first.init_stats(3)
    fresh = TransformedEnv(toy(), ObservationNorm(in_keys=["observation"]))
    fresh.load_state_dict(env.state_dict())
    assert torch.equal(fresh.reset()["observation"], env.reset()["observation"])


def test_bounds_map_to_bounds() -> None:
    """A bounded entry stays bounded, in the right order under a negative scale."""
    spec = ObservationNorm(1.0, -2.0, in_keys=["x"])._leaf_spec(Bounded(-1.0, 3.0, shape=(2,)))
    assert isinstance(spec, Bounded)
    assert spec.space.low.tolist() == [-5.0, -5.0]
    assert spec.space.high.tolist() == [3.0, 3.0]


def test_dtype_of_the_data_wins() -> None:
    """Float64 constants leave float32 data float32."""
    norm = ObservationNorm(torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64), in_keys=["x"])
    assert norm(TensorDict({"x": torch.zeros(2)}))["x"].dtype == torch.float32


def test_repr_shows_scalars() -> None:
    """Scalar constants are part of the repr."""
    assert (
        repr(ObservationNorm(2, 1, in_keys=["pixels"])) == "ObservationNorm(loc=2.0000, scale=1.0000, keys=['pixels'])"
    )


def test_a_single_value_has_no_deviation(toy: MakeEnv) -> None:
    """Statistics of one step are refused with what to do, and so nothing is set; two steps do."""
    env = TransformedEnv(toy(horizon=9), ObservationNorm(in_keys=["observation"], standard_normal=True))
    norm = env.transform[0]
    with pytest.raises(ValueError, match=r"init_stats: a deviation of too few values.*at least 2.*num_iter"):
        norm.init_stats(1)
    assert not norm.is_initialized
    norm.init_stats(2)
    assert norm.loc.tolist() == [1.5, 3.0, 4.5]


def test_statistics_of_few_bits(toy: MakeEnv) -> None:
    """Of a bfloat16 entry mean and deviation are summed in double precision: those of 1 to 200."""
    env = TransformedEnv(toy(horizon=999), DTypeCastTransform(torch.float64, torch.bfloat16))
    env.append_transform(ObservationNorm(in_keys=["observation"], standard_normal=True))
    env.transform[1].init_stats(200)
    assert env.transform[1].loc[0].item() == pytest.approx(100.5)
    assert env.transform[1].scale[0].item() == pytest.approx(57.879, abs=1e-3)
    assert env.rollout(2)["observation"].dtype is torch.bfloat16


def test_stored_data_without_keys() -> None:
    """Without keys, and in no environment, there is nothing that stored data could be normalised by."""
    with pytest.raises(RuntimeError, match=r"ObservationNorm: in_keys are not known.*Give in_keys"):
        ObservationNorm(0.0, 1.0)(TensorDict({"observation": torch.zeros(3)}))


def test_bounds_of_a_factor_of_zero() -> None:
    """Infinite bounds times zero are no bounds."""
    base = CountingEnv()
    base.observation_spec = Bounded(0.0, torch.inf, shape=(1,))
    env = TransformedEnv(base, ObservationNorm(1.0, 0.0, in_keys=["observation"]))
    spec = env.full_observation_spec["observation"]
    assert spec.is_in(torch.ones(1))
    assert env.rollout(2)["observation"].flatten().tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("standard_normal", "expected"), [(False, [-0.05, 0.1]), (True, [0.05, 0.02])])
def test_actions_by_hand(toy: MakeEnv, standard_normal: bool, expected: list[float]) -> None:
    """The environment gets `(given - loc) / scale`, or `given * scale + loc`; observations keep the map of their own.

    With loc 0.02 and scale 0.4: (0 - 0.02) / 0.4 = -0.05 and (0.06 - 0.02) / 0.4 = 0.1; with `standard_normal`
    0.075 * 0.4 + 0.02 = 0.05 and 0 * 0.4 + 0.02 = 0.02.
    """
    base = toy()
    norm = ObservationNorm(0.02, 0.4, in_keys=[], in_keys_inv=["action"], standard_normal=standard_normal)
    env = TransformedEnv(base, norm)
    check_env_specs(env)
    assert env.observation_spec["observation"] == base.observation_spec["observation"]
    given = [0.075, 0.0] if standard_normal else [0.0, 0.06]
    env.step(env.reset().set("action", torch.tensor(given, dtype=torch.float64)))
    torch.testing.assert_close(base.actions[-1], torch.tensor(expected, dtype=torch.float64))


def test_bounds_of_actions_outside(toy: MakeEnv) -> None:
    """The spec outside is what the map makes of the bounds: -0.1 and 0.1 times 0.4 plus 0.02 are -0.02 and 0.06."""
    norm = ObservationNorm(0.02, 0.4, in_keys=["observation"], in_keys_inv=["action"], out_keys_inv=["wish"])
    env = TransformedEnv(toy(), norm)
    spec = env.full_action_spec["wish"]
    assert isinstance(spec, Bounded)
    torch.testing.assert_close(spec.low, torch.full((2,), -0.02, dtype=torch.float64))
    torch.testing.assert_close(spec.high, torch.full((2,), 0.06, dtype=torch.float64))
    check_env_specs(env)


def test_actions_of_stored_data() -> None:
    """`inv` is the inverse of `forward` on the same entry."""
    data = TensorDict({"action": torch.tensor([[1.0], [4.0]])}, batch_size=[2])
    norm = ObservationNorm(2, 4, in_keys=["action"], in_keys_inv=["action"])
    assert norm.inv(data)["action"].flatten().tolist() == [-0.25, 0.5]
    assert torch.equal(norm(norm.inv(data))["action"], data["action"])


def test_actions_that_are_no_numbers(toy: MakeEnv) -> None:
    """An action that is a category is a wiring mistake."""
    with pytest.raises(SpecError, match=r'in_keys_inv: "action" is not floating-point'):
        TransformedEnv(toy(is_discrete=True), ObservationNorm(0.0, 2.0, in_keys=[], in_keys_inv=["action"]))


def test_nothing_is_divided_by_zero() -> None:
    """A scale of zero is refused where the map, or the one of actions, divides by it."""
    for options in ({"standard_normal": True}, {"in_keys_inv": ["action"]}):
        with pytest.raises(ValueError, match="ObservationNorm: scale is zero"):
            ObservationNorm(0.0, torch.tensor([1.0, 0.0]), **options)
    assert ObservationNorm(0.0, 0.0).scale == 0


def test_constants_that_would_widen_the_entry(toy: MakeEnv) -> None:
    """Constants with more elements than a row are refused when the transform is connected."""
    with pytest.raises(SpecError, match="do not broadcast to the entry"):
        TransformedEnv(toy((2,)), ObservationNorm(torch.zeros(5, 2, 3), 1.0, in_keys=["observation"]))
