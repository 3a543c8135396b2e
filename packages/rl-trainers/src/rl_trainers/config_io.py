"""Configurations from overrides such as `env.name=HalfCheetah-v5`, and to and from YAML."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_specs.errors import near_matches
from rl_trainers.config import PPOConfig
from rl_trainers.config_check import Option, check_config, iterate_options
from rl_trainers.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def _known_options() -> dict[str, Option]:
    return {item.key: item for item in iterate_options(PPOConfig())}


def _closest(key: str, names: Iterable[str]) -> str:
    """Near matches for a whole key, or for its last part alone (`lr` finds `optim.lr`)."""
    names = list(names)
    leaf = key.rsplit(".", 1)[-1]
    ending = [name for name in names if name.rsplit(".", 1)[-1] == leaf]
    if ending:
        return f" Did you mean {' or '.join(ending)}?"
    return near_matches(key, names) or near_matches(key, {name.split(".", 1)[0] for name in names})


def _find(key: str, known: dict[str, Option]) -> Option | None:
    """The option a key addresses; keys inside a dict option belong to it."""
    if key in known:
        return known[key]
    owner = ".".join(key.split(".")[:2])
    return known[owner] if owner in known and isinstance(known[owner].value, dict) and key.count(".") == 2 else None


def _update(config: "DictConfig", key: str, value: Any, known: dict[str, Option]) -> str | None:
    """Write one value; the problem as a sentence if it cannot be."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    option = _find(key, known)
    if option is None:
        if any(name.startswith(f"{key}.") for name in known):
            member = next(name for name in known if name.startswith(f"{key}."))
            return f"{key}: is a group of options. Set one of them, e.g. {member}=..."
        return f"{key}: there is no such option.{_closest(key, known)} See rl-train ppo --help."
    try:
        OmegaConf.update(config, key, value)
        OmegaConf.to_object(config)
    except OmegaConfBaseException:
        OmegaConf.update(config, key, option.value)
        return f"{key}: expected {option.type_name}, found {value!r} ({type(value).__name__})."
    return None


def _apply_override(config: "DictConfig", text: str, known: dict[str, Option]) -> str | None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import OverrideType
    from hydra.errors import HydraException

    if "=" not in text:
        return f"{text}: expected key=value.{_closest(text, known)}"
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:
        key, _, value = text.partition("=")
        return f"{key}: cannot read the value {value!r}. Put text with special characters in quotes: {key}='\"...\"'."
    if override.type is not OverrideType.CHANGE:
        return f"{text}: expected key=value without a leading sign; every option exists already."
    if override.is_sweep_override():
        return f"{text}: one value is expected. Write a list as [a,b]; start several runs for several values."
    return _update(config, override.key_or_group, override.value(), known)


def _finish(config: "DictConfig", problems: list[str]) -> PPOConfig:
    from omegaconf import OmegaConf

    result = OmegaConf.to_object(config)
    assert isinstance(result, PPOConfig)
    try:
        check_config(result)
    except ConfigError as error:
        problems = [*problems, *error.problems]
    if problems:
        raise ConfigError(problems)
    return result


def parse_config(overrides: Sequence[str] = (), *, base: PPOConfig | None = None) -> PPOConfig:
    """A checked configuration from defaults and overrides.

    Args:
        overrides: `key=value` in hydra's grammar, e.g. `["env.name=HalfCheetah-v5", "network.num_cells=[64,64]"]`.
        base: what the overrides change; the defaults if not given.
    Returns:
        The configuration, of the types that the dataclasses say.
    Raises:
        ConfigError: unknown keys (with near matches), ill-typed, out-of-range or contradictory values, all in one
            message.
    """
    from omegaconf import OmegaConf

    config = OmegaConf.structured(base if base is not None else PPOConfig())
    known = _known_options()
    problems = [p for p in (_apply_override(config, text, known) for text in overrides) if p is not None]
    return _finish(config, problems)


def _flatten(data: Any, prefix: str, known: dict[str, Option]) -> list[tuple[str, Any]]:
    if not isinstance(data, dict) or prefix in known:
        return [(prefix, data)]
    return [
        pair
        for key, value in data.items()
        for pair in _flatten(value, f"{prefix}.{key}" if prefix else str(key), known)
    ]


def load_config(path: Path) -> PPOConfig:
    """Read a YAML file written by `save_config`; options it leaves out have their defaults.

    Args:
        path: the file.
    Raises:
        ConfigError: the file is not YAML, or has unknown keys or wrong values.
    """
    import yaml
    from omegaconf import OmegaConf

    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})."]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: is not a YAML file ({str(error).splitlines()[0]})."]) from error
    if data is not None and not isinstance(data, dict):
        raise ConfigError([f"{path}: expected groups of options, found {type(data).__name__}."])
    config = OmegaConf.structured(PPOConfig())
    known = _known_options()
    problems = []
    for key, value in _flatten(data or {}, "", known):
        if isinstance(value, dict) and key not in known:
            continue
        problem = _update(config, key, value, known)
        if problem is not None:
            problems.append(f"{path.name}: {problem}")
    return _finish(config, problems)


def config_yaml(config: PPOConfig) -> str:
    """The configuration as YAML, numbers and booleans as such."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.structured(config))


def save_config(config: PPOConfig, path: Path) -> None:
    """Write the configuration as YAML that `load_config` reads back to an equal one."""
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(config_yaml(config))
    temporary.replace(path)


def register_config(name: str = "ppo") -> None:
    """Put the configuration in hydra's config store, for an application of your own under `@hydra.main`.

    Args:
        name: under which name.
    """
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name=name, node=PPOConfig)
