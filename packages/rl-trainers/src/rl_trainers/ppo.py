"""Proximal policy optimisation as a program over the layers: collect, estimate the advantage, update.

Source: Schulman et al. 2017, https://arxiv.org/abs/1707.06347
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from rl_collectors import Collector, Overlap
from rl_envs import TransformedEnv, VecNorm
from rl_objectives import compile_loss
from rl_specs import message
from rl_trainers import build
from rl_trainers.config import PPOConfig
from rl_trainers.errors import DivergenceError

LOGGED = {
    "loss_objective": "loss/objective",
    "loss_critic": "loss/critic",
    "kl_approx": "policy/kl",
    "clip_fraction": "policy/clip_fraction",
}
"""What the loss reports, and the names of the metrics."""

UPDATE_KEYS = ("observation", "action", "sample_log_prob", "advantage", "value_target", "state_value")
"""What the loss reads; the rest of a batch is not copied into the buffer."""

SEEDS_AFTER_RESUME = 2**32
"""Above every seed of a run and of its evaluations."""


def batch_statistics(data: TensorDictBase) -> dict[str, float]:
    """What a batch tells of the policy and the critic that it was collected with.

    Args:
        data: a batch with advantage, value target and value.
    Returns:
        `policy/entropy`, the mean of minus the log-probabilities of the actions taken; and
        `critic/explained_variance`, `1 - Var[target - value] / Var[target]`, NaN where the target does not vary.
    """
    target, value = data["value_target"], data["state_value"]
    numbers = torch.stack([target.var(), (target - value).var(), -data["sample_log_prob"].mean()])
    spread, unexplained, entropy = numbers.cpu().tolist()  # read together: each read waits for the device
    return {
        "policy/entropy": entropy,
        "critic/explained_variance": 1.0 - unexplained / spread if spread > 0 else math.nan,
    }


class PPO:
    """The parts of a PPO run and one update with them.

    Args:
        config: everything about the run. Seed the global random streams before, for the networks' first weights.
    """

    def __init__(self, config: PPOConfig) -> None:
        self.config = config
        self.device = torch.device(config.device)
        num_envs = 1 if config.collector.overlap else config.env.num_envs
        env = build.build_env(config.env, num_envs, device=self.device)
        self._has_exact_state = env.has_exact_state
        self.actor = build.build_actor(config.network, env, self.device)
        self.critic = build.build_critic(config.network, env, self.device)
        self.collector = self._make_collector(env)
        self.collector.set_seed(config.seed)
        self.advantage = build.build_advantage(config, self.critic)
        self.loss = build.build_loss(config, self.actor, self.critic)
        self._losses_at = compile_loss(self.loss) if config.ppo.compile else self.loss
        self.has_entropy_bonus = config.ppo.entropy_coeff > 0
        self.buffer = build.build_buffer(config, self.device)
        self.parameters = [p for p in self.loss.parameters() if p.requires_grad]
        self.optimizer, self.scheduler = build.build_optimizer(config, self.parameters)

    def _make_collector(self, env: TransformedEnv) -> Collector:
        """Collection in `env`; or in a worker, in environments of its own, where `env` has told what is to be known."""
        settings = self.config.collector
        overlap: Overlap | None = None
        make_env: TransformedEnv | Callable[[], TransformedEnv] = env
        if settings.overlap:
            env.close()
            make_env = partial(build.build_env, self.config.env, self.config.env.num_envs, device=self.device)
            overlap = Overlap(settings.overlap)
        return Collector(
            make_env,
            self.actor,
            frames_per_batch=settings.frames_per_batch,
            total_frames=settings.total_frames,
            max_frames_per_traj=settings.max_frames_per_traj,
            env_device=self.device if build.is_native(self.config.env) else "cpu",
            policy_device=self.device,
            storing_device=self.device,
            overlap=overlap,
        )

    def __iter__(self) -> Iterator[TensorDictBase]:
        """Batches of data `[num_envs, T]`, until `total_frames` are collected."""
        return iter(self.collector)

    @property
    def normalizer(self) -> VecNorm | None:
        """The running normalisation of observations, if there is one.

        Found in the collector's environment: with `max_frames_per_traj` that is another object than it was given. With
        `collector.overlap` it is a copy of the worker's, after the batches that are being collected ahead.
        """
        if self.config.collector.overlap:
            state = self.collector.state_dict()["env_state_dict"]
            return build.restore_normalizer(self.config.env, state["transform"])
        env = self.collector.env
        return build.find_normalizer(env) if isinstance(env, TransformedEnv) else None

    def update(self, data: TensorDictBase) -> dict[str, float]:
        """Improve actor and critic with one batch.

        Args:
            data: a batch from iterating over this object, `[num_envs, T]`.
        Returns:
            Means of the losses and of what else tells how learning goes, over the last epoch's minibatches.
        Raises:
            DivergenceError: a loss is not finite.
        """
        settings = self.config.ppo
        report: dict[str, float] = {}
        before: dict[str, float] = {}
        epoch = 0
        while epoch < settings.num_epochs:
            if epoch == 0 or settings.recompute_advantage:
                with torch.no_grad():
                    self.advantage(data)
                if epoch == 0:
                    before = batch_statistics(data)
                self.buffer.extend(data.select(*UPDATE_KEYS).reshape(-1))
            epoch += 1
            report = self._epoch()
            if 0 < settings.target_kl < report["policy/kl"]:
                break
        report |= before
        report["optim/epochs"] = epoch
        report["optim/lr"] = float(self.optimizer.param_groups[0]["lr"])
        self.scheduler.step()
        self.collector.update_policy_weights_()
        return report

    def _epoch(self) -> dict[str, float]:
        """One pass over the buffer."""
        sums: dict[str, list[Tensor]] = defaultdict(list)
        max_norm = self.config.ppo.max_grad_norm or math.inf
        for minibatch in self.buffer:
            self.optimizer.zero_grad(set_to_none=True)
            losses = self._losses_at(minibatch)
            total = losses["loss_objective"] + losses["loss_critic"]
            if self.has_entropy_bonus:
                total = total + losses["loss_entropy"]
            total.backward()
            sums["optim/grad_norm"].append(nn.utils.clip_grad_norm_(self.parameters, max_norm))
            self.optimizer.step()
            for name, metric in LOGGED.items():
                sums[metric].append(losses[name].detach())
        means = torch.stack([torch.stack(values).mean() for values in sums.values()]).cpu().tolist()
        report = dict(zip(sums, means, strict=True))
        bad = [name for name in ("loss/objective", "loss/critic", "optim/grad_norm") if not math.isfinite(report[name])]
        if bad:
            raise DivergenceError(
                message(
                    "ppo",
                    f"training diverged: {', '.join(bad)} not finite",
                    fix="Lower optim.lr, or set ppo.max_grad_norm; the last checkpoint is from before",
                )
            )
        return report

    def state_dict(self) -> dict[str, Any]:
        """Everything the next batch and update depend on, apart from the global random streams.

        The normaliser's statistics are part of the collector's environment state.
        """
        return {
            "model": self.loss_weights(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "collector": self.collector.state_dict(),
            "sampler": self.buffer.sampler.state_dict(),
        }

    def loss_weights(self) -> dict[str, Any]:
        """Weights of actor and critic."""
        return {"actor": self.actor.state_dict(), "critic": self.critic.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same configuration; with another `total_frames`, at the learning rate of that.

        An environment without exact state starts new episodes, other ones than at the start of the run.

        Args:
            state: what `state_dict` returned.
        """
        self.actor.load_state_dict(state["model"]["actor"])
        self.critic.load_state_dict(state["model"]["critic"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        for group, fall in zip(self.optimizer.param_groups, self.scheduler.lr_lambdas, strict=True):
            group["lr"] = group["initial_lr"] * fall(self.scheduler.last_epoch)
        self.collector.load_state_dict(state["collector"])
        if not self._has_exact_state:
            self.collector.set_seed(self.config.seed + SEEDS_AFTER_RESUME + self.collector.collected_frames)
        self.buffer.sampler.load_state_dict(state["sampler"])

    def close(self) -> None:
        """Close collector and environment."""
        self.collector.shutdown()
