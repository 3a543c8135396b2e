"""What losses and estimators ask of a policy: its distribution, log-probability and entropy."""

from collections.abc import Mapping, Sequence

import torch
from tensordict import TensorDictBase
from tensordict.nn import CompositeDistribution, ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential
from torch import Tensor
from torch.distributions import Distribution

from rl_modules.distributions import TanhNormal
from rl_objectives._call import NetworkCall
from rl_objectives._keys import read
from rl_specs import DeviceError, NestedKey, ShapeError, key_str, message


def policy_distribution(
    component: str, policy: ProbabilisticTensorDictSequential, data: TensorDictBase
) -> Distribution:
    """Distribution of a policy that is called once, at `data`, which is only read."""
    return NetworkCall(policy).distribution(component, data, fix="It is an input of actor_network")


def log_prob(component: str, dist: Distribution, data: TensorDictBase, action_key: NestedKey, like: Tensor) -> Tensor:
    """Log-probability of the stored action, in the shape of `like`; over the heads of a composite, summed."""
    if isinstance(dist, CompositeDistribution):
        terms = [
            align(component, "log-probability", head.log_prob(_head_action(component, data, name)), like)
            for name, head in dist.dists.items()
        ]
        return torch.stack(terms).sum(0)
    action = read(component, data, action_key, fix="Collect with the policy, or rename with set_keys(action=...)")
    return align(component, "log-probability", dist.log_prob(action), like)


def stored_log_prob(component: str, data: TensorDictBase, keys: Sequence[NestedKey], like: Tensor) -> Tensor:
    """Log-probability written at collection, without gradient, in the shape of `like`; several entries are summed."""
    fix = "Collect with a policy built with return_log_prob=True, or rename with set_keys(sample_log_prob=...)"
    terms = [align(component, key_str(k), constant(read(component, data, k, fix=fix)), like) for k in keys]
    return terms[0] if len(terms) == 1 else torch.stack(terms).sum(0)


def log_prob_entry(policy: ProbabilisticTensorDictSequential) -> NestedKey | list[NestedKey]:
    """Where the policy writes the log-probability of its action: one entry, or one for each head of a composite."""
    sampler: object = policy
    while isinstance(sampler, ProbabilisticTensorDictSequential):
        sampler = sampler[-1]
    keys = sampler.log_prob_keys if isinstance(sampler, ProbabilisticTensorDictModule) else []
    written = [key for key in keys if key in policy.out_keys]
    if not written:
        return "sample_log_prob"
    return written[0] if len(written) == 1 else written


def constant(value: Tensor) -> Tensor:
    """`value` without gradient."""
    return value.detach() if value.requires_grad else value


def align(component: str, name: str, value: Tensor, like: Tensor) -> Tensor:
    """`value` in the shape of `like`, which it has already or has but for the trailing dimension of size 1.

    Raises:
        DeviceError: they are on two devices.
        ShapeError: any other shape.
    """
    if value.device != like.device:
        fix = "Move the whole batch to the device of the networks: data.to(device)"
        problem = f"{name} and the advantage are on two devices"
        raise DeviceError(message(component, problem, expected=value.device, found=like.device, fix=fix))
    if value.shape == like.shape:
        return value
    if (*value.shape, 1) == tuple(like.shape):
        return value.unsqueeze(-1)
    raise ShapeError(
        message(
            component,
            f"{name} does not fit the advantage",
            expected=f"{list(like.shape)} or {list(like.shape[:-1])}",
            found=list(value.shape),
            fix="A distribution over vectors sums its log-probability over the action (torch.distributions.Independent)"
            ", and the advantage has a trailing dimension of size 1",
        )
    )


def entropies(component: str, dist: Distribution, samples: int, like: Tensor) -> dict[str, Tensor]:
    """Entropy of each head of a composite, else of the distribution under `""`, in the shape of `like`."""
    heads = {key_name(k): d for k, d in dist.dists.items()} if isinstance(dist, CompositeDistribution) else {"": dist}
    return {name: align(component, "entropy", entropy(head, samples), like) for name, head in heads.items()}


def entropy(dist: Distribution, samples: int) -> Tensor:
    """Entropy in closed form, or where there is none `-log p(x)` averaged over `samples` reparameterised draws."""
    if isinstance(dist, TanhNormal):
        return dist.sampled_entropy(samples)
    try:
        return dist.entropy()
    except NotImplementedError:
        return -dist.log_prob(dist.rsample(torch.Size((samples,)))).mean(0)


def weigh(component: str, heads: Mapping[str, Tensor], coefficient: Mapping[str, Tensor]) -> Tensor:
    """Sum over the heads of coefficient times entropy.

    Raises:
        KeyError: a head without a coefficient, or the reverse.
    """
    if heads.keys() != coefficient.keys():
        raise KeyError(
            message(
                component,
                "entropy_coeff does not name the heads of the policy",
                expected=sorted(heads),
                found=sorted(coefficient),
                fix="Give one coefficient per head, or a single number",
            )
        )
    return torch.stack([coefficient[name] * value for name, value in heads.items()]).sum(0)


def key_name(key: NestedKey) -> str:
    """A head's name as one string, levels joined by a dot."""
    return key if isinstance(key, str) else ".".join(key)


def _head_action(component: str, data: TensorDictBase, name: NestedKey) -> Tensor:
    return read(component, data, name, fix="It is the action of one head of the policy; collect with the policy")
