"""The pieces of a PPO run, each built from its part of the configuration."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from tensordict.nn import AddStateIndependentNormalScale, NormalParamExtractor, TensorDictModule
from torch import nn

from rl_buffers import LazyTensorStorage, SamplerWithoutReplacement, TensorDictReplayBuffer
from rl_envs import (
    CatTensors,
    ClipTransform,
    DoubleToFloat,
    EnvBase,
    ExplorationType,
    GymEnv,
    ObservationNorm,
    PendulumEnv,
    RewardScaling,
    RewardSum,
    StepCounter,
    TransformedEnv,
    VecNorm,
)
from rl_modules import MLP, OneHotCategorical, ProbabilisticActor, TanhNormal, ValueOperator
from rl_objectives import GAE, ClipPPOLoss
from rl_specs import Bounded, LeafSpec, OneHot, message
from rl_trainers.config import EnvConfig, NetworkConfig, PPOConfig
from rl_trainers.errors import UnsupportedEnvError

NATIVE_MAX_STEPS = 200
CRITIC_LOSSES: dict[str, Literal["l2", "l1", "smooth_l1"]] = {"l2": "l2", "l1": "l1", "smooth_l1": "smooth_l1"}
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU, "silu": nn.SiLU}


def is_native(config: EnvConfig) -> bool:
    """Whether the environment is one of `rl_envs`' own."""
    return config.backend == "native" or (config.backend == "auto" and config.name == "PendulumEnv")


def build_base_env(config: EnvConfig, num_envs: int, device: torch.device | None = None) -> EnvBase:
    """The simulator without transforms, batch size `[num_envs]`; a native one computes on `device`."""
    if is_native(config):
        return PendulumEnv(batch_size=(num_envs,), device=device)
    return GymEnv(config.name, num_envs=num_envs, frame_skip=config.frame_skip, **config.options)


def _observation_keys(env: EnvBase) -> list[str]:
    """Names of the flat vectors that an environment observes."""
    keys = []
    for key, spec in env.observation_spec.flat_items():
        is_vector = isinstance(spec, LeafSpec) and spec.ndim == len(env.batch_size) + 1 and spec.dtype.is_floating_point
        if isinstance(key, tuple) or not is_vector:
            raise UnsupportedEnvError(
                message(
                    "ppo",
                    f"observation {key} is not a vector of floats",
                    expected="shape [*B, features]",
                    found=spec,
                    fix="Choose an environment with vector observations",
                )
            )
        keys.append(key)
    return keys


def add_transforms(base: EnvBase, config: EnvConfig, normalizer: ObservationNorm | None = None) -> TransformedEnv:
    """The environment as the learner sees it.

    Args:
        base: the simulator.
        config: names the transforms.
        normalizer: statistics to use as they are (a `frozen_copy()`); new running ones if not given.
    Returns:
        An environment with `observation` float32 `[*B, features]`, `episode_reward` (unscaled) and `step_count`.
    Raises:
        UnsupportedEnvError: the observations are not vectors.
    """
    env = TransformedEnv(base)
    keys = _observation_keys(env)
    if keys != ["observation"]:
        env.append_transform(CatTensors(in_keys=keys, out_key="observation"))
    if config.normalize_observation:
        running = VecNorm(in_keys=["observation"], decay=config.normalize_decay, eps=config.normalize_eps)
        env.append_transform(normalizer if normalizer is not None else running)
        if config.clip_observation > 0:
            bound = config.clip_observation
            env.append_transform(ClipTransform(in_keys=["observation"], low=-bound, high=bound))
    env.append_transform(RewardSum())
    limit = config.max_steps or (NATIVE_MAX_STEPS if is_native(config) else None)
    env.append_transform(StepCounter(max_steps=limit))
    if config.reward_scale != 1.0:
        env.append_transform(RewardScaling(loc=0.0, scale=config.reward_scale))
    env.append_transform(DoubleToFloat())
    return env


def build_env(
    config: EnvConfig, num_envs: int, normalizer: ObservationNorm | None = None, *, device: torch.device | None = None
) -> TransformedEnv:
    """`build_base_env` with `add_transforms`, batch size `[num_envs]`."""
    return add_transforms(build_base_env(config, num_envs, device), config, normalizer)


def find_normalizer(env: TransformedEnv) -> VecNorm | None:
    """The running normalisation of an environment built by `build_env`, if it has one."""
    return next((transform for transform in env.transform if isinstance(transform, VecNorm)), None)


def restore_normalizer(config: EnvConfig, transforms: Mapping[str, Any]) -> VecNorm | None:
    """The running normalisation with the statistics of another environment of the same configuration.

    Args:
        config: the environment.
        transforms: state of that environment's transforms.
    """
    env = build_env(config, 1)
    try:
        env.transform.load_state_dict(transforms)
        return find_normalizer(env)
    finally:
        env.close()


def build_mlp(config: NetworkConfig, in_features: int, out_features: int, last_gain: float) -> MLP:
    """A perceptron with orthogonal weights and zero biases.

    Args:
        config: widths, activation and gain of the hidden layers.
        in_features: size of the input.
        out_features: size of the output.
        last_gain: gain of the last layer.
    """
    network = MLP(
        in_features=in_features,
        out_features=out_features,
        num_cells=list(config.num_cells),
        activation_class=ACTIVATIONS[config.activation],
    )
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    for layer in layers:
        nn.init.orthogonal_(layer.weight, last_gain if layer is layers[-1] else config.hidden_gain)
        nn.init.zeros_(layer.bias)
    return network


def build_actor(config: NetworkConfig, env: EnvBase, device: torch.device) -> ProbabilisticActor:
    """A stochastic policy: tanh-normal for bounded continuous actions, categorical for one-hot ones.

    Args:
        config: the networks.
        env: whose observations it reads and whose actions it writes.
        device: where it lives.
    Raises:
        UnsupportedEnvError: the actions are of another kind.
    """
    features = env.observation_spec_unbatched["observation"].shape[-1]
    action = env.action_spec_unbatched
    network: nn.Module
    arguments: dict[str, Any]
    distribution: type[OneHotCategorical | TanhNormal]
    if isinstance(action, OneHot):
        network = build_mlp(config, features, action.shape[-1], config.policy_gain)
        keys, distribution, arguments = ["logits"], OneHotCategorical, {}
    elif isinstance(action, Bounded) and action.dtype.is_floating_point and action.ndim == 1:
        size = action.shape[-1]
        if config.scale == "parameter":
            mean = build_mlp(config, features, size, config.policy_gain)
            scale: nn.Module = AddStateIndependentNormalScale(
                size, scale_lb=1e-8, init_value=math.log(config.initial_scale)
            )
        else:
            mean = build_mlp(config, features, 2 * size, config.policy_gain)
            scale = NormalParamExtractor(scale_mapping=f"biased_softplus_{config.initial_scale}")
        network = nn.Sequential(mean, scale)
        keys, distribution = ["loc", "scale"], TanhNormal
        arguments = {"low": action.space.low.to(device), "high": action.space.high.to(device), "tanh_loc": False}
    else:
        raise UnsupportedEnvError(
            message(
                "ppo",
                f"actions of {type(action).__name__} {tuple(action.shape)} are not supported",
                expected="a bounded vector of floats, or one-hot",
                fix="Choose another environment",
            )
        )
    module = TensorDictModule(network.to(device), in_keys=["observation"], out_keys=keys)
    return ProbabilisticActor(
        module,
        in_keys=keys,
        spec=env.full_action_spec_unbatched.to(device),
        distribution_class=distribution,
        distribution_kwargs=arguments,
        return_log_prob=True,
        default_interaction_type=ExplorationType.RANDOM,
    )


def build_critic(config: NetworkConfig, env: EnvBase, device: torch.device) -> ValueOperator:
    """A state-value network that reads `observation` and writes `state_value`."""
    features = env.observation_spec_unbatched["observation"].shape[-1]
    return ValueOperator(build_mlp(config, features, 1, config.value_gain).to(device), in_keys=["observation"])


def build_advantage(config: PPOConfig, critic: ValueOperator) -> GAE:
    """Generalised advantage estimation with the critic's values."""
    return GAE(gamma=config.ppo.gamma, lmbda=config.ppo.lmbda, value_network=critic, average_gae=False)


def build_loss(config: PPOConfig, actor: ProbabilisticActor, critic: ValueOperator) -> ClipPPOLoss:
    """The clipped surrogate objective with critic loss and entropy bonus."""
    settings = config.ppo
    return ClipPPOLoss(
        actor,
        critic,
        clip_epsilon=settings.clip_epsilon,
        entropy_bonus=settings.entropy_coeff > 0,
        entropy_coeff=settings.entropy_coeff,
        critic_coeff=settings.critic_coeff,
        loss_critic_type=CRITIC_LOSSES[settings.critic_loss],
        normalize_advantage=settings.normalize_advantage,
        clip_value=settings.clip_value if settings.clip_value > 0 else False,
        log_explained_variance=False,
    )


def build_buffer(config: PPOConfig, device: torch.device) -> TensorDictReplayBuffer:
    """A buffer of one batch that yields minibatches in random order, each sample once an epoch."""
    return TensorDictReplayBuffer(
        storage=LazyTensorStorage(config.collector.frames_per_batch, device=device),
        sampler=SamplerWithoutReplacement(),
        batch_size=config.ppo.minibatch_size,
    )


def build_optimizer(
    config: PPOConfig, parameters: "list[nn.Parameter]"
) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.LambdaLR]:
    """Adam, and its learning rate over the batches of the run.

    Args:
        config: its `optim` group, and the number of batches.
        parameters: what is trained.
    Returns:
        The optimiser and a scheduler to step once a batch.
    """
    optimizer = torch.optim.Adam(parameters, lr=config.optim.lr, eps=config.optim.eps, fused=True)
    batches = -(-config.collector.total_frames // config.collector.frames_per_batch)
    fall = partial(_remaining, batches=batches) if config.optim.anneal else _constant
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, fall)


def _remaining(batch: int, batches: int) -> float:
    return max(0.0, 1.0 - batch / batches)


def _constant(batch: int) -> float:
    return 1.0
