"""Configurations from overrides and YAML."""

import dataclasses
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_trainers import ConfigError, PPOConfig, load_config, parse_config, register_config, save_config
from rl_trainers.config_check import iterate_options


def problems(*overrides: str) -> list[str]:
    """The mistakes that parsing reports."""
    with pytest.raises(ConfigError) as caught:
        parse_config(overrides)
    return caught.value.problems


def test_overrides_reach_their_options_with_their_types() -> None:
    """Numbers with underscores or exponents, lists, dicts, booleans and text are read as the option's type."""
    config = parse_config(
        [
            "env.name=HalfCheetah-v5",
            "collector.total_frames=1_000_000",
            "optim.lr=1e-3",
            "network.num_cells=[128,64,32]",
            "env.options={ctrl_cost_weight: 0.2}",
            "env.options.forward_reward_weight=2",
            "logger.tensorboard=false",
            "ppo.gamma=1",
            "seed=1",
        ]
    )
    assert config.env.name == "HalfCheetah-v5"
    assert config.collector.total_frames == 1_000_000
    assert config.optim.lr == 1e-3
    assert config.network.num_cells == [128, 64, 32]
    assert config.env.options == {"ctrl_cost_weight": 0.2, "forward_reward_weight": 2}
    assert config.logger.tensorboard is False
    assert (config.ppo.gamma, type(config.ppo.gamma)) == (1.0, float)
    assert config.seed == 1


def test_no_overrides_give_the_defaults() -> None:
    """Without overrides the configuration is the dataclass's own."""
    assert parse_config() == PPOConfig()


@pytest.mark.parametrize(
    ("override", "key", "suggestion"),
    [
        ("env.nam=x", "env.nam", "env.name"),
        ("lr=1e-3", "lr", "optim.lr"),
        ("collector.frame_per_batch=10", "collector.frame_per_batch", "collector.frames_per_batch"),
        ("colector.total_frames=10", "colector.total_frames", "collector.total_frames"),
        ("sed=3", "sed", "seed"),
        ("env.options.a.b=1", "env.options.a.b", "env.options"),
    ],
)
def test_unknown_key_lists_near_matches(override: str, key: str, suggestion: str) -> None:
    """A key that does not exist is named, with the options that look like it."""
    (problem,) = problems(override)
    assert problem.startswith(f"{key}: there is no such option.")
    assert suggestion in problem


@pytest.mark.parametrize(
    ("override", "expected", "found"),
    [
        ("collector.total_frames=many", "int", "'many' (str)"),
        ("collector.total_frames=1.5", "int", "1.5 (float)"),
        ("optim.lr=true", "float", "True (bool)"),
        ("optim.anneal=perhaps", "bool", "'perhaps' (str)"),
        ("network.num_cells=[64,wide]", "list[int]", "[64, 'wide'] (list)"),
        ("network.num_cells=64", "list[int]", "64 (int)"),
        ("seed=null", "int", "None (NoneType)"),
        ("env.name=[a]", "str", "['a'] (list)"),
    ],
)
def test_ill_typed_value_names_both_types(override: str, expected: str, found: str) -> None:
    """A value of the wrong type is reported with the type expected and the value found."""
    (problem,) = problems(override)
    assert problem == f"{override.partition('=')[0]}: expected {expected}, found {found}."


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("seed", "expected key=value"),
        ("env=x", "is a group of options"),
        ("+seed=1", "without a leading sign"),
        ("~seed=1", "without a leading sign"),
        ("seed=1,2", "one value is expected"),
        ("env.name=a{b", "cannot read the value"),
    ],
)
def test_malformed_override_is_explained(override: str, text: str) -> None:
    """What is not `key=value` with one value is refused with the reason."""
    (problem,) = problems(override)
    assert text in problem


def test_all_mistakes_are_in_one_report() -> None:
    """Unknown keys, wrong types, values out of range and contradictions are reported together."""
    found = problems(
        "env.nam=x", "optim.lr=fast", "ppo.gamma=2", "ppo.minibatch_size=5000", "collector.frames_per_batch=1001"
    )
    assert len(found) == 5
    assert sum("gamma" in problem for problem in found) == 1


def test_yaml_round_trip_keeps_types(tmp_path: Path) -> None:
    """A configuration written as YAML reads back equal, and the YAML holds numbers and booleans, not text."""
    config = parse_config(["env.name='5'", "optim.eps=1e-05", "env.options={a: [1, 2.5], b: {c: x}}", "seed=7"])
    path = tmp_path / "config.yaml"
    save_config(config, path)
    assert load_config(path) == config
    data = yaml.safe_load(path.read_text())
    assert data["env"]["name"] == "5"
    assert (data["seed"], data["progress"]) == (7, True)
    assert data["optim"]["eps"] == pytest.approx(1e-5)
    assert isinstance(data["optim"]["eps"], float)


@settings(deadline=None, max_examples=25)
@given(
    lr=st.floats(1e-8, 1.0),
    seed=st.integers(0, 2**31 - 1),
    cells=st.lists(st.integers(1, 4096), min_size=1, max_size=4),
    name=st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=12),
)
def test_yaml_round_trip_of_any_value(
    tmp_path_factory: pytest.TempPathFactory, lr: float, seed: int, cells: list[int], name: str
) -> None:
    """Whatever the values, YAML reads back the same configuration."""
    config = PPOConfig(seed=seed)
    config.optim.lr = lr
    config.network.num_cells = cells
    config.logger.project = name
    path = tmp_path_factory.mktemp("yaml") / "config.yaml"
    save_config(config, path)
    assert load_config(path) == config


def test_yaml_may_leave_options_out(tmp_path: Path) -> None:
    """Options that a file does not mention have their defaults."""
    path = tmp_path / "config.yaml"
    path.write_text("optim:\n  lr: 0.01\nseed: 4\n")
    config = load_config(path)
    assert (config.optim.lr, config.seed, config.env) == (0.01, 4, PPOConfig().env)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("optim: {lrr: 1}", "config.yaml: optim.lrr: there is no such option. Did you mean optim.lr"),
        ("optim: {lr: fast}", "config.yaml: optim.lr: expected float, found 'fast'"),
        ("optim: 3", "config.yaml: optim: is a group of options"),
        ("- 1", "expected groups of options, found list"),
        ("a: [", "is not a YAML file"),
    ],
)
def test_bad_yaml_is_explained(tmp_path: Path, text: str, reason: str) -> None:
    """A file that does not fit is refused with file, key and reason."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert reason in caught.value.problems[0]


def test_base_is_what_overrides_change() -> None:
    """Overrides change the given base and leave its other options, and the base itself, as they are."""
    base = parse_config(["seed=3", "optim.lr=0.1"])
    config = parse_config(["seed=4"], base=base)
    assert (config.seed, config.optim.lr, base.seed) == (4, 0.1, 3)


def test_hydra_composes_the_registered_configuration() -> None:
    """After `register_config` hydra's compose API gives the same configuration as the command line."""
    import hydra
    from omegaconf import OmegaConf

    register_config("ppo_for_test")
    with hydra.initialize(version_base="1.3", config_path=None):
        composed = hydra.compose("ppo_for_test", overrides=["env.name=HalfCheetah-v5", "seed=2"])
    assert OmegaConf.to_object(composed) == parse_config(["env.name=HalfCheetah-v5", "seed=2"])


def test_every_option_is_addressable() -> None:
    """Each option can be set to its own default by an override."""
    from rl_trainers.config_io import config_yaml

    overrides = [
        f"{item.key}={item.value if not isinstance(item.value, bool) else str(item.value).lower()}"
        for item in iterate_options(PPOConfig())
        if item.value != ""
    ]
    assert config_yaml(parse_config(overrides)) == config_yaml(PPOConfig())
    assert all(dataclasses.is_dataclass(PPOConfig) for _ in overrides)
