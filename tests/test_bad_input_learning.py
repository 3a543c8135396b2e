"""Mistakes with collectors, buffers, networks, losses and specs: the answers name component, key and fix."""

import enum
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torch import Tensor, nn

from rl_buffers import LazyTensorStorage, SamplerWithoutReplacement, TensorDictReplayBuffer
from rl_collectors import Collector, WiringError
from rl_envs.testing import CountingEnv
from rl_modules import MLP, Actor, ProbabilisticActor, TanhNormal, ValueOperator
from rl_objectives import ClipPPOLoss, ReinforceLoss, SoftUpdate
from rl_objectives.value import GAE
from rl_specs import Bounded, Composite, DeviceError, DTypeError, MissingKeyError, ShapeError, SpecError, Unbounded

Case = tuple[Callable[[], object], type[Exception], tuple[str, ...]]
PACKAGES = [
    *("rl_specs", "rl_envs", "rl_envs.gym", "rl_envs.transforms", "rl_modules", "rl_buffers", "rl_collectors"),
    *("rl_objectives", "rl_objectives.value", "rl_cuda", "rl_trainers"),
]


def told(error: type[Exception], call: Callable[[], object], *parts: str) -> None:
    """`call` raises `error`, with each of `parts` in its message, in this order."""
    with pytest.raises(error) as caught:
        call()
    text, position = str(caught.value), 0
    for part in parts:
        found = text.find(part, position)
        assert found >= 0, f"{part!r} is not in {text[position:]!r} of {text!r}"
        position = found + len(part)


def untyped(call: Any) -> Any:
    """`call`, so that a type checker lets a mistake through."""
    return call


def _constructors() -> list[Any]:
    classes = {}
    for name in PACKAGES:
        module = importlib.import_module(name)
        for public in module.__all__:
            kind = getattr(module, public)
            is_made = inspect.isclass(kind) and not inspect.isabstract(kind) and inspect.isfunction(kind.__init__)
            if is_made and not issubclass(kind, (Exception, enum.Enum)) and not getattr(kind, "_is_protocol", False):
                classes[kind] = f"{name}.{public}"
    return [pytest.param(kind, id=name) for kind, name in classes.items()]


@pytest.mark.parametrize("kind", _constructors())
def test_an_unknown_keyword_is_refused_by_name(kind: type[object]) -> None:
    """No public constructor swallows a keyword that it does not know; the error names class and keyword."""
    arguments: dict[str, dict[str, Any]] = {
        "GymEnv": {"env_name": "CartPole-v1"},
        "EnvCreator": {"create_env_fn": CountingEnv},
    }
    required = arguments.get(kind.__name__, {})
    told_of = [base.__name__ for base in kind.__mro__[:-1]]
    with pytest.raises(TypeError, match="nonsense") as caught:
        untyped(kind)(nonsense=3, **required)
    assert any(name in str(caught.value) for name in told_of)


# ---------------------------------------------------------------------------------------------------------- collector


def act(function: Callable[[Tensor], Tensor], in_key: str = "observation", out_key: str = "action") -> TensorDictModule:
    """A policy of one function."""
    return TensorDictModule(function, in_keys=[in_key], out_keys=[out_key])


def collect(policy: object = None, env: object = None, **changes: Any) -> object:
    """Batches of four frames of two counting environments."""
    arguments = {"frames_per_batch": 4, "total_frames": 8, **changes}
    return list(untyped(Collector)(CountingEnv((2,)) if env is None else env, policy, **arguments))


def _closed() -> CountingEnv:
    env = CountingEnv()
    env.close()
    return env


def _update(weights: object) -> None:
    policy = act(nn.Linear(1, 1))
    untyped(Collector(CountingEnv((2,)), policy, frames_per_batch=2)).update_policy_weights_(weights)


def _load(state: Any) -> None:
    Collector(CountingEnv((2,)), frames_per_batch=2).load_state_dict(state)


COLLECTOR: dict[str, Case] = {
    "indivisible": (
        lambda: collect(frames_per_batch=5),
        ValueError,
        ("Collector", "frames_per_batch", "multiple of 2", "5", "frames_per_batch=4 or 6"),
    ),
    "float frames": (
        lambda: collect(frames_per_batch=4.0),
        TypeError,
        ("Collector", "frames_per_batch", "integer", "4.0", "frames_per_batch=4"),
    ),
    "float total": (
        lambda: collect(total_frames=1e6),
        TypeError,
        ("Collector", "total_frames", "integer", "1000000.0", "total_frames=1000000"),
    ),
    "no total": (lambda: collect(total_frames=0), ValueError, ("Collector", "total_frames", "at least 1", "0", "Pass")),
    "no action": (
        lambda: collect(act(nn.Linear(1, 1), out_key="actn")),
        WiringError,
        ("Collector", '"action"', "does not write", '"actn"', 'Did you mean "actn"?', "Rename the keys"),
    ),
    "no action from a function": (
        lambda: collect(lambda data: data),
        WiringError,
        ("Collector", 'wrote no "action"', '"observation"', "Write the action"),
    ),
    "unwritten key": (
        lambda: collect(act(nn.Linear(1, 1), in_key="observatio")),
        WiringError,
        ("Collector", '"observatio"', "nobody writes", 'Did you mean "observation"?', "Rename the keys"),
    ),
    "shape": (
        lambda: collect(act(nn.Linear(1, 3))),
        WiringError,
        ("Collector", '"action"', "(2, 3)", "(2, 1) is expected", "last layer"),
    ),
    "dtype": (
        lambda: collect(act(lambda x: x.double())),
        WiringError,
        ("Collector", '"action"', "torch.float64", "torch.float32 is expected", "Cast"),
    ),
    "device": (
        lambda: collect(act(lambda x: x.to("meta"))),
        WiringError,
        ("Collector", '"action"', "meta", "cpu is expected", "policy_device"),
    ),
    "bounds": (
        lambda: collect(act(lambda x: x + 4)),
        WiringError,
        ("Collector", '"action"', "low=-1, high=1", "4.", "TanhNormal"),
    ),
    "bare network": (lambda: collect(nn.Linear(1, 1)), TypeError, ("policy (Linear)", "Wrap the network")),
    "env name": (
        lambda: collect(env="CartPole-v1"),
        TypeError,
        ("Collector", "create_env_fn", "an environment", "CartPole-v1", "GymEnv('CartPole-v1')"),
    ),
    "no env": (lambda: collect(env=lambda: 3), TypeError, ("Collector", "rl_envs.EnvBase", "int", "GymWrapper")),
    "closed env": (lambda: collect(env=_closed()), ValueError, ("Collector", "closed: CountingEnv", "Make a new one")),
    "exploration": (
        lambda: collect(exploration_type="random"),
        TypeError,
        ("Collector", "exploration_type", "ExplorationType.RANDOM", "'random'", "Pass"),
    ),
    "random frames": (
        lambda: collect(init_random_frames=-3),
        ValueError,
        ("Collector", "init_random_frames", "at least 0", "-3", "Pass"),
    ),
    "other weights": (
        lambda: _update(nn.Linear(3, 3)),
        ValueError,
        ("Collector.update_policy_weights_", "do not fit", "module.weight", "Linear", "Pass the policy"),
    ),
    "no weights": (
        lambda: _update(3),
        TypeError,
        ("Collector.update_policy_weights_", "a state_dict", "int", "Pass the policy"),
    ),
    "empty state": (
        lambda: _load({}),
        MissingKeyError,
        ("Collector.load_state_dict", "missing", "Pass what state_dict()"),
    ),
    "other state": (
        lambda: _load(Collector(CountingEnv((3,)), frames_per_batch=3).state_dict()),
        ValueError,
        ("Collector", "(2,)", "(3,)", "as many environments"),
    ),
}


@pytest.mark.parametrize("case", COLLECTOR)
def test_collector(case: str) -> None:
    """A collector says what does not fit when policy and environment meet."""
    call, error, parts = COLLECTOR[case]
    told(error, call, *parts)


# ------------------------------------------------------------------------------------------------------------- buffer


def rows(value: Tensor | None = None, **more: Tensor) -> TensorDict:
    """Three rows with the entry `a`."""
    return TensorDict({"a": torch.zeros(3, 2) if value is None else value, **more}, [3])


def buffer(**changes: Any) -> TensorDictReplayBuffer:
    """A buffer for ten rows."""
    return TensorDictReplayBuffer(**{"storage": LazyTensorStorage(10), "batch_size": 2, **changes})


def extended(*batches: Any, **changes: Any) -> TensorDictReplayBuffer:
    """A buffer with rows in it."""
    filled = buffer(**changes)
    for batch in batches:
        filled.extend(batch)
    return filled


NAME = "TensorDictReplayBuffer"
BUFFER: dict[str, Case] = {
    "empty": (lambda: buffer().sample(), RuntimeError, (NAME, "empty", "Call extend")),
    "empty epoch": (
        lambda: list(buffer(sampler=SamplerWithoutReplacement())),
        RuntimeError,
        (NAME, "empty", "Call extend"),
    ),
    "other entries": (
        lambda: extended(rows(), TensorDict({"b": torch.zeros(3)}, [3])),
        SpecError,
        (f"{NAME}.extend", '"a"', "expected float32 [2]", "nothing", '"b"', "no such entry", "Nothing was written"),
    ),
    "other dtype": (
        lambda: extended(rows(), rows(torch.zeros(3, 2, dtype=torch.float64))),
        SpecError,
        (f"{NAME}.extend", '"a"', "float32 [2]", "float64 [2]", "Give every row"),
    ),
    "other shape": (
        lambda: extended(rows(), rows(torch.zeros(3, 1))),
        SpecError,
        (f"{NAME}.extend", '"a"', "float32 [2]", "float32 [1]", "Give every row"),
    ),
    "other device": (
        lambda: extended(rows(), rows(torch.zeros(3, 2, device="meta"))),
        DeviceError,
        (f"{NAME}.extend", '"a"', "cpu", "meta", "Make the tensors"),
    ),
    "one row": (
        lambda: extended(TensorDict({"a": torch.zeros(2)}, [])),
        SpecError,
        (f"{NAME}.extend", "first dimension", "no batch dimension", "add(row)"),
    ),
    "a tensor": (
        lambda: extended(torch.zeros(3)),
        TypeError,
        (f"{NAME}.extend", "a TensorDict", "Tensor", "ReplayBuffer"),
    ),
    "no size": (
        lambda: extended(rows(), batch_size=None).sample(),
        ValueError,
        (f"{NAME}.sample", "batch size", "Give batch_size"),
    ),
    "too many": (
        lambda: extended(rows(), sampler=SamplerWithoutReplacement()).sample(7),
        ValueError,
        ("SamplerWithoutReplacement", "7", "the 3 rows", "Ask for fewer"),
    ),
    "a class": (
        lambda: buffer(storage=LazyTensorStorage),
        TypeError,
        (NAME, "storage", "an instance of Storage", "LazyTensorStorage", "Pass an object"),
    ),
    "no room": (lambda: LazyTensorStorage(0), ValueError, ("LazyTensorStorage", "max_size", "integer >= 1", "0")),
    "no row": (lambda: extended(rows())[7], IndexError, (NAME, "row 7", "the 3 rows")),
    "other state": (
        lambda: buffer(storage=LazyTensorStorage(20)).load_state_dict(extended(rows()).state_dict()),
        SpecError,
        (NAME, "capacity", "20", "10", "Nothing was loaded"),
    ),
}


@pytest.mark.parametrize("case", BUFFER)
def test_buffer(case: str) -> None:
    """A buffer names the entries that differ, and writes nothing then."""
    call, error, parts = BUFFER[case]
    told(error, call, *parts)


# ---------------------------------------------------------------------------------------------------------- objectives


def actor() -> ProbabilisticActor:
    """A policy for observations of 3 and actions of 1."""
    network = nn.Sequential(nn.Linear(3, 2), NormalParamExtractor())
    module = TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"])
    return ProbabilisticActor(module, in_keys=["loc", "scale"], distribution_class=TanhNormal, return_log_prob=True)


def critic(features: int = 3, values: int = 1) -> ValueOperator:
    """A critic for the same observations."""
    return ValueOperator(nn.Linear(features, values), in_keys=["observation"])


def batch(**changes: Tensor | None) -> TensorDict:
    """A collected batch `[4, 5]` with some entries replaced, or left out where None; `next_` for nested ones."""
    flags = {key: torch.zeros(4, 5, 1, dtype=torch.bool) for key in ("done", "terminated")}
    following = {"observation": torch.zeros(4, 5, 3), "reward": torch.zeros(4, 5, 1), **flags}
    data = actor()(TensorDict({"observation": torch.zeros(4, 5, 3), "next": following}, [4, 5])).detach()
    data.update({"advantage": torch.zeros(4, 5, 1), "value_target": torch.zeros(4, 5, 1)})
    data = TensorDict(data.to_dict(), [4, 5])
    for name, value in changes.items():
        key = ("next", name.removeprefix("next_")) if name.startswith("next_") else name
        if value is None:
            del data[key]
        else:
            data[key] = value
    return data


def lose(**changes: Tensor | None) -> object:
    """The PPO loss of a batch."""
    return ClipPPOLoss(actor(), critic())(batch(**changes))


def estimate(network: object = None, **changes: Tensor | None) -> object:
    """The advantage of a batch."""
    return untyped(GAE)(gamma=0.9, lmbda=0.9, value_network=critic() if network is None else network)(batch(**changes))


SQUEEZED = torch.zeros(4, 5)
OBJECTIVES: dict[str, Case] = {
    "no advantage to be had": (
        lambda: lose(advantage=None, next_reward=None),
        MissingKeyError,
        ("ClipPPOLoss", '"advantage"', "Run GAE first", '("next", "reward") missing'),
    ),
    "no target": (
        lambda: lose(value_target=None),
        MissingKeyError,
        ("ClipPPOLoss", '"value_target" missing', "has:", "Run GAE"),
    ),
    "no log-prob": (
        lambda: lose(sample_log_prob=None),
        MissingKeyError,
        ("ClipPPOLoss", '"sample_log_prob" missing', "has:", "return_log_prob=True"),
    ),
    "no action": (
        lambda: lose(action=None),
        MissingKeyError,
        ("ClipPPOLoss", '"action" missing', "Collect with the policy"),
    ),
    "no observation": (
        lambda: lose(observation=None),
        MissingKeyError,
        ("ClipPPOLoss", '"observation" missing', "an input of actor_network"),
    ),
    "advantage [B]": (
        lambda: lose(advantage=SQUEEZED),
        ShapeError,
        ("ClipPPOLoss", '"advantage"', "[4, 5, 1]", "[4, 5]", "unsqueeze(-1)"),
    ),
    "target [B]": (
        lambda: lose(value_target=SQUEEZED),
        ShapeError,
        ('"value_target"', "[4, 5]", "[4, 5, 1]", "Bring both to one shape"),
    ),
    "two devices": (
        lambda: lose(advantage=torch.zeros(4, 5, 1, device="meta")),
        DeviceError,
        ("ClipPPOLoss", "log-probability", "advantage", "cpu", "meta", "data.to(device)"),
    ),
    "other features": (
        lambda: lose(observation=torch.zeros(4, 5, 7)),
        RuntimeError,
        ("ClipPPOLoss", '"observation" (4, 5, 7) torch.float32 on cpu', "Give the network and the data"),
    ),
    "no critic": (
        lambda: untyped(ClipPPOLoss)(actor(), None),
        ValueError,
        ("ClipPPOLoss", "critic_network", "critic_coeff=None"),
    ),
    "swapped": (
        lambda: untyped(ClipPPOLoss)(critic(), actor()),
        TypeError,
        ("ClipPPOLoss", "actor_network", "ProbabilisticActor", "ValueOperator", "the actor first"),
    ),
    "bare actor": (
        lambda: untyped(ClipPPOLoss)(nn.Linear(3, 2), critic()),
        TypeError,
        ("ClipPPOLoss", "actor_network", "ProbabilisticActor", "Linear"),
    ),
    "no distribution": (
        lambda: untyped(ReinforceLoss)(Actor(nn.Linear(3, 1)), critic()),
        TypeError,
        ("ReinforceLoss", "actor_network", "ProbabilisticActor", "Actor"),
    ),
    "bare critic": (
        lambda: untyped(ClipPPOLoss)(actor(), nn.Linear(3, 1)),
        TypeError,
        ("ClipPPOLoss", "critic_network", "a TensorDictModule", "Linear", "ValueOperator("),
    ),
    "clip": (
        lambda: ClipPPOLoss(actor(), critic(), clip_epsilon=-1.0),
        ValueError,
        ("ClipPPOLoss", "clip_epsilon", "-1"),
    ),
    "reduction": (
        lambda: untyped(ClipPPOLoss)(actor(), critic(), reduction="avg"),
        ValueError,
        ("ClipPPOLoss", "reduction", "'avg'", "'mean'"),
    ),
    "role": (
        lambda: ClipPPOLoss(actor(), critic()).set_keys(advantge="x"),
        KeyError,
        ("ClipPPOLoss", '"advantge"', "Did you mean advantage?"),
    ),
    "estimator": (
        lambda: untyped(ClipPPOLoss(actor(), critic())).make_value_estimator("gae"),
        ValueError,
        ("ClipPPOLoss", "'gae'", "Choose from"),
    ),
    "no targets": (
        lambda: SoftUpdate(ClipPPOLoss(actor(), critic()), eps=0.9),
        ValueError,
        ("SoftUpdate", "ClipPPOLoss", "delay_value"),
    ),
    "GAE reward [B]": (
        lambda: estimate(next_reward=SQUEEZED),
        ShapeError,
        ("generalized_advantage_estimate", '"reward"', "[4, 5, 1]", "[4, 5]", "reward.unsqueeze(-1)"),
    ),
    "GAE done [B]": (
        lambda: estimate(next_done=torch.zeros(4, 5, dtype=torch.bool)),
        ShapeError,
        ("generalized_advantage_estimate", '"done"', "[4, 5, 1]", "[4, 5]", "done.unsqueeze(-1)"),
    ),
    "GAE no reward": (
        lambda: estimate(next_reward=None),
        MissingKeyError,
        ("GAE", '("next", "reward") missing', "has:", "set_keys(reward"),
    ),
    "GAE no done": (
        lambda: estimate(next_done=None),
        MissingKeyError,
        ("GAE", '("next", "done") missing', "set_keys(done"),
    ),
    "GAE no next": (
        lambda: estimate(next_observation=None),
        MissingKeyError,
        ("ValueOperator", '("next", "observation") missing', "an input of the value network"),
    ),
    "GAE two values": (lambda: estimate(critic(values=2)), ShapeError, ('"state_value"', "[4, 5, 2]", "[4, 5, 1]")),
    "GAE bare": (
        lambda: estimate(nn.Linear(3, 1)),
        TypeError,
        ("GAE", "value_network", "a TensorDictModule", "Linear", "ValueOperator("),
    ),
    "GAE gamma": (
        lambda: GAE(gamma=1.9, lmbda=0.9, value_network=critic()),
        ValueError,
        ("GAE", "gamma", "0 <= x <= 1", "1.9", "Pass gamma=0.99"),
    ),
    "GAE lmbda": (
        lambda: GAE(gamma=0.9, lmbda=-0.1, value_network=critic()),
        ValueError,
        ("GAE", "lmbda", "0 <= x <= 1", "-0.1", "Pass lmbda"),
    ),
}


@pytest.mark.parametrize("case", OBJECTIVES)
def test_objectives(case: str) -> None:
    """Losses and estimators name the entry that is missing or of another form, and nothing is broadcast."""
    call, error, parts = OBJECTIVES[case]
    told(error, call, *parts)


def test_a_loss_without_advantage_estimates_it() -> None:
    """Where the batch has what an estimator reads, the loss needs no advantage, and equals the one given it."""
    torch.manual_seed(0)
    loss = ClipPPOLoss(actor(), critic())
    data = batch(advantage=None, value_target=None, next_reward=torch.randn(4, 5, 1))
    given = data.clone()
    estimator = loss.value_estimator
    assert estimator is not None
    estimator(given)
    torch.testing.assert_close(loss(data)["loss_objective"], loss(given)["loss_objective"])


# ---------------------------------------------------------------------------------------------------- specs, modules


def mapped(keys: list[str], **keywords: Any) -> object:
    """An actor over a network that writes `keys`."""
    module = TensorDictModule(nn.Linear(3, 2), in_keys=["observation"], out_keys=keys)
    return ProbabilisticActor(
        module, in_keys=["loc", "scale"], distribution_class=TanhNormal, distribution_kwargs=keywords
    )


PARTS: dict[str, Case] = {
    "value": (
        lambda: Bounded(-1.0, 1.0, (3,)).assert_is_in(torch.full((3,), 4.0), name="action"),
        SpecError,
        ("action", "domain", "low=-1, high=1", "3 of 3 outside", "4.0"),
    ),
    "project": (
        lambda: Bounded(-1.0, 1.0, (3,)).project(torch.ones(2)),
        ShapeError,
        ("Bounded.project", "(*batch, 3)", "(2,)", "Pass a value"),
    ),
    "bounds": (lambda: Bounded(1.0, -1.0, (3,)), SpecError, ("Bounded", "low <= high", "low=1, high=-1")),
    "dtype": (
        lambda: untyped(Unbounded)((3,), dtype="float32"),
        DTypeError,
        ("Unbounded", "dtype", "a torch.dtype", "'float32'", "torch.float32"),
    ),
    "key": (
        lambda: Composite({"position": Unbounded((1,))})["positon"],
        MissingKeyError,
        ("Composite", '"positon" missing', "has:", 'Did you mean "position"?', "Use one"),
    ),
    "width": (lambda: MLP(3, 2, num_cells=[-3]), ValueError, ("MLP", "num_cells", "integers >= 1", "-3", "[64, 64]")),
    "depth": (lambda: MLP(3, 2, num_cells=[3, 3], depth=5), ValueError, ("MLP", "num_cells: 2", "depth: 5")),
    "activation": (
        lambda: untyped(MLP)(3, 2, activation_class="tanh"),
        TypeError,
        ("MLP", "activation_class", "a module class", "'tanh'", "Pass the class"),
    ),
    "parameters": (
        lambda: mapped(["mean"]),
        ValueError,
        ("ProbabilisticActor", '"loc", "scale"', '"mean"', "Name its out_keys so"),
    ),
    "distribution": (
        lambda: mapped(["loc", "scale"], lo=3.0),
        TypeError,
        ("TanhNormal", '"lo"', "Did you mean low", "Rename"),
    ),
    "limits": (
        lambda: TanhNormal(torch.zeros(2), torch.ones(2), low=1.0, high=-1.0),
        ValueError,
        ("TanhNormal", "low < high", "low=1.0, high=-1.0"),
    ),
    "spec": (lambda: Actor(nn.Linear(3, 1), safe=True), ValueError, ("Actor", "safe=True", "spec=env.action_spec")),
}


@pytest.mark.parametrize("case", PARTS)
def test_specs_and_modules(case: str) -> None:
    """Specs and networks say at construction what cannot be."""
    call, error, parts = PARTS[case]
    told(error, call, *parts)
