"""Hindsight experience replay from start to end: flip bits until they are those of the goal, in under a minute."""

import copy

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn

from rl_buffers import HERReplayBuffer, LazyTensorStorage
from rl_modules import MLP


def reward(achieved: Tensor, desired: Tensor, batch: TensorDictBase) -> Tensor:
    """0 where the goal is reached, -1 elsewhere, `[n]`."""
    return (achieved == desired).all(-1).float() - 1.0


def terminated(achieved: Tensor, desired: Tensor, batch: TensorDictBase) -> Tensor:
    """An episode ends where its goal is reached, `[n]`."""
    return (achieved == desired).all(-1)


def episode(network: nn.Module, bits: int, epsilon: float) -> TensorDict:
    """One episode `[T]`: each step flips one of the bits; it ends at the goal, or after as many steps as bits."""
    state, goal = torch.randint(2, (2, bits)).float()
    steps: list[TensorDict] = []
    for number in range(bits):
        with torch.no_grad():
            action = network(torch.cat([state, goal])).argmax()
        if torch.rand(()) < epsilon:
            action = torch.randint(bits, ())
        following = state.clone()
        following[action] = 1.0 - following[action]
        is_reached = (following == goal).all().view(1)
        is_over = is_reached | (number == bits - 1)
        now = {"observation": state, "desired_goal": goal, "action": action.view(1)}
        after = {"observation": following, "achieved_goal": following, "desired_goal": goal}
        flags = {"reward": is_reached.float() - 1.0, "terminated": is_reached, "done": is_over}
        steps.append(TensorDict({**now, "next": {**after, **flags}}))
        state = following
        if is_over:
            break
    data: TensorDict = TensorDict.stack(steps)
    return data


def main(episodes: int = 1500, bits: int = 12, her_ratio: float = 0.8) -> float:
    """Train, then return the fraction of 100 episodes in which the greedy policy reaches the goal."""
    torch.manual_seed(0)
    network = MLP(2 * bits, bits, num_cells=[128])
    target = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    buffer = HERReplayBuffer(
        reward_fn=reward,
        terminated_fn=terminated,
        storage=LazyTensorStorage(20_000),
        strategy="future",
        her_ratio=her_ratio,
        batch_size=128,
        generator=torch.Generator().manual_seed(0),
    )
    reached: list[float] = []
    for number in range(episodes):
        steps = episode(network, bits, epsilon=0.2)
        buffer.extend(steps)
        reached.append(float(steps["next", "terminated"].any()))
        for _ in range(4):
            batch = buffer.sample()
            goal, action = batch["desired_goal"], batch["action"]
            with torch.no_grad():
                value = target(torch.cat([batch["next", "observation"], goal], -1)).amax(-1, keepdim=True)
                expected = batch["next", "reward"] + 0.98 * ~batch["next", "terminated"] * value
            found = network(torch.cat([batch["observation"], goal], -1)).gather(-1, action)
            loss = nn.functional.mse_loss(found, expected)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
            optimizer.step()
            with torch.no_grad():
                for slow, fast in zip(target.parameters(), network.parameters(), strict=True):
                    slow.lerp_(fast, 0.02)
        if number % 250 == 249:
            print(f"{number + 1:5d} episodes: {sum(reached[-250:]) / 250:.0%} of the last 250 reached their goal")
    tests = [episode(network, bits, epsilon=0.0)["next", "terminated"].any() for _ in range(100)]
    return float(torch.stack(tests).float().mean())


if __name__ == "__main__":
    print(f"greedy policy: {main():.0%} of the goals reached")
