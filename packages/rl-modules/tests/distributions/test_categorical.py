"""Distributions over a finite set of actions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import kl_divergence

from rl_modules import Categorical, OneHotCategorical
from rl_specs import MissingKeyError

LOGITS = st.lists(st.floats(-20, 20), min_size=2, max_size=6)


@settings(max_examples=40, deadline=None)
@given(logits=LOGITS)
def test_agrees_with_torch(logits: list[float]) -> None:
    """Log-probabilities and entropy agree with torch's own distribution, as indices and as one-hot vectors."""
    parameter = torch.tensor(logits, dtype=torch.float64)
    reference = TorchCategorical(logits=parameter)
    index = torch.arange(len(logits))
    expected = reference.log_prob(index)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    torch.testing.assert_close(Categorical(parameter).log_prob(index), expected)
    torch.testing.assert_close(OneHotCategorical(parameter).log_prob(torch.eye(len(logits))), expected)
    entropy = reference.entropy()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    torch.testing.assert_close(Categorical(parameter).entropy(), entropy, atol=1e-12, rtol=1e-9)


def test_values_by_hand() -> None:
    """Weights 1, 3 give log-probabilities log 1/4 and log 3/4, and the second action is the mode."""
    dist = OneHotCategorical(probs=torch.tensor([1.0, 3.0]))
    assert dist.log_prob(torch.tensor([True, False])).item() == pytest.approx(math.log(0.25))
    assert dist.log_prob(torch.tensor([0, 1])).item() == pytest.approx(math.log(0.75))
    assert dist.entropy().item() == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    assert dist.mode.tolist() == [0, 1]
    torch.testing.assert_close(dist.mean, torch.tensor([0.25, 0.75]))


def test_mode_of_a_tie_is_one_action() -> None:
    """Among equally likely actions the first is the mode, and a one-hot mode has a single one."""
    assert OneHotCategorical(torch.zeros(2, 3)).mode.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert Categorical(torch.zeros(2, 3)).deterministic_sample.tolist() == [0, 0]


@pytest.mark.parametrize("n_draws", [30_000])
def test_frequencies_pass_a_chi_square_test(n_draws: int) -> None:
    """Draws follow the probabilities: the chi-square statistic over four actions stays below its 0.1 % quantile."""
    torch.manual_seed(0)
    probs = torch.tensor([0.05, 0.15, 0.3, 0.5])
    index = Categorical(probs=probs).sample((n_draws,))
    onehot = OneHotCategorical(probs=probs).sample((n_draws,))
    for counts in (index.bincount(minlength=4), onehot.sum(0)):
        expected = n_draws * probs
        assert (((counts - expected) ** 2) / expected).sum().item() < 16.27


@pytest.mark.parametrize("uniform", [0.0, 1.0 - 2.0**-24])
def test_an_extreme_uniform_draw_does_not_choose_an_impossible_action(
    uniform: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The smallest and the largest number that a uniform draw can give leave zero probabilities at zero."""
    monkeypatch.setattr(torch, "rand_like", lambda like: torch.full_like(like, uniform))
    probs = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert Categorical(probs=probs).sample().tolist() == [1, 2]


def test_samples_are_int64_and_one_hot() -> None:
    """Draws are int64; a one-hot draw has a single one per row; neither carries a gradient."""
    logits = torch.randn(5, 4, requires_grad=True)
    onehot = OneHotCategorical(logits).sample((2,))
    assert (onehot.dtype, onehot.shape) == (torch.int64, (2, 5, 4))
    assert torch.equal(onehot.sum(-1), torch.ones(2, 5, dtype=torch.int64))
    index = Categorical(logits).sample((2,))
    assert (index.dtype, index.shape) == (torch.int64, (2, 5))


def test_divergence_is_that_of_torch() -> None:
    """`kl_divergence` agrees with torch's, and is infinite where the second excludes what the first allows."""
    a, b = torch.randn(3, 4), torch.randn(3, 4)
    expected = kl_divergence(TorchCategorical(logits=a), TorchCategorical(logits=b))
    torch.testing.assert_close(kl_divergence(Categorical(a), Categorical(b)), expected)
    sure, even = OneHotCategorical(probs=torch.tensor([1.0, 0.0])), OneHotCategorical(probs=torch.tensor([0.5, 0.5]))
    assert kl_divergence(sure, even).item() == pytest.approx(math.log(2))
    assert kl_divergence(even, sure).item() == math.inf


def test_expansion_adds_batch_dimensions() -> None:
    """An expanded distribution has the batch shape asked for and the same probabilities."""
    assert Categorical(torch.zeros(3)).expand((4, 2)).sample().shape == (4, 2)
    assert OneHotCategorical(torch.zeros(3)).expand((4,)).sample().shape == (4, 3)


def test_parameters_are_given_once() -> None:
    """No parameter, or both, is an error."""
    with pytest.raises(MissingKeyError, match='"logits" is None'):
        Categorical()
    with pytest.raises(TypeError, match="both logits and probs"):
        OneHotCategorical(torch.zeros(2), torch.ones(2))
