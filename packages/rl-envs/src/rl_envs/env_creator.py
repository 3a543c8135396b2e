"""A callable that makes environments wherever it is sent."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import cloudpickle  # type: ignore[import-untyped]  # ships no types
import torch
from tensordict import TensorDict

from rl_envs._env_base import EnvBase
from rl_envs._many_envs import make_envs
from rl_specs import Composite, message


@dataclass(frozen=True)
class EnvMetaData:
    """What is known of an environment when it is gone.

    Args:
        tensordict: one step `[*B]` of zeros, as of `EnvBase.fake_tensordict`.
        specs: Composite with `output_spec` and `input_spec`.
        batch_size: of the environment.
        device: of its tensors; None: the CPU, undeclared.
        env_str: the environment as text.
    """

    tensordict: TensorDict
    specs: Composite
    batch_size: torch.Size
    device: torch.device | None
    env_str: str

    @staticmethod
    def metadata_from_env(env: EnvBase) -> "EnvMetaData":
        """What there is to know of `env`."""
        specs = env._env_specs()
        entries = {"output_spec": specs.output_spec(), "input_spec": specs.input_spec()}
        return EnvMetaData(
            tensordict=env.fake_tensordict(),
            specs=Composite(entries, shape=env.batch_size),
            batch_size=env.batch_size,
            device=env.device,
            env_str=repr(env),
        )


@final
class EnvCreator:
    """Makes environments, in this process and in others: it can be pickled whatever callable it holds.

    Every environment that it makes is a new one and keeps what its transforms gather to itself: for statistics of
    `VecNorm` over all environments, put the transform around the `SerialEnv` or `ParallelEnv`.

    Args:
        create_env_fn: makes an environment; lambdas and local functions too.
        create_env_kwargs: keyword arguments for it.
        **kwargs: further ones, handed on to `create_env_fn` likewise.
    Raises:
        TypeError: `create_env_fn` is not callable, or does not take an argument; an argument is given twice.
    """

    def __init__(
        self, create_env_fn: Callable[..., EnvBase], create_env_kwargs: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        given_fn: object = create_env_fn
        if not callable(given_fn):
            expected, found = "a callable that makes an environment", type(given_fn).__name__
            fix = 'Write EnvCreator(lambda: GymEnv("CartPole-v1"))'
            raise TypeError(message("EnvCreator", "create_env_fn", expected=expected, found=found, fix=fix))
        given = dict(create_env_kwargs or {})
        twice = sorted(set(given) & set(kwargs))
        if twice:
            raise TypeError(message("EnvCreator", "arguments given twice", found=", ".join(twice), fix="Drop one each"))
        self.create_env_fn = create_env_fn
        self.create_env_kwargs: dict[str, Any] = {**given, **kwargs}
        self._meta_data: EnvMetaData | None = None
        _check_arguments(create_env_fn, self.create_env_kwargs)

    @property
    def meta_data(self) -> EnvMetaData:
        """What is known of the environment: the first look makes one and closes it; later ones do not."""
        if self._meta_data is None:
            with make_envs("EnvCreator", [self])[0] as env:
                self._meta_data = EnvMetaData.metadata_from_env(env)
        return self._meta_data

    def __call__(self, **kwargs: Any) -> EnvBase:
        """A new environment.

        Args:
            **kwargs: arguments for `create_env_fn`, over those that were given before.
        """
        return self.create_env_fn(**{**self.create_env_kwargs, **kwargs})

    def __repr__(self) -> str:
        return f"EnvCreator({self.create_env_fn!r}, {self.create_env_kwargs!r})"

    def __getstate__(self) -> tuple[bytes, EnvMetaData | None]:
        return cloudpickle.dumps((self.create_env_fn, self.create_env_kwargs)), self._meta_data

    def __setstate__(self, state: tuple[bytes, EnvMetaData | None]) -> None:
        made, self._meta_data = state
        self.create_env_fn, self.create_env_kwargs = cloudpickle.loads(made)


def _check_arguments(create_env_fn: Callable[..., EnvBase], kwargs: Mapping[str, Any]) -> None:
    """Refuse an argument that the callable does not take, where its signature is known."""
    try:
        signature = inspect.signature(create_env_fn)
    except ValueError:
        return
    try:
        signature.bind_partial(**kwargs)
    except TypeError as error:
        fix = "Give create_env_fn arguments that it takes"
        raise TypeError(message("EnvCreator", str(error), expected=signature, found=sorted(kwargs), fix=fix)) from None
