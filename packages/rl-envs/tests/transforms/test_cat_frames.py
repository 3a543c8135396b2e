"""The last frames as one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rl_envs import (
    CatFrames,
    CatTensors,
    DoubleToFloat,
    ObservationNorm,
    ParallelEnv,
    SerialEnv,
    TransformedEnv,
    check_env_specs,
)
from rl_envs.testing import CountingEnv
from rl_specs import Bounded, MissingKeyError, NestedKey, ShapeError, SpecError, join_key

MakeEnv = Callable[..., Any]


def _rollout(env: Any, steps: int) -> Any:
    action = torch.full_like(env.full_action_spec["action"].zero(), 0.05)
    return env.rollout(steps, lambda data: data.set("action", action), break_when_any_done=False)


def test_by_hand(toy: MakeEnv) -> None:
    """`("agents", "x")` is `[t / 2, -t]`: its frames start with the first one and move on by one a step."""
    env = TransformedEnv(toy(horizon=2), CatFrames(2, -1, in_keys=[("agents", "x")]))
    data = env.rollout(3, break_when_any_done=False)
    assert data["agents", "x"].tolist() == [[0, 0, 0, 0], [0, 0, 0.5, -1], [0, 0, 0, 0]]
    assert data["next", "agents", "x"].tolist() == [[0, 0, 0.5, -1], [0.5, -1, 1, -2], [0, 0, 0.5, -1]]


def test_constant_padding_and_another_dim(toy: MakeEnv) -> None:
    """Before the first frame there is the padding value; frames can lie along any dimension."""
    transform = CatFrames(3, -3, in_keys=["pixels"], out_keys=["stack"], padding="constant", padding_value=9)
    env = TransformedEnv(toy((2,)), transform)
    spec = env.full_observation_spec["stack"]
    assert spec == Bounded(0, 255, shape=(2, 12, 5, 3), dtype=torch.uint8)
    stack = env.rollout(1)["next", "stack"]
    assert stack[0, 0, :, 0, 0].tolist() == [9, 9, 9, 9, 0, 0, 0, 0, 10, 10, 10, 10]


def test_padding_widens_bounds() -> None:
    """A padding value outside of the bounds of the frames is inside of those of the result."""
    transform = CatFrames(2, -1, in_keys=["x"], padding="constant", padding_value=-1)
    assert transform._frames_spec(Bounded(0.0, 1.0, shape=(2,))) == Bounded(-1.0, 1.0, shape=(4,))
    same = CatFrames(2, -1, in_keys=["x"])._frames_spec(Bounded(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 3.0])))
    assert isinstance(same, Bounded)
    assert same.low.tolist() == [0, 2, 0, 2]


def test_rows_reset_apart(toy: MakeEnv) -> None:
    """Rows that end at different times each start their frames anew, the others go on."""
    env = TransformedEnv(toy((2,), horizon=2), CatFrames(2, -1, in_keys=[("agents", "x")], out_keys=["f"]))
    first = _rollout(env, 3)["f"][..., 2]  # t / 2 of the newest frame
    assert first.tolist() == [[0.0, 0.5, 0.0], [0.0, 0.5, 1.0]]
    assert _rollout(env, 3)["f"][0].tolist() == [[0, 0, 0, 0], [0, 0, 0.5, -1], [0, 0, 0, 0]]


def test_reset_key_of_ones_own(toy: MakeEnv) -> None:
    """With `reset_key`, rows outside that mask keep their frames."""
    env = TransformedEnv(toy((2,)), CatFrames(2, -1, in_keys=[("agents", "x")], reset_key="mine"))
    root = {("agents", "x"): torch.ones(2, 4), "mine": torch.tensor([[True], [False]])}
    after = env.transform[0]._reset(root, {("agents", "x"): torch.zeros(2, 2)})
    assert after["agents", "x"].tolist() == [[0, 0, 0, 0], [1, 1, 1, 1]]


def test_later_transforms_do_not_disturb(toy: MakeEnv) -> None:
    """Where the result is written over or removed, the frames are carried beside it, and are the same."""
    key = "observation"
    plain = _rollout(TransformedEnv(toy((2,)), CatFrames(3, -1, in_keys=["observation"])), 5)
    norm = TransformedEnv(toy((2,)), [CatFrames(3, -1, in_keys=[key]), ObservationNorm(1, 2, in_keys=[key])])
    check_env_specs(norm)
    changed = _rollout(norm, 5)
    assert (changed["next", "observation"] == plain["next", "observation"] * 2 + 1).all()
    assert (changed["next", "observation_frames"] == plain["next", "observation"]).all()
    joined = TransformedEnv(toy((2,)), [CatFrames(3, -1, in_keys=[key]), CatTensors([key], "vector")])
    assert (_rollout(joined, 5)["next", "vector"] == plain["next", "observation"]).all()
    single = TransformedEnv(toy((2,)), [CatFrames(3, -1, in_keys=["observation"]), DoubleToFloat()])
    assert _rollout(single, 5)["next", "observation"].dtype == torch.float32
    assert (_rollout(single, 5)["next", "observation"] == plain["next", "observation"].float()).all()
    norm.remove_transform()
    assert "observation_frames" not in norm.full_observation_spec.keys()  # noqa: SIM118
    assert (_rollout(norm, 5) == plain).all()


@pytest.mark.parametrize("apart", [False, True])
def test_vectorised_inside_and_outside(toy: MakeEnv, apart: bool) -> None:
    """Frames inside of a `SerialEnv` or `ParallelEnv` are those of a transform around it, over resets too."""

    def transforms() -> list[Any]:
        norm = ObservationNorm(0, 2, in_keys=["observation"])
        return [CatFrames(2, -1, in_keys=["observation"]), *([norm] if apart else [])]

    expected = _rollout(TransformedEnv(SerialEnv(2, toy), transforms()), 6)
    assert (_rollout(SerialEnv(2, lambda: TransformedEnv(toy(), transforms())), 6) == expected).all()
    with ParallelEnv(2, lambda: TransformedEnv(toy(), transforms()), start_method="fork") as env:
        assert (_rollout(env, 6) == expected).all()


def test_writing_over_frames_of_an_env_inside_is_refused(toy: MakeEnv) -> None:
    """A transform around a `SerialEnv` or `ParallelEnv` must not write over the frames carried inside of it."""

    def make() -> TransformedEnv:
        return TransformedEnv(toy(), CatFrames(2, -1, in_keys=["observation"]))

    refused = 'the environment inside reads "observation" back'
    with pytest.raises(SpecError, match=refused):
        TransformedEnv(SerialEnv(2, make), ObservationNorm(0, 2, in_keys=["observation"]))
    with ParallelEnv(2, make, start_method="fork") as env, pytest.raises(SpecError, match=refused):
        TransformedEnv(env, ObservationNorm(0, 2, in_keys=["observation"]))


@pytest.mark.parametrize("padding", ["same", "constant"])
def test_offline_equals_online(toy: MakeEnv, padding: Any) -> None:
    """Frames made of a stored batch are, bit for bit, those that the environment made; the stored frames stay."""
    settings: dict[str, Any] = {"padding": padding, "padding_value": 0.5}
    single = _rollout(toy((2,), horizon=2), 7)
    keys: list[NestedKey] = ["observation", ("agents", "x")]
    online = _rollout(TransformedEnv(toy((2,), horizon=2), CatFrames(3, -1, in_keys=keys, **settings)), 7)
    copied, given = single.clone(), single.copy()
    both = [*keys, *(join_key("next", key) for key in keys)]
    result = CatFrames(3, -1, in_keys=both, **settings)(given)
    assert result is given
    for key in both:
        assert torch.equal(result[key], online[key]), key
    assert (single == copied).all()


def test_slices_of_a_buffer(toy: MakeEnv) -> None:
    """Of slices of `N` steps the last ones get the frames that they had, also where an episode starts inside."""
    single = _rollout(toy(horizon=3), 9)
    online = _rollout(TransformedEnv(toy(horizon=3), CatFrames(3, -1, in_keys=["observation"])), 9)
    transform = CatFrames(3, -1, in_keys=["observation"]).make_rb_transform()
    ends = [4, 2, 8, 6]
    slices = torch.stack([single[end - 2 : end + 1] for end in ends])
    for batch in (slices, slices.reshape(-1)):
        found = transform(batch)
        assert found.batch_size == (4,)
        assert torch.equal(found["observation"], online["observation"][ends])
        assert torch.equal(found["next", "observation"], online["next", "observation"][ends])
    with pytest.raises(ShapeError, match=r"expected \[S \* 3\] or \[S, 3\]".replace("expected", "Expected")):
        transform(slices.reshape(-1)[:4])


def test_concatenated_when_stored() -> None:
    """With `as_inverse` a buffer stores the frames, and `forward` leaves what is drawn alone; in an environment it is
    refused."""
    frames = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    done = torch.tensor([[False], [True], [False], [False]])
    steps = TensorDict({"x": frames, "next": {"x": frames + 10, "done": done}}, [4])
    transform = CatFrames(2, -1, in_keys=["x", ("next", "x")], as_inverse=True)
    stored = transform.inv(steps)
    assert stored["x"].tolist() == [[1.0, 1.0], [1.0, 2.0], [3.0, 3.0], [3.0, 4.0]]
    assert stored["next", "x"].tolist() == [[1.0, 11.0], [2.0, 12.0], [3.0, 13.0], [4.0, 14.0]]
    assert torch.equal(steps["x"], frames)
    assert torch.equal(steps["next", "x"], frames + 10)
    assert torch.equal(transform(stored.clone())["x"], stored["x"])
    plain = CatFrames(2, -1, in_keys=["x"])
    assert torch.equal(plain.inv(steps)["x"], frames)
    with pytest.raises(SpecError, match="as_inverse: an environment has no trajectories"):
        TransformedEnv(CountingEnv(), CatFrames(2, -1, in_keys=["observation"], as_inverse=True))


def test_compiles(toy: MakeEnv) -> None:
    """The offline map compiles to one graph with the same numbers."""
    single = _rollout(toy((2,)), 5)
    transform = CatFrames(3, -1, in_keys=["observation"], out_keys=["frames"])
    compiled = torch.compile(transform, fullgraph=True, backend="eager")
    assert torch.equal(compiled(single.copy())["frames"], transform(single.copy())["frames"])


def test_misuse(toy: MakeEnv) -> None:
    """Bad arguments, a reward among the in keys, and a root without the frames are refused."""
    with pytest.raises(ValueError, match="bad N"):
        CatFrames(0, -1)
    with pytest.raises(ValueError, match="dim is not negative"):
        CatFrames(2, 0)
    with pytest.raises(ValueError, match="unknown padding"):
        CatFrames(2, -1, padding="zeros")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match='"reward" is no observation'):
        TransformedEnv(toy(), CatFrames(2, -1, in_keys=["reward"]))
    env = TransformedEnv(toy(), CatFrames(2, -1, in_keys=["observation"], out_keys=["frames"]))
    with pytest.raises(MissingKeyError, match=r'CatFrames: key "frames" missing.*env.reset\(\)'):
        env.step(env.rand_action(env.reset()).exclude("frames"))
    with pytest.raises(SpecError, match="written already"):
        TransformedEnv(toy(), CatFrames(2, -1, in_keys=["observation"], out_keys=["pixels"]))
    with pytest.raises(ShapeError, match="no time dimension"):
        CatFrames(2, -1, in_keys=["x"])(TensorDict({"x": torch.zeros(1)}))
    assert repr(CatFrames(2, -1)) == "CatFrames(N=2, dim=-1, keys=['pixels'])"


def test_too_few_dimensions(toy: MakeEnv) -> None:
    """A dimension that the rows of an entry do not have is told when it is connected."""
    with pytest.raises(SpecError, match=r"dim: entries of one row have no dimension -2 \(\"observation\": \(2, 3\)\)"):
        TransformedEnv(toy((2,)), CatFrames(2, -2, in_keys=["observation"]))
