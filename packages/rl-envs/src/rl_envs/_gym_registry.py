"""Environments of this package under names of Gymnasium's registry."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rl_specs import NestedKey

if TYPE_CHECKING:
    from rl_envs._env_base import EnvBase
    from rl_envs.transforms import Transform

_MAKER = "rl_envs.export._make_registered:make_registered"


@dataclass(frozen=True)
class Registration:
    """What an environment of the registry is made of.

    Args:
        entry_point: makes the environment.
        transform: applied to a copy of it each time; None: none.
        reward_key: see `to_gymnasium`.
        info_keys: see `to_gymnasium`.
        sum_rewards: see `to_gymnasium`.
    """

    entry_point: "Callable[..., EnvBase]"
    transform: "Transform | None"
    reward_key: NestedKey | None
    info_keys: tuple[NestedKey, ...]
    sum_rewards: bool


def register_gym(
    id: str,  # Gymnasium's own name for it
    entry_point: "Callable[..., EnvBase]",
    *,
    transform: "Transform | None" = None,
    reward_key: NestedKey | None = None,
    info_keys: Sequence[NestedKey] | None = None,
    sum_rewards: bool = False,
    reward_threshold: float | None = None,
    nondeterministic: bool = False,
    max_episode_steps: int | None = None,
    order_enforce: bool = True,
    disable_env_checker: bool = False,
    kwargs: Mapping[str, Any] | None = None,
) -> None:
    """Register an environment, so that `gymnasium.make(id)` gives it; see `to_gymnasium` for its form.

    Args:
        id: name as Gymnasium has them, `"Name-v0"` or `"namespace/Name-v0"`.
        entry_point: makes the environment: a class, or a function. Keywords given to `gymnasium.make` reach it.
        transform: applied to the environment; each environment made has a copy of its own.
        reward_key: see `to_gymnasium`.
        info_keys: see `to_gymnasium`.
        sum_rewards: see `to_gymnasium`.
        reward_threshold: return at which the task counts as solved.
        nondeterministic: whether a seed does not fix the data.
        max_episode_steps: steps after which Gymnasium truncates an episode.
        order_enforce: let Gymnasium refuse a step before the first reset.
        disable_env_checker: leave Gymnasium's checks of the first steps out.
        kwargs: keywords for `entry_point`.
    """
    import gymnasium

    made_of = Registration(entry_point, transform, reward_key, tuple(info_keys or ()), sum_rewards)
    gymnasium.register(
        id,
        entry_point=_MAKER,
        reward_threshold=reward_threshold,
        nondeterministic=nondeterministic,
        max_episode_steps=max_episode_steps,
        order_enforce=order_enforce,
        disable_env_checker=disable_env_checker,
        kwargs={**(kwargs or {}), "registration": made_of},
    )
