"""Updates of target parameters towards the parameters that train."""

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

from rl_objectives.common import LossModule
from rl_specs import message


class TargetUpdate(ABC):
    """Pairs each `target_<name>_params` of a loss with its `<name>_params`; subclasses say how the targets move.

    Raises:
        ValueError: the loss has no target parameters.
    """

    def __init__(self, loss_module: LossModule) -> None:
        self._loss = loss_module
        children = dict(loss_module.named_children())
        self._names = [name for name in children if name.startswith("target_") and name.endswith("_params")]
        if not self._names:
            fix = "Build it with target networks, for example ReinforceLoss(..., delay_value=True)"
            raise ValueError(
                message(type(self).__name__, f"{type(loss_module).__name__} has no target parameters", fix=fix)
            )

    def init_(self) -> None:
        """Set the targets to the parameters that train."""
        with torch.no_grad():
            for target, source in self._pairs():
                target.copy_(source)

    def step(self) -> None:
        """Move the targets once; call it after the optimizer's step."""
        with torch.no_grad():
            self._step(self._pairs())

    @abstractmethod
    def _step(self, pairs: list[tuple[Tensor, Tensor]]) -> None: ...

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        pairs: list[tuple[Tensor, Tensor]] = []
        for name in self._names:
            source = getattr(self._loss, name.removeprefix("target_"))
            for key, target in getattr(self._loss, name).items(True, True):
                pairs.append((target.data, source.get(key).data))
        return pairs


@final
class SoftUpdate(TargetUpdate):
    """Exponential average, `target <- (1 - tau) * target + tau * source`; integer buffers are copied.

    Args:
        loss_module: a loss with target parameters.
        eps: share of the target that is kept, `1 - tau`.
        tau: share of the source that is taken in.
    Raises:
        ValueError: not exactly one of `eps` and `tau` was given, it is outside [0, 1], or the loss has no targets.
    Source: Lillicrap et al. 2015, https://arxiv.org/abs/1509.02971
    """

    def __init__(self, loss_module: LossModule, *, eps: float | None = None, tau: float | None = None) -> None:
        super().__init__(loss_module)
        if (eps is None) == (tau is None):
            raise ValueError(message("SoftUpdate", "give either eps or tau", found=f"eps={eps}, tau={tau}"))
        self.tau = float(tau) if tau is not None else 1.0 - float(eps or 0.0)
        if not 0.0 <= self.tau <= 1.0:
            raise ValueError(
                message("SoftUpdate", "out of range", expected="a number in [0, 1]", found=f"eps={eps}, tau={tau}")
            )

    def _step(self, pairs: list[tuple[Tensor, Tensor]]) -> None:
        moving = [(target, source) for target, source in pairs if target.is_floating_point()]
        if moving:
            torch._foreach_lerp_([target for target, _ in moving], [source for _, source in moving], self.tau)
        for target, source in pairs:
            if not target.is_floating_point():
                target.copy_(source)


@final
class HardUpdate(TargetUpdate):
    """Copies the source at every `value_network_update_interval`-th step.

    Args:
        loss_module: a loss with target parameters.
        value_network_update_interval: steps from one copy to the next, at least 1.
    Raises:
        ValueError: an interval below 1, or the loss has no targets.
    Source: Mnih et al. 2015, https://doi.org/10.1038/nature14236
    """

    def __init__(self, loss_module: LossModule, *, value_network_update_interval: int = 1000) -> None:
        super().__init__(loss_module)
        if value_network_update_interval < 1:
            found = value_network_update_interval
            raise ValueError(message("HardUpdate", "interval out of range", expected="at least 1", found=found))
        self.value_network_update_interval = int(value_network_update_interval)
        self.counter = 0

    def _step(self, pairs: list[tuple[Tensor, Tensor]]) -> None:
        self.counter += 1
        if self.counter == self.value_network_update_interval:
            self.counter = 0
            for target, source in pairs:
                target.copy_(source)
