"""Validation of values and how they fit together."""

import pytest

from rl_trainers import ConfigError, PPOConfig
from rl_trainers.config_check import check_config, iterate_options


def problem_of(config: PPOConfig) -> str:
    """The one mistake in a configuration."""
    with pytest.raises(ConfigError) as caught:
        check_config(config)
    (problem,) = caught.value.problems
    return problem


def test_defaults_are_valid() -> None:
    """The defaults pass."""
    check_config(PPOConfig())


def test_every_option_has_a_description() -> None:
    """Each option says what it is, so that `--help` can."""
    assert all(len(item.field.metadata["description"]) > 10 for item in iterate_options(PPOConfig()))


def test_frames_that_do_not_divide_by_envs_name_the_fix() -> None:
    """Frames per batch that leave a remainder over the environments are refused, with the nearest number that fits."""
    config = PPOConfig()
    config.collector.frames_per_batch = 1001
    config.env.num_envs = 8
    problem = problem_of(config)
    assert "1001 frames do not divide evenly over env.num_envs=8" in problem
    assert "collector.frames_per_batch=1000" in problem


def test_minibatch_larger_than_batch() -> None:
    """A minibatch that a batch cannot fill is refused."""
    config = PPOConfig()
    config.ppo.minibatch_size = 4096
    assert problem_of(config).startswith("ppo.minibatch_size: 4096 is more than a batch holds")


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_bounds_are_enforced(value: float) -> None:
    """A number outside its range, or not a number, is refused with the range."""
    config = PPOConfig()
    config.ppo.gamma = value
    assert "ppo.gamma: expected a value at least 0.0 and at most 1.0" in problem_of(config)


def test_open_bound_excludes_its_end() -> None:
    """An option that must be greater than 0 refuses 0."""
    config = PPOConfig()
    config.optim.lr = 0.0
    assert problem_of(config) == "optim.lr: expected a value greater than 0.0, found 0.0."


def test_each_number_of_a_list_is_checked() -> None:
    """A layer of width 0 is refused, and so is no layer at all."""
    config = PPOConfig()
    config.network.num_cells = [64, 0]
    assert "network.num_cells: expected a value at least 1" in problem_of(config)
    config.network.num_cells = []
    assert "at least one layer" in problem_of(config)


def test_choices_are_listed() -> None:
    """A string that is not one of the choices is refused with the choices."""
    config = PPOConfig()
    config.network.activation = "gelu"
    assert problem_of(config) == "network.activation: expected one of tanh, relu, elu, silu, found 'gelu'."


@pytest.mark.parametrize(("name", "backend"), [("PendulumEnv", "gymnasium"), ("CartPole-v1", "native")])
def test_backend_must_have_the_environment(name: str, backend: str) -> None:
    """An environment asked of a backend that does not have it is refused."""
    config = PPOConfig()
    config.env.name, config.env.backend = name, backend
    assert "native" in problem_of(config)


def test_zero_trajectory_limit_is_refused() -> None:
    """No frames per trajectory at all is refused, since 0 reads like no limit."""
    config = PPOConfig()
    config.collector.max_frames_per_traj = 0
    assert "found 0" in problem_of(config)
