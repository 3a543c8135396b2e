"""Entries of the `info` dictionaries of Gymnasium environments as observations."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from tensordict import TensorDictBase

from rl_envs.gym._info_values import as_array, found_entries, value_at
from rl_specs import Composite, NestedKey, SpecError, TensorSpec, canonical_key, message


class BaseInfoDictReader(ABC):
    """Takes entries out of `info` dictionaries; give it to `GymWrapper.set_info_dict_reader`.

    A subclass says which entries it writes, and writes them. An entry that it leaves out of a step is zero there.
    """

    @property
    @abstractmethod
    def info_spec(self) -> dict[NestedKey, TensorSpec]:
        """Specs of the entries for one env, without batch dimensions."""

    @abstractmethod
    def __call__(self, info_dict: dict[str, Any], tensordict: TensorDictBase) -> TensorDictBase:
        """Write the entries of `info_dict` into `tensordict`.

        Args:
            info_dict: what one env returned beside its observation, from a reset or a step; never empty.
            tensordict: empty, of batch size `[]`.
        Returns:
            `tensordict`.
        """


@final
class default_info_dict_reader(BaseInfoDictReader):
    """Takes numbers, flags and arrays out of `info` dictionaries by name.

    An entry that an `info` does not have (many environments return less from a reset than from a step) is zero.

    Args:
        keys: names of the entries, nested ones as tuples; None: those of `spec`, or every entry of numbers, flags or
            arrays of them that a reset and a step return. Strings and objects have no tensors and are left out then.
        spec: their specs for one env, in the order of `keys` or by name; None: shape and dtype are those of what a
            reset and a step return.
        ignore_private: leave out names that start with an underscore, unless `keys` has them.
    Raises:
        SpecError: as many specs as keys are needed.
    """

    def __init__(
        self,
        keys: Sequence[NestedKey] | None = None,
        spec: Sequence[TensorSpec] | Mapping[Any, TensorSpec] | Composite | None = None,
        ignore_private: bool = True,
    ) -> None:
        self._specs = _by_name(keys, spec)
        self.keys = None if keys is None and spec is None else [canonical_key(key) for key in keys or self._specs]
        self.ignore_private = ignore_private

    @property
    def info_spec(self) -> dict[NestedKey, TensorSpec]:
        """Specs that were given; see `found_in` for those of the other entries."""
        return dict(self._specs)

    def found_in(self, samples: Sequence[Mapping[str, Any]]) -> dict[NestedKey, TensorSpec]:
        """Specs of all entries.

        Args:
            samples: dictionaries of one env, to take shapes and dtypes from where no spec was given.
        Raises:
            MissingKeyError: an entry is in none of the samples.
            SpecError: the values of an entry are no numbers, or have different shapes.
        """
        if self.keys is not None and all(key in self._specs for key in self.keys):
            return {key: self._specs[key] for key in self.keys}
        found = found_entries(samples, self.keys, ignore_private=self.ignore_private)
        return {**found, **self._specs}

    def __call__(self, info_dict: dict[str, Any], tensordict: TensorDictBase) -> TensorDictBase:
        """See `BaseInfoDictReader`."""
        keys = self.keys
        if keys is None:
            keys = list(found_entries([info_dict], None, ignore_private=self.ignore_private))
        for key in keys:
            value = value_at(info_dict, key)
            if value is not None:
                spec = self._specs.get(key) or found_entries([info_dict], [key], ignore_private=False)[key]
                tensordict.set(key, torch.as_tensor(as_array(key, value, spec)).to(spec.dtype).reshape(spec.shape))
        return tensordict


def _by_name(
    keys: Sequence[NestedKey] | None, spec: Sequence[TensorSpec] | Mapping[Any, TensorSpec] | Composite | None
) -> dict[NestedKey, TensorSpec]:
    """Specs by canonical key."""
    if spec is None:
        return {}
    if isinstance(spec, Composite):
        return dict(spec.flat_items())
    if isinstance(spec, Mapping):
        return {canonical_key(key): leaf for key, leaf in spec.items()}
    names = [] if keys is None else list(keys)
    if len(names) != len(spec):
        expected, found = f"one for each of the {len(names)} keys", len(spec)
        fix = "Give keys and specs of the same number, or a mapping from keys to specs"
        raise SpecError(message("default_info_dict_reader: spec", "a list", expected=expected, found=found, fix=fix))
    return {canonical_key(key): leaf for key, leaf in zip(names, spec, strict=True)}
