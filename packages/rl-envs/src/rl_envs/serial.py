"""Several environments in this process, as one batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch

from rl_envs._env_base import EnvBase
from rl_envs._env_plan import RESET_KEY, EnvPlan
from rl_envs._env_specs import EnvSpecs
from rl_envs._flat import unpack_flat
from rl_specs import FlatDict, SpecError, TensorMap, explain_difference, message


@final
class SerialEnv(EnvBase):
    """Environments stepped one after the other and stacked, `[N, *B]`; each row is what its env alone would give.

    Args:
        num_workers: number of environments `N`.
        create_env_fn: makes an environment, or a list of `N` such callables.
    Raises:
        ValueError: another number of callables than `num_workers`, or callables that give one environment twice.
        TypeError: something that is not a callable, or not one that gives an environment.
        SpecError: the environments have different specs.
    """

    accepts_mapping = True

    def __init__(
        self, num_workers: int, create_env_fn: Callable[[], EnvBase] | Sequence[Callable[[], EnvBase]]
    ) -> None:
        self._envs = _make_envs(num_workers, create_env_fn)
        first = self._envs[0]
        super().__init__(device=first.device, batch_size=(num_workers, *first.batch_size))
        for index, env in enumerate(self._envs):
            _compare_specs(index, first, env)
        self._set_specs()

    def _set_specs(self) -> None:
        specs = self._envs[0]._env_specs()
        batch = self._batch_size
        self._specs = EnvSpecs(
            observation=specs.observation.expand(batch),
            action=specs.action.expand(batch),
            reward=specs.reward.expand(batch),
            done=specs.done.expand(batch),
            state=specs.state.expand(batch),
        )
        self._plans = [EnvPlan(env) for env in self._envs]

    @property
    def envs(self) -> list[EnvBase]:
        """The environments, one per row of the first dimension."""
        return list(self._envs)

    def _reset(self, data: TensorMap | None) -> FlatDict:
        mask = None if data is None else data.get(RESET_KEY, None)
        if data is None or mask is None:
            return _stacked([plan.reset() for plan in self._plans])
        entries = unpack_flat(data)
        rows: list[FlatDict | None] = []
        for index, plan in enumerate(self._plans):
            root = {key: value[index] for key, value in entries.items()}
            rows.append(plan.fresh(root) if bool(root[RESET_KEY].any()) else None)
        model = next((row for row in rows if row is not None), None)
        if model is None:
            return {key: spec.zero() for key, spec in self._specs.observation.flat_items()}
        keys = [key for key in model if key in _reset_keys(self._specs)]
        return {
            key: torch.stack([torch.zeros_like(model[key]) if row is None else row[key] for row in rows])
            for key in keys
        }

    def _step(self, data: TensorMap) -> FlatDict:
        entries = unpack_flat(data)
        steps = [
            plan.step({key: value[index] for key, value in entries.items()}) for index, plan in enumerate(self._plans)
        ]
        return _stacked(steps)

    def _set_seed(self, seed: int) -> None:
        self._set_stream(seed, 0)

    def _set_stream(self, seed: int, first_index: int) -> None:
        rows = self._envs[0].batch_size.numel()
        for index, env in enumerate(self._envs):
            env._set_stream(seed, first_index + index * rows)

    def _to(self, device: torch.device) -> None:
        for env in self._envs:
            env.to(device)
        self._set_specs()

    def _set_training(self, mode: bool) -> None:
        for env in self._envs:
            env.train(mode)

    def _close(self) -> None:
        for env in self._envs:
            env.close()

    def _repr_fields(self) -> dict[str, object]:
        return {"num_workers": len(self._envs), "env": self._envs[0]}

    @property
    def has_exact_state(self) -> bool:
        """Whether each environment has an exact state."""
        return all(env.has_exact_state for env in self._envs)

    def get_state(self) -> dict[str, Any]:
        """State of each environment; see `EnvBase.get_state`."""
        return {"envs": [env.get_state() for env in self._envs]}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned."""
        for env, part in zip(self._envs, self._parts("set_state", state), strict=True):
            env.set_state(part)

    def state_dict(self) -> dict[str, Any]:
        """`state_dict` of each environment."""
        return {"envs": [env.state_dict() for env in self._envs]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        for env, part in zip(self._envs, self._parts("load_state_dict", state), strict=True):
            env.load_state_dict(part)

    def _parts(self, method: str, state: Mapping[str, Any]) -> list[Any]:
        parts: list[Any] = list(state["envs"])
        if len(parts) != len(self._envs):
            raise ValueError(
                message(f"SerialEnv.{method}", "another number of envs", expected=len(self._envs), found=len(parts))
            )
        return parts


def _make_envs(num_workers: object, create_env_fn: Any) -> list[EnvBase]:
    fix = 'Call SerialEnv(2, lambda: GymEnv("CartPole-v1")), or pass a list of such callables'
    if not isinstance(num_workers, int) or num_workers < 1:
        found = f"{type(num_workers).__name__} {num_workers!r}"
        raise ValueError(message("SerialEnv", "num_workers", expected="an integer >= 1", found=found, fix=fix))
    makers = create_env_fn if isinstance(create_env_fn, Sequence) else [create_env_fn] * num_workers
    wrong = next((make for make in makers if not callable(make)), None)
    if wrong is not None:
        expected, found = "a callable that makes an environment", type(wrong).__name__
        raise TypeError(message("SerialEnv", "create_env_fn", expected=expected, found=found, fix=fix))
    if len(makers) != num_workers:
        problem = "another number of callables than num_workers"
        fix = "Pass one callable per environment, or a single one for all"
        raise ValueError(message("SerialEnv", problem, expected=num_workers, found=len(makers), fix=fix))
    envs = [make() for make in makers]
    for env in envs:
        if not isinstance(env, EnvBase):
            problem, fix = "create_env_fn gave no environment", "Wrap it: rl_envs.GymWrapper(env) for a Gymnasium one"
            found = type(env).__name__
            raise TypeError(message("SerialEnv", problem, expected="an rl_envs.EnvBase", found=found, fix=fix))
    if len({id(env) for env in envs}) != len(envs):
        problem = "create_env_fn gave the same environment twice"
        fix = "Make the environment inside the callable, so that every call gives a new one"
        raise ValueError(message("SerialEnv", problem, expected="a new environment per call", found="one", fix=fix))
    return envs


def _stacked(rows: list[FlatDict]) -> FlatDict:
    return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}


def _reset_keys(specs: EnvSpecs) -> set[Any]:
    return {key for spec in (specs.observation, specs.done) for key, _ in spec.flat_items()}


def _compare_specs(index: int, first: EnvBase, env: EnvBase) -> None:
    differences = [
        explain_difference(a, b)
        for a, b in ((first.output_spec, env.output_spec), (first.input_spec, env.input_spec))
        if a != b
    ]
    if differences:
        table = "\n".join(differences)
        fix = "Make all of them with the same spaces and batch size, or bring them to one form with transforms."
        raise SpecError(f"SerialEnv: the specs of env {index} differ from those of env 0.\n{table}\n{fix}")
