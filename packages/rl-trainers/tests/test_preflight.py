"""What does not work is found before a run folder is made."""

from collections.abc import Callable

import pytest

from rl_trainers import ConfigError, PPOConfig
from rl_trainers.preflight import check_surroundings

MakeConfig = Callable[..., PPOConfig]


def problems(config: PPOConfig) -> list[str]:
    """The mistakes found."""
    with pytest.raises(ConfigError) as caught:
        check_surroundings(config)
    return caught.value.problems


def test_what_works_passes(make_config: MakeConfig) -> None:
    """A configuration that can run passes."""
    check_surroundings(make_config())


def test_unknown_env_lists_near_matches(make_config: MakeConfig) -> None:
    """An environment that nobody registered is named, with those that look like it."""
    (problem,) = problems(make_config("env.name=HalfCheeta-v5"))
    assert problem.startswith("env.name: 'HalfCheeta-v5' cannot be made.")
    assert "HalfCheetah-v5" in problem


def test_unknown_env_option_is_shown(make_config: MakeConfig) -> None:
    """An option that the environment's constructor does not take is shown with its message."""
    (problem,) = problems(make_config("env.name=HalfCheetah-v5", "env.options={gravitty: 1}"))
    assert "env.options={'gravitty': 1}" in problem
    assert "gravitty" in problem.split("cannot be made")[1]


def test_unsupported_env_and_device_in_one_report(make_config: MakeConfig) -> None:
    """An environment of the wrong kind and a device that does not exist are reported together."""
    found = problems(make_config("env.name=FrozenLake-v1", "device=gpu"))
    assert [problem.split(":")[0] for problem in found] == ["device", "env.name"]
    assert "Set device=cpu" in found[0]
