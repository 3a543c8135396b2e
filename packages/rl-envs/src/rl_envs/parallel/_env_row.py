"""One environment of an asynchronous pool, and what it can be asked for."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

from rl_envs._env_base import EnvBase
from rl_envs._env_plan import RESET_KEY, EnvPlan
from rl_envs._many_envs import reset_keys
from rl_specs import FlatDict, NestedKey, message

Request: TypeAlias = Literal["step", "reset", "step_and_maybe_reset"]


@dataclass(frozen=True)
class Answer:
    """What an environment answers, `[*B]`.

    Args:
        following: what its step returned; None: it was reset only.
        fresh: observations and flags from which it goes on; None: it was stepped only.
    """

    following: FlatDict | None
    fresh: FlatDict | None


@final
class EnvRow:
    """Steps and resets one environment.

    Args:
        env: the environment.
    """

    def __init__(self, env: EnvBase) -> None:
        self._env = env
        self.connect()

    def connect(self) -> None:
        """Read the specs of the environment, which have changed."""
        self._plan = EnvPlan(self._env)
        self._specs = self._env._env_specs()
        self._keys = reset_keys(self._specs)
        self._sent: set[NestedKey] = set()

    def answer(self, request: Request, root: FlatDict | None) -> Answer:
        """Do what is asked for.

        Args:
            request: a step, a reset, or a step and a reset of what is done then.
            root: entries of a step; or None, or entries, with a mask or without, of a reset.
        """
        if request == "reset":
            return Answer(None, self._reset(root))
        assert root is not None
        if root.keys() != self._sent:  # a plan keeps the entries that it has seen
            self._plan, self._sent = EnvPlan(self._env), set(root)
        following = self._plan.step(root)
        if request == "step":
            return Answer(following, None)
        return Answer(following, self._shown(self._plan.advance(root, following)[0]))

    def _reset(self, root: FlatDict | None) -> FlatDict:
        mask = None if root is None else root.get(RESET_KEY)
        if mask is None:
            return self._shown(self._plan.fresh(root or None))
        if not bool(mask.any()):
            specs = (self._specs.observation, self._specs.done)
            return {key: leaf.zero() for spec in specs for key, leaf in spec.flat_items()}
        return self._shown(self._plan.fresh(root))

    def _shown(self, root: FlatDict) -> FlatDict:
        return {key: root[key] for key in self._keys if key in root}


def call_env(env: EnvBase, method: str, argument: Any) -> Any:
    """Call a method of an environment that is neither a step nor a reset."""
    match method:
        case "set_stream":
            env._set_stream(*argument)
        case "train":
            env.train(argument)
        case "get_state":
            return env.get_state()
        case "set_state":
            env.set_state(argument)
        case "state_dict":
            return env.state_dict()
        case "load_state_dict":
            env.load_state_dict(argument)
        case _:
            raise ValueError(message("AsyncEnvPool", "unknown method", found=method))
    return None
