"""Modules as transforms."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, TypeAlias, final

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from rl_envs._env_specs import EnvSpecs
from rl_envs._flat import unpack_flat
from rl_envs.transforms._leaf_specs import common_size, tried_sizes
from rl_envs.transforms._wiring import absent_keys, leaf_keys
from rl_envs.transforms.transform import Transform
from rl_specs import Composite, FlatDict, NestedKey, TensorMap, TensorSpec, Unbounded, canonical_keys, message

SpecTransform: TypeAlias = TensorSpec | Callable[[TensorSpec], TensorSpec]
"""The spec afterwards, or what makes it of a copy of the one before."""


@final
class ModuleTransform(Transform):
    """Runs a module over TensorDicts on what the environment returns, or with `inverse` on what it is given.

    The module is run after each step, and after a reset unless it reads rewards. What it writes are observations, or
    rewards or flags where it writes over one; without specs given for them, their form is found by running the module
    on zeros. The parameters are part of `state_dict`.

    Args:
        module: reads and writes entries; exclusive with `module_factory`.
        module_factory: makes the module.
        no_grad: run it without gradients.
        inverse: run it on the root entries on their way into the environment: it writes what the environment reads.
        device: where the module runs; what it reads is moved there, and what it writes back. None: where they are.
        observation_spec_transform: new full observation spec, or what makes it of the one before.
        done_spec_transform: the same for flags.
        reward_spec_transform: the same for rewards.
        state_spec_transform: the same for states.
        action_spec_transform: the same for actions; of use with `inverse`, where forms cannot be found by themselves.
    Raises:
        ValueError: not exactly one of `module` and `module_factory`.
        TypeError: it is no TensorDict module.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        *,
        module: TensorDictModuleBase | None = None,
        module_factory: Callable[[], TensorDictModuleBase] | None = None,
        no_grad: bool = False,
        inverse: bool = False,
        device: torch.device | str | int | None = None,
        observation_spec_transform: SpecTransform | None = None,
        done_spec_transform: SpecTransform | None = None,
        reward_spec_transform: SpecTransform | None = None,
        state_spec_transform: SpecTransform | None = None,
        action_spec_transform: SpecTransform | None = None,
    ) -> None:
        if (module is None) == (module_factory is None):
            fix = "Give one of them"
            raise ValueError(message("ModuleTransform", "module or module_factory", expected="exactly one", fix=fix))
        made: object = module_factory() if module_factory is not None else module
        if not isinstance(made, TensorDictModuleBase):
            fix = "Wrap a network: TensorDictModule(network, in_keys=[...], out_keys=[...])"
            expected, found = "a TensorDictModuleBase", type(made).__name__
            raise TypeError(message("ModuleTransform", "module", expected=expected, found=found, fix=fix))
        reads, writes = canonical_keys(made.in_keys), canonical_keys(made.out_keys)
        super().__init__([] if inverse else reads, [] if inverse else writes)
        self.module = made if device is None else made.to(torch.device(device))
        self.no_grad = no_grad
        self.inverse = inverse
        self._module_reads, self._module_writes = reads, writes
        self._device = None if device is None else torch.device(device)
        self._spec_transforms = {
            "observation": observation_spec_transform,
            "done": done_spec_transform,
            "reward": reward_spec_transform,
            "state": state_spec_transform,
            "action": action_spec_transform,
        }
        self._runs_at_reset = True
        self._batch_size = torch.Size(())
        self._data_device: torch.device | None = None
        self._found: dict[NestedKey, TensorSpec] = {}
        self._elsewhere: list[NestedKey] = []

    # ------------------------------------------------------------------ specs

    def _bind(self, specs: EnvSpecs) -> list[str]:
        self._found = {}
        self._batch_size, self._data_device = specs.observation.shape, specs.observation.device
        if self.inverse:
            return []
        rewards = leaf_keys(specs.reward)
        self._elsewhere = [*rewards, *leaf_keys(specs.done)]
        self._runs_at_reset = not any(key in rewards for key in self._module_reads)
        written = [*leaf_keys(specs.observation), *rewards, *leaf_keys(specs.done), *leaf_keys(specs.state)]
        problems = absent_keys(self._module_reads, written, "module.in_keys", "the environment writes")
        if not problems:
            self._found = self._dry_run(specs)
        return problems

    def _dry_run(self, specs: EnvSpecs) -> dict[NestedKey, TensorSpec]:
        """Specs of what the module makes of zeros."""
        leaves: dict[NestedKey, TensorSpec] = {}
        for composite in (specs.state, specs.done, specs.reward, specs.observation):
            leaves.update(composite.flat_items())
        tried = [tried_sizes(leaves[key]) for key in self._module_reads]
        count = max(map(len, tried), default=1)
        inputs: list[FlatDict] = [
            {key: each[min(at, len(each) - 1)].zero() for key, each in zip(self._module_reads, tried, strict=True)}
            for at in range(count)
        ]
        modes = {part: part.training for part in self.module.modules()}
        self.module.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                made = [unpack_flat(self._run(zeros)) for zeros in inputs]
        finally:
            for part, mode in modes.items():
                part.training = mode
        found: dict[NestedKey, TensorSpec] = {}
        for key in self._module_writes:
            if key in made[0]:
                values: list[Tensor] = [each[key] for each in made]
                size = common_size([value.shape for value in values])
                found[key] = Unbounded(size, values[0].device, values[0].dtype)
        return found

    def _spec(self, kind: str, spec: Composite) -> Composite:
        transform = self._spec_transforms[kind]
        if transform is not None:
            made = transform if isinstance(transform, TensorSpec) else transform(spec)
            if not isinstance(made, Composite):
                leaves = leaf_keys(spec)
                name: NestedKey = leaves[0] if len(leaves) == 1 else kind
                spec[name] = made
                return spec
            return made
        return spec

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """As given; else with what the module adds."""
        if self._spec_transforms["observation"] is None:
            for key, leaf in self._found.items():
                if key not in self._elsewhere:
                    observation_spec[key] = leaf
        return self._spec("observation", observation_spec)

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """As given; else with the forms of rewards that the module writes over."""
        for key in leaf_keys(reward_spec):
            if key in self._found and self._spec_transforms["reward"] is None:
                reward_spec[key] = self._found[key]
        return self._spec("reward", reward_spec)

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """As given, or unchanged."""
        return self._spec("done", done_spec)

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """As given, or unchanged."""
        return self._spec("state", state_spec)

    def transform_action_spec(self, action_spec: Composite) -> Composite:
        """As given, or unchanged."""
        return self._spec("action", action_spec)

    # ------------------------------------------------------------------ data

    def _has_inverse(self) -> bool:
        return self.inverse

    def _inv_call(self, data: TensorMap) -> TensorMap:
        return self._run(data) if self.inverse else data

    def _call(self, data: TensorMap) -> TensorMap:
        return data if self.inverse else self._run(data)

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        return self._call(reset_data) if self._runs_at_reset else reset_data

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Run the module on stored data; returns the TensorDict."""
        self._run(tensordict)
        return tensordict

    def _run(self, data: TensorMap) -> TensorMap:
        """Write what the module writes into `data` and return it."""
        batch, device = self._batch_size, self._data_device
        if isinstance(data, TensorDictBase):
            batch, device = data.batch_size, data.device
        given = TensorDict({}, batch_size=batch, device=self._device or device)
        for key in self._module_reads:
            value = data.get(key, None)
            if value is None:
                raise self._missing(key, data)
            given.set(key, value)
        context: AbstractContextManager[object] = torch.no_grad() if self.no_grad else nullcontext()
        with context:
            written = self.module(given)
        for key in self._module_writes:
            value = written.get(key, None)
            if value is not None:
                data[key] = value if self._device is None else value.to(device or "cpu")
        return data

    def __repr__(self) -> str:
        name = type(self.module).__name__
        return f"ModuleTransform(module={name}, in_keys={self._module_reads}, out_keys={self._module_writes})"
