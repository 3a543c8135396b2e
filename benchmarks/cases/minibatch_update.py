"""One PPO update on a minibatch of 256 rows, with the MuJoCo tutorial's networks; prints microseconds as JSON.

Gradients to zero, clipped loss with entropy and critic terms, backward pass, clipping of the gradient's norm, Adam. The
rows are at hand; with `--from-buffer` they are drawn from a replay buffer of 2,048 rows as part of the update. The
hand-written contender is the update of a single-file PPO: the same networks, density, sampled entropy and terms, and
the two figures that such programs report (divergence and clipped share).
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from _library import load
from tensordict import TensorDict
from tensordict.nn import AddStateIndependentNormalScale, TensorDictModule
from torch import Tensor, nn

ROWS, MINIBATCH, OBSERVATIONS, ACTIONS = 2048, 256, 17, 6
CLIP, ENTROPY_WEIGHT, CRITIC_WEIGHT, MAX_NORM = 0.2, 0.01, 0.5, 0.5


def network(outputs: int) -> nn.Sequential:
    """Two hidden layers of 64 tanh units."""
    return nn.Sequential(nn.Linear(OBSERVATIONS, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


class Agent(nn.Module):
    """Actor and critic of the hand-written contender."""

    def __init__(self) -> None:
        super().__init__()
        self.actor, self.critic = network(ACTIONS), network(1)
        self.log_scale = nn.Parameter(torch.zeros(ACTIONS))

    def score(self, pre_tanh: Tensor, loc: Tensor) -> Tensor:
        """Log-density of `tanh(pre_tanh)`."""
        deviation = (pre_tanh - loc) / self.log_scale.exp()
        gaussian = -0.5 * deviation.square() - self.log_scale - 0.5 * math.log(2 * math.pi)
        slope = 2 * (math.log(2) - pre_tanh - nn.functional.softplus(-2 * pre_tanh))
        return (gaussian - slope).sum(-1)

    def loss(self, data: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The whole loss, the divergence from the old policy and the share of clipped rows."""
        loc, value = self.actor(data["observation"]), self.critic(data["observation"]).squeeze(-1)
        limit = 1 - torch.finfo(loc.dtype).eps
        log_ratio = self.score(data["action"].clamp(-limit, limit).atanh(), loc) - data["sample_log_prob"]
        ratio = log_ratio.exp()
        advantage = data["advantage"].squeeze(-1)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        objective = -torch.min(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage).mean()
        drawn = loc + self.log_scale.exp() * torch.randn_like(loc)
        entropy = -self.score(drawn, loc).mean()
        critic = nn.functional.smooth_l1_loss(value, data["value_target"].squeeze(-1))
        with torch.no_grad():
            divergence = ((ratio - 1) - log_ratio).mean()
            clipped = ((ratio - 1).abs() > CLIP).float().mean()
        return objective - ENTROPY_WEIGHT * entropy + CRITIC_WEIGHT * critic, divergence, clipped


def build_modules(lib: Any) -> tuple[Any, Any]:
    """Loss module and actor of one of the two libraries."""
    head = nn.Sequential(network(ACTIONS), AddStateIndependentNormalScale(ACTIONS, scale_lb=1e-8))
    actor = lib.ProbabilisticActor(
        TensorDictModule(head, in_keys=["observation"], out_keys=["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=lib.TanhNormal,
        distribution_kwargs={"low": -1.0, "high": 1.0, "tanh_loc": False},
        return_log_prob=True,
        default_interaction_type=lib.ExplorationType.RANDOM,
    )
    loss = lib.ClipPPOLoss(
        actor_network=actor,
        critic_network=lib.ValueOperator(network(1), in_keys=["observation"]),
        clip_epsilon=CLIP,
        entropy_coeff=ENTROPY_WEIGHT,
        critic_coeff=CRITIC_WEIGHT,
        normalize_advantage=True,
    )
    return loss, actor


def rows(agent: Agent | None, actor: Any) -> TensorDict:
    """What collection and the value estimator leave behind, made up but for the policy's part."""
    data = TensorDict({"observation": torch.randn(ROWS, OBSERVATIONS)}, [ROWS])
    with torch.no_grad():
        if agent is None:
            actor(data)
        else:
            loc = agent.actor(data["observation"])
            pre_tanh = loc + agent.log_scale.exp() * torch.randn_like(loc)
            data["action"], data["sample_log_prob"] = torch.tanh(pre_tanh), agent.score(pre_tanh, loc)
    for key in ("state_value", "advantage", "value_target"):
        data[key] = torch.randn(ROWS, 1)
    for key in ("done", "terminated"):
        data[key] = torch.zeros(ROWS, 1, dtype=torch.bool)
    data["next"] = {"observation": torch.randn(ROWS, OBSERVATIONS), "reward": torch.randn(ROWS, 1)}
    return data


def library_total(loss: Any, lib: Any, args: argparse.Namespace) -> Callable[[Any], Any]:
    """The loss of a library as a function of a minibatch."""
    compiled = lib.compile_loss if args.library == "rl-suite" else torch.compile
    call = compiled(loss) if args.compile else loss

    def total(minibatch: Any) -> Any:
        out = call(minibatch)
        return out["loss_objective"] + out["loss_critic"] + out["loss_entropy"]

    return total


def minibatches(data: TensorDict, name: str, lib: Any, from_buffer: bool) -> Iterator[Any]:
    """Minibatches without end, rows at hand or drawn anew."""
    if from_buffer and lib is not None:
        storage, sampler = lib.LazyTensorStorage(ROWS), lib.SamplerWithoutReplacement()
        buffer = lib.TensorDictReplayBuffer(storage=storage, sampler=sampler, batch_size=MINIBATCH)
        buffer.extend(data)
        while True:
            yield from buffer
    entries: Any = dict(data.exclude("next").items()) if name == "hand-written" else None
    if from_buffer:
        while True:
            for index in torch.randperm(ROWS).reshape(-1, MINIBATCH):
                yield {key: value[index] for key, value in entries.items()}
    parts = [
        {key: value[start : start + MINIBATCH] for key, value in entries.items()}
        if entries
        else data[start : start + MINIBATCH].clone()
        for start in range(0, ROWS, MINIBATCH)
    ]
    while True:
        yield from parts


def main() -> None:
    """Time updates and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=["rl-suite", "torchrl", "hand-written"], required=True)
    parser.add_argument("--optimizer", choices=["fused", "default"], default="default", help="form of Adam")
    parser.add_argument("--compile", action="store_true", help="compile the loss with the inductor backend")
    parser.add_argument("--from-buffer", action="store_true", help="draw the rows from a replay buffer")
    parser.add_argument("--updates", type=int, default=20, help="updates in each of the timed rounds (default: 20)")
    parser.add_argument("--rounds", type=int, default=60, help="rounds, of which the fastest counts (default: 60)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lib = None if args.library == "hand-written" else load(args.library)
    module: Any
    call: Any
    if lib is None:
        module = agent = Agent()
        call = torch.compile(agent.loss, fullgraph=True) if args.compile else agent.loss
        data = rows(agent, None)
    else:
        module, actor = build_modules(lib)
        call, data = library_total(module, lib, args), rows(None, actor)
    parameters = list(module.parameters())
    optimizer = torch.optim.Adam(parameters, lr=3e-4, eps=1e-5, fused=args.optimizer == "fused" or None)
    source = minibatches(data, args.library, lib, args.from_buffer)

    def update() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = call(next(source))
        (loss[0] if lib is None else loss).backward()
        nn.utils.clip_grad_norm_(parameters, max_norm=MAX_NORM)
        optimizer.step()

    for _ in range(args.updates):
        update()
    fastest = math.inf
    for _ in range(args.rounds):
        start = time.perf_counter()
        for _ in range(args.updates):
            update()
        fastest = min(fastest, (time.perf_counter() - start) / args.updates)
    label = "minibatch update with its rows drawn, 256" if args.from_buffer else "minibatch update, 256"
    print(json.dumps({"values": {label: 1e6 * fastest}, "unit": "us"}))


if __name__ == "__main__":
    main()
