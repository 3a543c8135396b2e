"""Gymnasium environments as `EnvBase`."""

from rl_envs.gym._env import GymEnv
from rl_envs.gym._from_spec import space_from_spec
from rl_envs.gym._text import decode_text
from rl_envs.gym._wrapper import GymWrapper
from rl_envs.gym.functional import FuncEnvAdapter
from rl_envs.gym.info import BaseInfoDictReader, default_info_dict_reader
from rl_envs.gym.legacy import LegacyGymEnv
from rl_envs.gym.spaces import spec_from_space

__all__ = [
    "BaseInfoDictReader",
    "FuncEnvAdapter",
    "GymEnv",
    "GymWrapper",
    "LegacyGymEnv",
    "decode_text",
    "default_info_dict_reader",
    "space_from_spec",
    "spec_from_space",
]
