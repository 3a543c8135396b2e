"""The sampling part of a stochastic policy: distribution parameters in, a sample and its log-probability out."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from tensordict.nn import InteractionType, ProbabilisticTensorDictModule, composite_lp_aggregate
from tensordict.nn.distributions import Delta
from torch import Tensor

from rl_modules._spec import moved_spec, out_keys_of, project_outputs, spec_by_key
from rl_modules.distributions._interval import numbers_where_uniform
from rl_modules.distributions.tanh_normal import TanhNormal
from rl_modules.safe_module import require_spec
from rl_specs import Composite, NestedKey, TensorSpec, canonical_key, message, near_matches

DEFAULT_LOG_PROB_KEY = "sample_log_prob"

InKeys = NestedKey | Sequence[NestedKey] | Mapping[str, NestedKey]
"""Keys of the distribution parameters: keys that end in the parameter's name, or a mapping from names to keys."""


class SafeProbabilisticModule(ProbabilisticTensorDictModule):
    """A `ProbabilisticTensorDictModule` with a spec of its sample, into which the sample can be projected.

    What is written is chosen by `set_exploration_type`; outside that context `default_interaction_type` decides.

    Args:
        in_keys: keys of the distribution parameters. The last part of each is the name of a constructor argument,
            unless a mapping from argument names to keys is given.
        out_keys: keys of the sample; by default the key of a `Composite` spec, else `["action"]`.
        spec: spec of the sample, or a `Composite` with specs by output key.
        safe: whether the sample is projected into its spec. The log-probability stays that of the sample as drawn.
        default_interaction_type: what is written outside `set_exploration_type`: `DETERMINISTIC` by default.
        distribution_class: distribution, called with the parameters and `distribution_kwargs`.
        distribution_kwargs: constant arguments of the distribution.
        return_log_prob: whether the log-probability of the sample is written too.
        log_prob_key: key of the log-probability, `"sample_log_prob"` by default.
        log_prob_keys: keys of the log-probabilities of a `CompositeDistribution`, one for each sample.
        cache_dist: accepted for programs that pass it; distributions are rebuilt at each call.
        n_empirical_estimate: number of samples that stand for a mean that has no formula.
        num_samples: draw that many samples at once, along new leading dimensions.
        generator: random generator, or a seed for one, in place of the global one.
    Raises:
        TypeError: the distribution does not accept the named arguments, or `spec` is no spec.
        ValueError: `safe` without `spec`, or a spec with several entries and no `out_keys`.
        SpecError: `spec` has none of the outputs.
    """

    def __init__(
        self,
        in_keys: InKeys,
        out_keys: NestedKey | Sequence[NestedKey] | None = None,
        spec: TensorSpec | None = None,
        *,
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
        component = type(self).__name__
        require_spec(component, spec, safe)
        kwargs = {} if distribution_kwargs is None else distribution_kwargs
        if distribution_class is TanhNormal:
            kwargs = numbers_where_uniform(kwargs)
        is_composite = "distribution_map" in kwargs
        if not is_composite or out_keys is not None or spec is not None:
            out_keys = out_keys_of(component, out_keys, spec)
        check_parameters(distribution_class, in_keys, kwargs)
        if log_prob_key is None and log_prob_keys is None and (not is_composite or composite_lp_aggregate(nowarn=True)):
            log_prob_key = DEFAULT_LOG_PROB_KEY
        super().__init__(
            in_keys=in_keys,
            out_keys=out_keys,
            default_interaction_type=default_interaction_type,
            distribution_class=distribution_class,
            distribution_kwargs=kwargs,
            return_log_prob=return_log_prob,
            log_prob_key=log_prob_key,
            log_prob_keys=log_prob_keys,
            cache_dist=cache_dist,
            n_empirical_estimate=n_empirical_estimate,
            num_samples=num_samples,
            generator=generator,
        )
        self._spec = spec_by_key(component, spec, self.dist_sample_keys)
        self.safe = safe
        if safe:
            self.register_forward_hook(project_outputs)

    @property
    def spec(self) -> Composite | None:
        """Specs by output key, on the device that the module was moved to."""
        return self._spec

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._spec = moved_spec(self._spec, fn)
        return self


def check_parameters(distribution_class: Callable[..., Any], in_keys: InKeys, kwargs: Mapping[str, Any]) -> None:
    """Refuse parameter names that the constructor of a distribution does not take, or lacks.

    A distribution whose constructor does not tell its arguments is left alone.

    Raises:
        TypeError: a name is unknown, given twice or missing; the message lists the names there are.
    """
    if not callable(distribution_class):
        raise TypeError(
            message(
                "distribution_class", "not a distribution", expected="a class", found=type(distribution_class).__name__
            )
        )
    try:
        signature = inspect.signature(distribution_class)
    except (TypeError, ValueError):
        return
    given = parameter_names(in_keys)
    accepted = [name for name, p in signature.parameters.items() if p.kind is not p.VAR_KEYWORD]
    is_open = len(accepted) < len(signature.parameters)
    name_of = getattr(distribution_class, "__name__", str(distribution_class))
    problems = [
        f'it takes no argument "{name}" ({origin}).{near_matches(name, accepted)}'
        for names, origin in ((given, "from in_keys"), (list(kwargs), "from distribution_kwargs"))
        for name in names
        if name not in accepted and not is_open
    ]
    problems += [f'"{name}" comes from in_keys and from distribution_kwargs' for name in given if name in kwargs]
    required = [
        name
        for name, p in signature.parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    problems += [f'it needs "{name}"' for name in required if name not in given and name not in kwargs]
    if problems:
        raise TypeError(
            message(
                name_of,
                "; ".join(problem.rstrip(".") for problem in problems),
                expected=f"arguments among {', '.join(accepted)}",
                found=f"in_keys for {', '.join(given) or 'nothing'}",
                fix='Rename the keys, or map arguments to keys: in_keys={"loc": "my_loc", "scale": "my_scale"}',
            )
        )


def parameter_names(in_keys: InKeys) -> list[str]:
    """Names of the constructor arguments that `in_keys` are for."""
    if isinstance(in_keys, Mapping):
        return list(in_keys)
    keys = [in_keys] if isinstance(in_keys, (str, tuple)) else list(in_keys)
    canonical = [canonical_key(key) for key in keys]
    return [key if isinstance(key, str) else key[-1] for key in canonical]
