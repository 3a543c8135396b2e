"""A collection loop as one writes it by hand for one program: no library, arrays made once, no call that is not needed.

Its work is that of `tutorial_ppo.py`: 64x64 tanh networks, tanh-normal sample and log-prob (a categorical for discrete
actions), running normalisation, clip, reward sum, step counter, float32, one batch allocated ahead.
"""

import math
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

DECAY, EPSILON, LIMIT = 0.99999, 1e-2, 10.0
HALF_LOG_2PI, LOG_2 = 0.5 * math.log(2.0 * math.pi), math.log(2.0)
softplus = nn.functional.softplus


class Policy(nn.Module):
    """A 64x64 tanh network and its distribution, written out.

    Args:
        size: of the observation.
        actions: number of action entries, or of choices.
        is_discrete: whether an action is one choice.
    """

    def __init__(self, size: int, actions: int, *, is_discrete: bool) -> None:
        super().__init__()
        self.network = mlp(size, actions)
        self.is_discrete = is_discrete
        self.raw_scale = nn.Parameter(torch.zeros(actions))

    def sample(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Action, what `log_prob` needs of it, and its log-probability."""
        out = self.network(observation)
        if self.is_discrete:
            logits = out.log_softmax(-1)
            action = (logits - torch.empty_like(logits).exponential_().log_()).argmax(-1, keepdim=True)
            return action.squeeze(-1), action, logits.gather(-1, action).squeeze(-1)
        scale = softplus(self.raw_scale)
        noise = torch.randn_like(out)
        latent = torch.addcmul(out, scale, noise)
        return latent.tanh(), latent, self._log_prob(latent, noise, scale)

    def evaluate(self, observation: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of stored actions, and the entropy: of one new sample where it has no closed form."""
        out = self.network(observation)
        if self.is_discrete:
            logits = out.log_softmax(-1)
            return logits.gather(-1, latent).squeeze(-1), -(logits.exp() * logits).sum(-1)
        scale = softplus(self.raw_scale)
        noise = torch.randn_like(out)
        entropy = -self._log_prob(torch.addcmul(out, scale, noise), noise, scale)
        return self._log_prob(latent, (latent - out) / scale, scale), entropy

    def _log_prob(self, latent: Tensor, noise: Tensor, scale: Tensor) -> Tensor:
        """Of tanh(latent), where latent = loc + scale * noise; the actions' bounds are -1 and 1."""
        jacobian = 2.0 * (LOG_2 - latent - softplus(-2.0 * latent))
        return (-0.5 * noise * noise - scale.log() - jacobian - HALF_LOG_2PI).sum(-1)


class Loop:
    """Environments of one kind in this process, their running moments, and one batch `[T, N]` at a time.

    Args:
        name: a Gymnasium id; the actions are a box around zero, or discrete.
        num_envs: how many.
        frames: of a batch.
    """

    def __init__(self, name: str, num_envs: int, frames: int) -> None:
        self.envs: list[Any] = [gymnasium.make(name, disable_env_checker=True) for _ in range(num_envs)]
        self.observations = np.stack([env.reset(seed=index)[0] for index, env in enumerate(self.envs)])
        space = self.envs[0].action_space
        self.is_discrete = isinstance(space, gymnasium.spaces.Discrete)
        # The policy's actions lie between -1 and 1; those of Humanoid between -0.4 and 0.4.
        self.stretch = None if self.is_discrete or np.all(space.high == 1.0) else space.high
        self.policy = Policy(
            self.observations.shape[-1],
            int(space.n) if self.is_discrete else space.shape[0],
            is_discrete=self.is_discrete,
        )
        self.steps = frames // num_envs
        self.sums, self.squares = np.zeros((2, self.observations.shape[-1]))
        self.count = 0.0
        self.returns, self.lengths = np.zeros(num_envs, np.float32), np.zeros(num_envs, np.int64)
        self.mean, self.inverse = self.sums, self.sums + 1.0
        self._update()

    def collect(self) -> dict[str, Tensor]:
        """One batch of `[T, N]` entries, which is the caller's."""
        steps, count, size = self.steps, len(self.envs), self.observations.shape[-1]
        now, then = np.empty((2, steps, count, size), np.float32)
        rewards, sums = np.empty((2, steps, count), np.float32)
        lengths = np.empty((steps, count), np.int64)
        terminated, truncated = np.zeros((2, steps, count), np.bool_)
        actions, latents, log_probs = [], [], []
        view = torch.from_numpy(now)
        with torch.no_grad():
            for t in range(steps):
                self._normalise(now[t])
                action, latent, log_prob = self.policy.sample(view[t])
                actions.append(action)
                latents.append(latent)
                log_probs.append(log_prob)
                self._step(action.numpy(), rewards[t], terminated[t], truncated[t])
                self._update()
                self._normalise(then[t])
                self.returns += rewards[t]
                self.lengths += 1
                sums[t], lengths[t] = self.returns, self.lengths
                done = terminated[t] | truncated[t]
                if done.any():
                    self._reset(done)
        arrays = {
            "observation": now,
            "next_observation": then,
            "reward": rewards,
            "episode_reward": sums,
            "step_count": lengths,
            "terminated": terminated,
            "truncated": truncated,
        }
        batch = {key: torch.from_numpy(value) for key, value in arrays.items()}
        return batch | {
            "action": torch.stack(actions),
            "latent": torch.stack(latents),
            "log_prob": torch.stack(log_probs),
        }

    def _step(self, actions: Any, rewards: Any, terminated: Any, truncated: Any) -> None:
        if self.stretch is not None:
            actions = actions * self.stretch
        for index, env in enumerate(self.envs):
            observation, rewards[index], terminated[index], truncated[index], _ = env.step(actions[index])
            self.observations[index] = observation

    def _reset(self, done: Any) -> None:
        for index in done.nonzero()[0]:
            self.observations[index] = self.envs[index].reset()[0]
        self.returns[done] = 0.0
        self.lengths[done] = 0

    def _update(self) -> None:
        """Decayed moments of what the environments returned."""
        observations = self.observations
        self.count = self.count * DECAY + len(observations)
        self.sums = self.sums * DECAY + observations.sum(0)
        self.squares = self.squares * DECAY + np.einsum("ij,ij->j", observations, observations)
        self.mean = self.sums / self.count
        self.inverse = 1.0 / np.sqrt(np.maximum(self.squares / self.count - self.mean * self.mean, EPSILON))

    def _normalise(self, out: Any) -> None:
        scaled = (self.observations - self.mean) * self.inverse
        np.maximum(scaled, -LIMIT, out=scaled)
        np.minimum(scaled, LIMIT, out=out, casting="same_kind")


def mlp(size: int, out: int) -> nn.Sequential:
    """Two hidden layers of 64 tanh units."""
    return nn.Sequential(nn.Linear(size, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, out))
