"""Where each name that the documents import is found here: a program changes its import lines and nothing else."""

import importlib

import pytest

import rl_objectives
from rl_envs import Compose, DoubleToFloat, PendulumEnv, RewardSum, StepCounter, TransformedEnv
from rl_objectives.utils import ValueEstimators, default_value_kwargs

NAMES = {
    "torchrl.collectors": ("rl_collectors", "Collector SyncDataCollector"),
    "torchrl.data": (
        "rl_buffers",
        "ReplayBuffer TensorDictReplayBuffer LazyTensorStorage ListStorage",
    ),
    "torchrl.data.replay_buffers": ("rl_buffers", "ReplayBuffer"),
    "torchrl.data.replay_buffers.samplers": ("rl_buffers.samplers", "SamplerWithoutReplacement RandomSampler"),
    "torchrl.data.replay_buffers.storages": ("rl_buffers.storages", "LazyTensorStorage ListStorage"),
    "torchrl.data.tensor_specs": ("rl_specs", "Bounded BoundedTensorSpec Unbounded Composite"),
    "torchrl.envs": (
        "rl_envs",
        "ClipTransform Compose DoubleToFloat ExplorationType GymEnv NoopResetEnv ObservationNorm PendulumEnv RewardSum "
        "SerialEnv StepCounter ToTensorImage TransformedEnv VecNorm set_exploration_type",
    ),
    "torchrl.envs.libs.gym": ("rl_envs.gym", "GymEnv GymWrapper"),
    "torchrl.envs.utils": ("rl_envs", "check_env_specs ExplorationType set_exploration_type step_mdp"),
    "torchrl.modules": (
        "rl_modules",
        "Actor ActorValueOperator ConvNet MLP NormalParamExtractor ProbabilisticActor SafeModule TanhNormal "
        "ValueOperator",
    ),
    "torchrl.modules.distributions": ("rl_modules.distributions", "NormalParamExtractor TanhNormal"),
    "torchrl.modules.models.utils": ("rl_modules", "SquashDims"),
    "torchrl.modules.tensordict_module.actors": ("rl_modules", "ProbabilisticActor ValueOperator"),
    "torchrl.modules.tensordict_module.common": ("rl_modules", "SafeModule"),
    "torchrl.objectives": (
        "rl_objectives",
        "A2CLoss ClipPPOLoss KLPENPPOLoss ReinforceLoss HardUpdate SoftUpdate group_optimizers",
    ),
    "torchrl.objectives.common": ("rl_objectives.common", "LossModule"),
    "torchrl.objectives.utils": ("rl_objectives.utils", "ValueEstimators default_value_kwargs"),
    "torchrl.objectives.value": ("rl_objectives.value", "GAE TDLambdaEstimator VTrace ValueEstimatorBase"),
}


@pytest.mark.parametrize("there", NAMES)
def test_names_are_found(there: str) -> None:
    """Each name is there, and is the very object that the distribution exports at its top where it exports one."""
    path, names = NAMES[there]
    module, top = importlib.import_module(path), importlib.import_module(path.split(".")[0])
    for name in names.split():
        found = getattr(module, name)
        assert getattr(top, name, found) is found


def test_the_two_names_of_the_collector_are_one_class() -> None:
    """`SyncDataCollector` is `Collector`, so that `isinstance` and pickles do not care."""
    module = importlib.import_module("rl_collectors")
    assert module.SyncDataCollector is module.Collector


@pytest.mark.parametrize("name", ["GAE", "TDLambda"])
def test_default_hyperparameters_of_estimators(name: str) -> None:
    """`default_value_kwargs` gives the discount and trace decay that a loss starts with."""
    assert default_value_kwargs(ValueEstimators[name]) == {"gamma": 0.99, "lmbda": 0.95}
    assert rl_objectives.ClipPPOLoss.default_value_estimator is ValueEstimators.GAE


def test_transforms_are_inserted_and_removed() -> None:
    """A transform can be put in, taken out and composed without touching the others; the specs follow."""
    env = TransformedEnv(PendulumEnv(), Compose(RewardSum()))
    env.insert_transform(0, DoubleToFloat())
    env.append_transform(StepCounter())
    assert [type(env.transform[i]) for i in range(3)] == [DoubleToFloat, RewardSum, StepCounter]
    assert "step_count" in set(env.rollout(2).keys())
    removed = env.remove_transform(2)
    assert isinstance(removed, StepCounter)
    assert "step_count" not in set(env.rollout(2).keys()) | set(env.observation_spec.keys())
