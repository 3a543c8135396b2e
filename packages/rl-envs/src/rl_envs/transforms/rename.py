"""Entries under other names."""

from typing import ClassVar, final

from rl_envs._env_specs import EnvSpecs
from rl_envs.transforms._carried import already_there
from rl_envs.transforms._selection import flag_keys, remove_entries, remove_specs
from rl_envs.transforms._wiring import leaf_keys
from rl_envs.transforms.transform import Keys, Transform
from rl_specs import Composite, NestedKey, TensorMap, TensorSpec, key_str

_Pairs = list[tuple[NestedKey, NestedKey]]


@final
class RenameTransform(Transform):
    """Gives entries other names: on their way out `in_keys` become `out_keys`, on their way in `out_keys_inv` become
    `in_keys_inv`. Names can be swapped.

    In an environment observations and rewards can be renamed, actions through the inverse keys. The flags `done`,
    `terminated` and `truncated` can be copied under other names; loops and estimators know them by these.

    Args:
        in_keys: entries to rename.
        out_keys: their new names.
        in_keys_inv: names of actions or states in the environment inside.
        out_keys_inv: their names outside.
        create_copy: keep the entries under their old names too.
    Raises:
        ValueError: in and out keys differ in number.
    """

    accepts_mapping: ClassVar[bool] = True

    def __init__(
        self,
        in_keys: Keys | NestedKey,
        out_keys: Keys | NestedKey,
        *,
        in_keys_inv: Keys | NestedKey | None = None,
        out_keys_inv: Keys | NestedKey | None = None,
        create_copy: bool = False,
    ) -> None:
        super().__init__(in_keys, out_keys, in_keys_inv=in_keys_inv, out_keys_inv=out_keys_inv)
        self._check_lengths()
        if len(self.in_keys_inv) != len(self.out_keys_inv):
            raise self._lengths_differ("in_keys_inv", "out_keys_inv", self.in_keys_inv, self.out_keys_inv)
        self.create_copy = create_copy
        self._optional: set[NestedKey] = set()

    def _bind(self, specs: EnvSpecs) -> list[str]:
        problems = self._check_wiring(specs, reads_root=False)
        flags, states = flag_keys(specs), set(leaf_keys(specs.state))
        self._optional = flags  # a reset need not return them
        renamed = [] if self.create_copy else self.in_keys
        problems += [
            f"in_keys: {key_str(key)} is a flag that loops know by this name. Use create_copy=True"
            for key in renamed
            if key in flags
        ]
        problems += [
            f"in_keys: {key_str(key)} is a state that the environment reads back. Use create_copy=True"
            for key in renamed
            if key in states
        ]
        clashes = [key for key in self.out_keys if key not in self.in_keys]
        return problems + already_there("out_keys", clashes, specs)

    def _call(self, data: TensorMap) -> TensorMap:
        return self._renamed(data, self._pairs)

    def _reset(self, data: TensorMap, reset_data: TensorMap) -> TensorMap:
        there = [pair for pair in self._reset_pairs if pair[0] not in self._optional or _has(reset_data, pair[0])]
        return self._renamed(reset_data, there)

    def _inv_call(self, data: TensorMap) -> TensorMap:
        return self._renamed(data, [(outer, inner) for inner, outer in self._inv_pairs])

    def _renamed(self, data: TensorMap, pairs: _Pairs) -> TensorMap:
        values = []
        for old, new in pairs:
            value = data.get(old, None)
            if value is None:
                raise self._missing(old, data)
            values.append((new, value))
        if not self.create_copy:
            remove_entries(data, [old for old, _ in pairs])
        for new, value in values:
            data[new] = value
        return data

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """With the observations renamed."""
        return self._renamed_spec(observation_spec, self._pairs, keep=self.create_copy)

    def transform_reward_spec(self, reward_spec: Composite) -> Composite:
        """With the rewards renamed."""
        return self._renamed_spec(reward_spec, self._pairs, keep=self.create_copy)

    def transform_done_spec(self, done_spec: Composite) -> Composite:
        """With copies of flags."""
        return self._renamed_spec(done_spec, self._pairs, keep=self.create_copy)

    def transform_action_spec(self, action_spec: Composite) -> Composite:
        """With the actions under their names outside."""
        return self._renamed_spec(action_spec, self._inv_pairs, keep=False)

    def transform_state_spec(self, state_spec: Composite) -> Composite:
        """With the states under their names outside."""
        return self._renamed_spec(state_spec, self._inv_pairs, keep=False)

    def _outer_name(self, key: NestedKey) -> NestedKey:
        return key if self.create_copy else dict(self._pairs).get(key, key)

    def _renamed_spec(self, spec: Composite, pairs: _Pairs, *, keep: bool) -> Composite:
        present: dict[NestedKey, TensorSpec] = dict(spec.flat_items())
        moved = [(old, new) for old, new in pairs if old in present]
        if not keep:
            remove_specs(spec, [old for old, _ in moved])
        for old, new in moved:
            spec[new] = present[old]
        return spec

    def __repr__(self) -> str:
        outwards = f"in_keys={self.in_keys}, out_keys={self.out_keys}"
        return f"RenameTransform({outwards}, in_keys_inv={self.in_keys_inv}, out_keys_inv={self.out_keys_inv})"


def _has(data: TensorMap, key: NestedKey) -> bool:
    return data.get(key, None) is not None
