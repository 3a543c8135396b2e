"""`compile_loss`: inductor gives what the loss itself gives."""

from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import AddStateIndependentNormalScale, TensorDictModule
from torch import nn

from rl_modules import ProbabilisticActor, TanhNormal, ValueOperator
from rl_objectives import ClipPPOLoss, compile_loss

OBSERVATIONS, ACTIONS, ROWS = 3, 2, 24


def build_loss() -> ClipPPOLoss:
    """Clipped PPO of a tanh-normal policy."""
    head = nn.Sequential(nn.Linear(OBSERVATIONS, ACTIONS), AddStateIndependentNormalScale(ACTIONS))
    keys = ["loc", "scale"]
    actor = ProbabilisticActor(
        TensorDictModule(head, ["observation"], keys), keys, distribution_class=TanhNormal, return_log_prob=True
    )
    critic = ValueOperator(nn.Linear(OBSERVATIONS, 1), in_keys=["observation"])
    return ClipPPOLoss(actor, critic, normalize_advantage=True)


def build_batch() -> TensorDict:
    """Made-up rows."""
    entries = {"action": torch.rand(ROWS, ACTIONS) - 0.5, "sample_log_prob": torch.randn(ROWS)}
    entries |= {key: torch.randn(ROWS, 1) for key in ("advantage", "value_target", "state_value")}
    return TensorDict({"observation": torch.randn(ROWS, OBSERVATIONS), **entries}, [ROWS])


def outputs_and_gradients(loss: ClipPPOLoss, call: Any, batch: TensorDict) -> tuple[Any, ...]:
    """What `call`, which stands for `loss`, writes at `batch`, and the gradients."""
    torch.manual_seed(1)
    loss.zero_grad(set_to_none=True)
    out = call(batch)
    (out["loss_objective"] + out["loss_critic"] + out["loss_entropy"]).backward()
    return dict(out.items()), [parameter.grad for parameter in loss.parameters()]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's compiler uses it itself
@pytest.mark.slow
def test_draws_losses_and_gradients_are_those_of_the_loss() -> None:
    """Sampled entropy included, also for a smaller last minibatch and for coefficients changed in between."""
    torch.manual_seed(0)
    torch.compiler.reset()
    loss, batch = build_loss(), build_batch()
    compute = compile_loss(loss)
    for rows, coefficient in ((ROWS, 0.01), (ROWS - 5, 0.01), (ROWS, 0.5)):
        loss.entropy_coeff = coefficient  # type: ignore[assignment]  # a number is written into the buffer
        found = outputs_and_gradients(loss, compute, batch[:rows])
        torch.testing.assert_close(found, outputs_and_gradients(loss, loss, batch[:rows]))


@pytest.mark.parametrize(("device", "is_for_cpu"), [("cpu", True), ("meta", False)])
def test_the_options_for_a_cpu_are_for_a_cpu(monkeypatch: pytest.MonkeyPatch, device: str, is_for_cpu: bool) -> None:
    """Elsewhere inductor keeps its own random numbers, which an accelerator computes inside of its kernels."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(torch, "compile", lambda loss, **arguments: given.update(arguments))
    compile_loss(build_loss().to(device))
    assert given["fullgraph"]
    assert (given["options"] is not None) == is_for_cpu
