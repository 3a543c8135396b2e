"""Draws under `torch.compile`: the same distribution as in eager mode, new ones in each call."""

import pytest
import torch
from torch import Tensor

from rl_modules import Categorical, IndependentNormal, MaskedCategorical, OneHotCategorical, TanhNormal

COUNT = 4_000
CALLS = 5


def draw(loc: Tensor, scale: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    """One column per kind of distribution, and their summed log-density."""
    normal, tanh = IndependentNormal(loc, scale), TanhNormal(loc, scale, low=-2.0, high=1.0)
    one_hot, index = OneHotCategorical(logits=logits), Categorical(logits=logits)
    masked = MaskedCategorical(logits=logits, mask=mask)
    values = [normal.rsample(), tanh.rsample(), one_hot.sample(), index.sample(), masked.sample()]
    known = normal.log_prob(values[0]) + tanh.log_prob(values[1]) + one_hot.log_prob(values[2])
    columns = [value.to(loc.dtype).reshape(loc.shape[0], -1) for value in values]
    return torch.cat([*columns, known.unsqueeze(-1)], -1)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's compiler uses it itself
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_sampling_has_the_eager_distribution(backend: str) -> None:
    """Mean and deviation of many calls are those of eager mode; rows and calls are independent of each other."""
    torch.manual_seed(0)
    torch.compiler.reset()
    loc, scale = torch.full((COUNT, 1), 0.2), torch.full((COUNT, 1), 0.6)
    logits = torch.tensor([0.0, 1.0, 2.0]).expand(COUNT, 3).contiguous()
    mask = torch.tensor([True, False, True]).expand(COUNT, 3).contiguous()
    compiled = torch.compile(draw, fullgraph=True, backend=backend)
    found = torch.stack([compiled(loc, scale, logits, mask) for _ in range(CALLS)])
    expected = torch.stack([draw(loc, scale, logits, mask) for _ in range(CALLS)])
    torch.testing.assert_close(found.mean((0, 1)), expected.mean((0, 1)), rtol=0.03, atol=0.03)
    torch.testing.assert_close(found.std((0, 1)), expected.std((0, 1)), rtol=0.03, atol=0.03)
    assert set(found[..., -2].flatten().tolist()) == {0.0, 2.0}
    for column in (0, 1, 5):
        first, second = found[0, :, column], found[1, :, column]
        assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.08
        assert abs(torch.corrcoef(torch.stack([first[1:], first[:-1]]))[0, 1]) < 0.08
