"""A recurrent policy cloned from a data set of trajectories: CartPole-v1 without velocities, in seconds."""

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from rl_buffers import ImmutableDatasetWriter, SliceSampler, TensorDictReplayBuffer, TensorStorage
from rl_collectors import Collector
from rl_envs import GymEnv, InitTracker, RewardSum, TensorDictPrimer, TransformedEnv
from rl_modules import MLP
from rl_specs import Unbounded

CELLS = 64


def expert(observation: Tensor) -> tuple[Tensor, Tensor]:
    """What is done, and what should be: push the cart to where the pole will fall, which takes velocities to know.

    A quarter of the actions are random, so that the data set shows how to recover.
    """
    position, velocity, angle, turn = observation.unbind(-1)
    is_right = angle + 0.3 * turn + 0.05 * position + 0.1 * velocity > 0
    best = nn.functional.one_hot(is_right.long(), 2)
    is_random = torch.rand(is_right.shape) < 0.25
    random = nn.functional.one_hot(torch.randint(2, is_right.shape), 2)
    return torch.where(is_random.unsqueeze(-1), random, best), best


class Imitator(nn.Module):
    """Logits and next state from positions and a state."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(2, CELLS)
        self.head = MLP(CELLS, 2, num_cells=[CELLS])

    def forward(self, observation: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Only the positions of cart and pole are looked at."""
        positions = observation[..., [0, 2]].reshape(-1, 2) * torch.tensor([2.0, 20.0])
        following = self.cell(positions, hidden.reshape(-1, CELLS)).reshape(hidden.shape)
        return self.head(following), following


def main(dataset_frames: int = 10_000, updates: int = 600, num_envs: int = 4) -> float:
    """Collect the data set, train on slices of it, then return the mean episode return of the recurrent policy."""
    torch.manual_seed(0)
    env = TransformedEnv(GymEnv("CartPole-v1", num_envs=num_envs))
    env.set_seed(0)
    policy = TensorDictModule(expert, in_keys=["observation"], out_keys=["action", "best"])
    batches = list(Collector(env, policy, frames_per_batch=2000, total_frames=dataset_frames))
    buffer = TensorDictReplayBuffer(
        storage=TensorStorage(TensorDict.cat([batch.reshape(-1) for batch in batches])),
        writer=ImmutableDatasetWriter(),  # a data set is not written to
        sampler=SliceSampler(slice_len=24),  # trajectories are told apart by ("collector", "traj_ids") and done
        batch_size=32 * 24,
        generator=torch.Generator().manual_seed(0),
    )
    imitator = Imitator()
    optimizer = torch.optim.Adam(imitator.parameters(), lr=3e-3)
    for update in range(updates):
        slices = buffer.sample().reshape(32, 24)
        hidden = torch.zeros(32, CELLS)
        losses = []
        for step in range(24):
            logits, hidden = imitator(slices["observation"][:, step], hidden)
            target = slices["best"][:, step].argmax(-1)
            losses.append(nn.functional.cross_entropy(logits, target))
        loss = torch.stack(losses[4:]).mean()  # a slice starts anywhere: velocities show after some steps
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        optimizer.step()
        if update % 100 == 99:
            print(f"update {update + 1:4d}: loss {loss.item():.3f}")

    def act(observation: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        logits, following = imitator(observation, hidden)
        return nn.functional.one_hot(logits.argmax(-1), 2), following

    recurrent = TensorDictModule(act, in_keys=["observation", "hidden"], out_keys=["action", ("next", "hidden")])
    test_env = TransformedEnv(
        GymEnv("CartPole-v1", num_envs=num_envs),
        [InitTracker(), TensorDictPrimer(hidden=Unbounded(CELLS)), RewardSum()],
    )
    test_env.set_seed(1)
    with torch.no_grad():
        test = test_env.rollout(500, recurrent, break_when_any_done=False)
    returns = test["next", "episode_reward"][test["next", "done"]]
    return float(returns.mean()) if len(returns) else 500.0


if __name__ == "__main__":
    print(f"recurrent policy: {main():.1f}")
