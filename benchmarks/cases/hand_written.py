"""Hand-written collection and PPO on the work of `tutorial_ppo.py`; prints frames per second for each number of envs.

One file, no library but torch and Gymnasium, in the manner of CleanRL: the loop of `_hand_written.py`, advantages once
a batch by a loop over time, ten epochs of minibatches that index one flat batch.
"""

import argparse
import time

import numpy as np
import torch
from _case import label, make_adam, report
from _hand_written import Loop, mlp
from torch import Tensor, nn

FRAMES, MINIBATCH, EPOCHS = 2048, 256, 10
GAMMA, LMBDA, CLIP, ENTROPY, CRITIC = 0.99, 0.95, 0.2, 0.01, 0.5


def advantages(batch: dict[str, Tensor], critic: nn.Module) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimate `[T, N]`, and the targets of the critic."""
    with torch.no_grad():
        values = critic(batch["observation"]).squeeze(-1)
        following = critic(batch["next_observation"]).squeeze(-1)
    alive = ~batch["terminated"]
    deltas = (batch["reward"] + GAMMA * following * alive - values).numpy()
    factors = (GAMMA * LMBDA * ~(batch["terminated"] | batch["truncated"])).numpy()
    out = np.empty_like(deltas)
    carried = np.zeros_like(deltas[0])
    for t in range(len(deltas) - 1, -1, -1):
        carried = deltas[t] + factors[t] * carried
        out[t] = carried
    advantage = torch.from_numpy(out)
    return advantage, advantage + values


def learn(
    loop: Loop,
    critic: nn.Module,
    parameters: list[nn.Parameter],
    optim: torch.optim.Optimizer,
    batch: dict[str, Tensor],
) -> None:
    """Ten epochs of minibatches over one batch."""
    advantage, target = advantages(batch, critic)
    flat = {key: batch[key].flatten(0, 1) for key in ("observation", "latent", "log_prob")}
    flat |= {"advantage": advantage.flatten(), "target": target.flatten()}
    for _ in range(EPOCHS):
        order = torch.randperm(len(flat["target"]))
        for start in range(0, len(order), MINIBATCH):
            rows = order[start : start + MINIBATCH]
            part = {key: value[rows] for key, value in flat.items()}
            gain = part["advantage"]
            gain = (gain - gain.mean()) / gain.std().clamp_min(1e-6)
            log_prob, entropy = loop.policy.evaluate(part["observation"], part["latent"])
            ratio = (log_prob - part["log_prob"]).exp()
            objective = torch.minimum(ratio * gain, ratio.clamp(1.0 - CLIP, 1.0 + CLIP) * gain).mean()
            error = nn.functional.smooth_l1_loss(critic(part["observation"]).squeeze(-1), part["target"])
            loss = CRITIC * error - objective - ENTROPY * entropy.mean()
            optim.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
            nn.utils.clip_grad_norm_(parameters, 0.5)
            optim.step()


def frames_per_s(args: argparse.Namespace, num_envs: int) -> float:
    """One batch untimed, then batches for as long as asked."""
    torch.manual_seed(0)
    loop = Loop(args.env, num_envs, FRAMES)
    critic = mlp(loop.observations.shape[-1], 1)
    parameters = [*loop.policy.parameters(), *critic.parameters()]
    optim = make_adam(parameters)
    batches, started, seconds = -1, 0.0, 0.0
    while batches < 1 or seconds < args.seconds:
        batch = loop.collect()
        if args.work == "ppo":
            learn(loop, critic, parameters, optim, batch)
        batches += 1
        started = started or time.perf_counter()
        seconds = time.perf_counter() - started
    return FRAMES * batches / seconds


def main() -> None:
    """Time the program and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", choices=["collection", "ppo"], required=True)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[1])
    parser.add_argument("--seconds", type=float, default=3.0, help="timed for each number of envs, one batch at least")
    args = parser.parse_args()
    torch.set_num_threads(1)
    report({label(count): frames_per_s(args, count) for count in args.num_envs}, "frames/s")


if __name__ == "__main__":
    main()
