"""Small networks and batches that the tests share."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import (
    NormalParamExtractor,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
)
from torch import nn
from torch.distributions import Independent, Normal

OBSERVATION, ACTION = 3, 2


def independent_normal(loc: torch.Tensor, scale: torch.Tensor) -> Any:
    """Normal over vectors."""
    return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


def build_actor(trunk: nn.Module | None = None, distribution: Any = independent_normal) -> Any:
    """Policy over 3 observations and 2 actions, on top of `trunk`."""
    head = nn.Linear(8 if trunk else OBSERVATION, 2 * ACTION)
    net = nn.Sequential(*([trunk] if trunk else []), head, NormalParamExtractor())
    return ProbabilisticTensorDictSequential(
        TensorDictModule(net, ["observation"], ["loc", "scale"]),
        ProbabilisticTensorDictModule(
            ["loc", "scale"],
            ["action"],
            distribution_class=distribution,
            return_log_prob=True,
            log_prob_key="sample_log_prob",
        ),
    )


def build_critic(trunk: nn.Module | None = None) -> Any:
    """Value operator over 3 observations, on top of `trunk`."""
    head = nn.Linear(8 if trunk else OBSERVATION, 1)
    return TensorDictModule(nn.Sequential(*([trunk] if trunk else []), head), ["observation"], ["state_value"])


def build_batch(actor: Any, *shape: int, estimates: bool = True) -> TensorDict:
    """Batch of consistent trajectories, with `advantage`, `value_target` and `state_value` if wanted."""
    observations = torch.randn(*shape[:-1], shape[-1] + 1, OBSERVATION)
    terminated = torch.rand(*shape, 1) < 0.1
    done = terminated | (torch.rand(*shape, 1) < 0.1)
    next_observation = torch.where(done, torch.randn(*shape, OBSERVATION), observations[..., 1:, :])
    data = TensorDict(
        {
            "observation": observations[..., :-1, :],
            "next": {
                "observation": next_observation,
                "reward": torch.randn(*shape, 1),
                "done": done,
                "terminated": terminated,
            },
        },
        shape,
    )
    with torch.no_grad():
        actor(data)
    if estimates:
        for key in ("advantage", "value_target", "state_value"):
            data[key] = torch.randn(*shape, 1)
        data["sample_log_prob"] = data["sample_log_prob"] + 0.3 * torch.randn(shape)
    return data


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def make_actor() -> Callable[..., Any]:
    """Builder of policies."""
    return build_actor


@pytest.fixture
def make_critic() -> Callable[..., Any]:
    """Builder of critics."""
    return build_critic


@pytest.fixture
def make_batch() -> Callable[..., TensorDict]:
    """Builder of batches."""
    return build_batch
