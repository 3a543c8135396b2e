"""For authors of environments: small environments to test with, and a suite to test an environment against."""

from rl_envs.testing.conformance import EnvConformance
from rl_envs.testing.counting import CountingEnv
from rl_envs.testing.discrete import DiscreteCountingEnv
from rl_envs.testing.failing import FailingEnv
from rl_envs.testing.growing import GrowingEnv
from rl_envs.testing.heterogeneous import HeterogeneousCountingEnv
from rl_envs.testing.multi_key import MultiKeyCountingEnv
from rl_envs.testing.nested import NestedCountingEnv
from rl_envs.testing.noise import NoiseEnv
from rl_envs.testing.pixels import PixelsCountingEnv
from rl_envs.testing.scheduled import ScheduledEnv
from rl_envs.testing.stateless import StatelessCountingEnv
from rl_envs.testing.tensordict_counting import TensorDictCountingEnv
from rl_envs.testing.text import TextCountingEnv

__all__ = [
    "CountingEnv",
    "DiscreteCountingEnv",
    "EnvConformance",
    "FailingEnv",
    "GrowingEnv",
    "HeterogeneousCountingEnv",
    "MultiKeyCountingEnv",
    "NestedCountingEnv",
    "NoiseEnv",
    "PixelsCountingEnv",
    "ScheduledEnv",
    "StatelessCountingEnv",
    "TensorDictCountingEnv",
    "TextCountingEnv",
]
