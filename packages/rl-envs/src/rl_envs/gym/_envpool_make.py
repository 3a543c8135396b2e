"""EnvPool's environments by name: which there are, what they take, and what of it this library answers for."""

import secrets
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from rl_envs.gym._backend import Options
from rl_specs import message, near_matches

_SET_HERE = ("num_envs", "batch_size", "num_threads", "max_num_players", "seed", "env_seed", "gym_reset_return_info")
_NOT_TAKEN = ("render_mode", "render_env_id", "render_width", "render_height", "render_camera_id")
_ENDS_BY_TIME_LIMIT = ("envpool.classic_control", "envpool.mujoco.gym", "envpool.box2d", "envpool.toy_text")


@dataclass(frozen=True)
class PoolRecipe:
    """A checked request for a pool.

    Args:
        name: EnvPool's name of the environment.
        num_envs: number of environments.
        num_threads: native threads that step them.
        make_kwargs: options of the environment.
    """

    name: str
    num_envs: int
    num_threads: int
    make_kwargs: dict[str, Any]

    def spec(self) -> Any:
        """What EnvPool says of the environment: its configuration and arrays."""
        import envpool

        with _quiet():
            return envpool.make_spec(self.name, num_envs=self.num_envs, **self.make_kwargs)

    def spaces(self) -> tuple[Any, Any]:
        """Spaces of the observations and of the actions of one environment; actions float32, as Gymnasium's are."""
        spec = self.spec()
        with _quiet():
            return _unbounded(spec.gymnasium_observation_space), _single_precision(spec.gymnasium_action_space)

    def pool(self, seeds: Sequence[int | None]) -> Any:
        """Start the environments.

        Args:
            seeds: one per environment, of which EnvPool takes 31 bits; None: a random one.
        """
        import envpool

        chosen = [secrets.randbits(31) if seed is None else seed & 0x7FFFFFFF for seed in seeds]
        limit = self.own_time_limit(self.make_kwargs.get("max_episode_steps"))
        with _quiet():
            return envpool.make(
                self.name,
                env_type="gymnasium",
                num_envs=self.num_envs,
                num_threads=self.num_threads,
                seed=chosen,
                **(self.make_kwargs if limit is None else self.make_kwargs | {"max_episode_steps": limit + 1}),
            )

    def own_time_limit(self, requested: int | None = None) -> int | None:
        """Steps after which an episode is truncated here rather than in EnvPool; None: EnvPool's flags hold.

        EnvPool calls an episode that ends by itself in the very step of the time limit truncated. Where nothing but the
        length of an episode hangs on the limit, it is therefore set one step later in EnvPool and applied here.
        """
        import envpool

        family, _, defaults = envpool.registration.registry.specs[self.name]
        if family not in _ENDS_BY_TIME_LIMIT:
            return None
        return int(defaults["max_episode_steps"] if requested is None else requested)


def _unbounded(space: Any) -> Any:
    """`space` with infinite bounds where EnvPool has none, which it writes as the least and largest positive number."""
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        return spaces.Dict({name: _unbounded(inner) for name, inner in space.spaces.items()})
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        limits = np.finfo(space.dtype)
        if (space.low == limits.tiny).all() and (space.high == limits.max).all():
            return spaces.Box(-np.inf, np.inf, space.shape, space.dtype.type)
    return space


def _single_precision(space: Any) -> Any:
    from gymnasium import spaces

    if isinstance(space, spaces.Box) and space.dtype == np.float64:
        return spaces.Box(space.low, space.high, space.shape, np.float32)
    return space


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warning of bounds that are rounded to the dtype of their space."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def pool_recipe(
    name: str, num_envs: int, num_threads: int, options: Options, make_kwargs: dict[str, Any]
) -> PoolRecipe:
    """Check a request for a pool.

    Args:
        name: EnvPool's name of the environment.
        num_envs: number of environments.
        num_threads: native threads that step them.
        options: how to run them.
        make_kwargs: options of the environment.
    Raises:
        ImportError: EnvPool is not installed.
        ValueError: EnvPool has no environment of that name, or one of several players; an option that it does not take.
        TypeError: a keyword that the environment does not take.
    """
    where = f'GymEnv({name}, backend="envpool")'
    _check_options(where, options, make_kwargs)
    try:
        import envpool
    except ImportError as exception:
        raise ImportError(
            message(where, "EnvPool is not installed", fix='pip install "rl-envs[envpool]"')
        ) from exception
    known = envpool.list_all_envs()
    if name not in known:
        raise ValueError(
            message(
                where,
                "EnvPool has no environment of this name",
                found=f'"{name}"',
                fix=f'Use backend="serial" or "process", or a name of envpool.list_all_envs().{_near(name, known)}',
            )
        )
    recipe = PoolRecipe(name, num_envs, num_threads, dict(make_kwargs))
    taken = sorted(key for key in _default_config(recipe) if key not in _SET_HERE)
    for key in make_kwargs:
        if key not in taken:
            raise TypeError(
                message(
                    where,
                    f'unknown keyword "{key}"',
                    expected=f"one of {', '.join(taken)}",
                    found=", ".join(make_kwargs),
                    fix=f"Rename or drop it.{near_matches(key, taken)}",
                )
            )
    return recipe


def _check_options(where: str, options: Options, make_kwargs: dict[str, Any]) -> None:
    wanted = [name for name in _NOT_TAKEN if name in make_kwargs]
    wanted += ["frame_skip"] if options.frame_skip != 1 else []
    wanted += ["from_pixels"] if options.from_pixels else []
    if wanted:
        fix = 'Leave it out, or use backend="serial" or "process"'
        raise ValueError(message(where, f"{' and '.join(wanted)} not available over EnvPool", fix=fix))


def _default_config(recipe: PoolRecipe) -> dict[str, Any]:
    spec = PoolRecipe(recipe.name, recipe.num_envs, recipe.num_threads, {}).spec()
    config = dict(zip(spec._config_keys, spec._config_values, strict=True))
    if config["max_num_players"] != 1:
        where = f'GymEnv({recipe.name}, backend="envpool")'
        raise ValueError(message(where, "has several players", expected="one", found=config["max_num_players"]))
    return config


def _near(name: str, known: Sequence[str]) -> str:
    """` Did you mean ...?`, for Gymnasium's names of Atari games too."""
    return near_matches(name.removeprefix("ALE/"), known)
