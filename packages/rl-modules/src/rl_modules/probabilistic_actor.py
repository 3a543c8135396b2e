"""A stochastic policy."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from tensordict.nn import InteractionType, ProbabilisticTensorDictSequential, TensorDictModuleBase
from tensordict.nn.distributions import Delta

from rl_modules.safe_probabilistic_module import InKeys, SafeProbabilisticModule
from rl_specs import Composite, NestedKey, TensorSpec, canonical_key, canonical_keys, key_str, message


@final
class ProbabilisticActor(ProbabilisticTensorDictSequential):
    """A module that writes distribution parameters, followed by a draw from the distribution.

    Writes the action and, with `return_log_prob`, its log-probability `[*B]`. Which action that is, is chosen by
    `set_exploration_type` (`RANDOM`, `DETERMINISTIC`, `MODE`, `MEAN`, `MEDIAN`); outside that context
    `default_interaction_type` decides, which is `DETERMINISTIC` unless given.

    Args:
        module: writes the parameters, e.g. a `TensorDictModule` with `out_keys=["loc", "scale"]`.
        in_keys: keys of the distribution parameters. The last part of each is the name of a constructor argument of the
            distribution, unless a mapping from argument names to keys is given.
        out_keys: keys of the action; by default the key of a `Composite` spec, else `["action"]`.
        spec: spec of the action, or a `Composite` with specs by output key.
        safe: whether actions are projected into their spec. The log-probability stays that of the action as drawn.
        default_interaction_type: what is written outside `set_exploration_type`.
        distribution_class: distribution, called with the parameters and `distribution_kwargs`.
        distribution_kwargs: constant arguments of the distribution, such as bounds.
        return_log_prob: whether the log-probability of the action is written too.
        log_prob_key: key of the log-probability, `"sample_log_prob"` by default.
        log_prob_keys: keys of the log-probabilities of a `CompositeDistribution`, one for each sample.
        cache_dist: accepted for programs that pass it; distributions are rebuilt at each call.
        n_empirical_estimate: number of samples that stand for a mean that has no formula.
        num_samples: draw that many actions at once, along new leading dimensions.
        generator: random generator, or a seed for one, in place of the global one.
    Raises:
        TypeError: `module` knows no keys, the distribution does not accept the named arguments, or `spec` is no spec.
        ValueError: `module` writes none of the parameters, `safe` without `spec`, or a spec with several entries and no
            `out_keys`.
        SpecError: `spec` has none of the outputs.
    """

    def __init__(
        self,
        module: TensorDictModuleBase,
        in_keys: InKeys,
        out_keys: NestedKey | Sequence[NestedKey] | None = None,
        *,
        spec: TensorSpec | None = None,
        safe: bool = False,
        default_interaction_type: InteractionType = InteractionType.DETERMINISTIC,
        distribution_class: Callable[..., Any] = Delta,
        distribution_kwargs: Mapping[str, Any] | None = None,
        return_log_prob: bool = False,
        log_prob_key: NestedKey | None = None,
        log_prob_keys: Sequence[NestedKey] | None = None,
        cache_dist: bool = False,
        n_empirical_estimate: int = 1000,
        num_samples: int | torch.Size | None = None,
        generator: torch.Generator | int | None = None,
    ) -> None:
        _check_connection(module, in_keys)
        sampler = SafeProbabilisticModule(
            in_keys,
            out_keys,
            spec,
            safe=safe,
            default_interaction_type=default_interaction_type,
            distribution_class=distribution_class,
            distribution_kwargs=distribution_kwargs,
            return_log_prob=return_log_prob,
            log_prob_key=log_prob_key,
            log_prob_keys=log_prob_keys,
            cache_dist=cache_dist,
            n_empirical_estimate=n_empirical_estimate,
            num_samples=num_samples,
            generator=generator,
        )
        super().__init__(module, sampler)

    @property
    def spec(self) -> Composite | None:
        """Specs by output key, on the device that the actor was moved to."""
        sampler: SafeProbabilisticModule = self[-1]
        return sampler.spec

    @property
    def log_prob_key(self) -> NestedKey | None:
        """Key of the log-probability, whether it is written or not."""
        sampler: SafeProbabilisticModule = self[-1]
        return sampler.log_prob_key


def _check_connection(module: TensorDictModuleBase, in_keys: InKeys) -> None:
    """Refuse a module that is no TensorDict module, or writes none of the parameters that are read."""
    if not isinstance(module, TensorDictModuleBase):
        raise TypeError(
            message(
                "ProbabilisticActor",
                "module knows no keys",
                expected="a TensorDictModule",
                found=type(module).__name__,
                fix='Wrap it: TensorDictModule(net, in_keys=["observation"], out_keys=["loc", "scale"])',
            )
        )
    read = canonical_keys(list(in_keys.values()) if isinstance(in_keys, Mapping) else in_keys)
    written = [canonical_key(key) for key in module.out_keys]
    if read and not any(_is_under(a, b) or _is_under(b, a) for a in read for b in written):
        raise ValueError(
            message(
                "ProbabilisticActor",
                "module writes none of the distribution parameters",
                expected=f"one of {', '.join(key_str(key) for key in read)}",
                found=f"out_keys {', '.join(key_str(key) for key in written)}",
                fix='Name its out_keys so, or map arguments to keys: in_keys={"loc": "my_loc", "scale": "my_scale"}',
            )
        )


def _is_under(key: NestedKey, parent: NestedKey) -> bool:
    path = (key,) if isinstance(key, str) else key
    prefix = (parent,) if isinstance(parent, str) else parent
    return path[: len(prefix)] == prefix
