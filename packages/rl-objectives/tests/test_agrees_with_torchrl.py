"""Each loss, option by option, against stored outputs and gradients of TorchRL 0.14.1."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from rl_objectives import A2CLoss, ClipPPOLoss, KLPENPPOLoss, PPOLoss, ReinforceLoss

FIXTURES = Path(__file__).parent / "fixtures" / "losses.npz"
OPTIONS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "clip": (ClipPPOLoss, {}),
    "clip_normalized": (ClipPPOLoss, {"normalize_advantage": True}),
    "clip_asymmetric": (ClipPPOLoss, {"clip_epsilon": (0.05, 0.3)}),
    "clip_value": (ClipPPOLoss, {"clip_value": 0.1, "loss_critic_type": "l2"}),
    "clip_value_true": (ClipPPOLoss, {"clip_value": True, "loss_critic_type": "l1"}),
    "clip_sum": (ClipPPOLoss, {"reduction": "sum", "entropy_coeff": 0.3, "critic_coeff": 0.5}),
    "clip_none": (ClipPPOLoss, {"reduction": "none"}),
    "clip_no_entropy": (ClipPPOLoss, {"entropy_bonus": False}),
    "ppo": (PPOLoss, {}),
    "klpen": (KLPENPPOLoss, {"beta": 0.7, "dtarg": 0.001}),
    "klpen_low": (KLPENPPOLoss, {"beta": 0.7, "dtarg": 100.0}),
    "klpen_level": (KLPENPPOLoss, {"beta": 0.7, "dtarg": 1.7}),
    "a2c": (A2CLoss, {}),
    "a2c_l2": (A2CLoss, {"loss_critic_type": "l2", "entropy_coeff": 0.1, "critic_coeff": 0.25}),
    "reinforce": (ReinforceLoss, {}),
    "reinforce_l1": (ReinforceLoss, {"loss_critic_type": "l1"}),
}
# TorchRL reports the divergence per sample, and these two beside what is documented.
REPORTED_OTHERWISE = {"kl": lambda value: value.mean()}
NOT_REPORTED = {"max_ratio", "mean_ratio"}


@pytest.mark.parametrize("name", OPTIONS)
def test_outputs_and_gradients(name: str, make_actor: Callable[..., Any], make_critic: Callable[..., Any]) -> None:
    """Every documented output, and the gradient of the sum of the losses, to 1e-5."""
    stored = {key: torch.from_numpy(value) for key, value in np.load(FIXTURES).items()}

    def under(prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix + "/"): value for key, value in stored.items() if key.startswith(prefix + "/")}

    actor, critic = make_actor(), make_critic()
    actor[0].module.load_state_dict(under("actor"))
    critic.module.load_state_dict({f"0.{key}": value for key, value in under("critic").items()})
    batch = TensorDict(under("batch"), [16])
    cls, options = OPTIONS[name]
    loss = cls(actor, critic, **options)
    found = loss(batch)
    expected = under(name)
    compared = 0
    for key, value in expected.items():
        if key in NOT_REPORTED or key.startswith("gradient") or key == "beta_after":
            continue
        value = REPORTED_OTHERWISE.get(key, lambda v: v)(value)
        torch.testing.assert_close(found[key].detach(), value.reshape(found[key].shape), atol=1e-5, rtol=1e-5)
        compared += 1
    assert compared >= 2
    if "beta_after" in expected:
        torch.testing.assert_close(loss.beta, expected["beta_after"])
    if name in ("klpen", "klpen_low"):
        # TorchRL changes beta in place before the backward pass, whose gradient then has the new weight.
        return
    total = sum(value.sum() for key, value in found.items() if key.startswith("loss_"))
    parameters = [*actor.parameters(), *critic.parameters()]
    for index, gradient in enumerate(torch.autograd.grad(total, parameters)):
        torch.testing.assert_close(gradient, expected[f"gradient_{index}"], atol=1e-5, rtol=1e-5)
