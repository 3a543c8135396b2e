"""Earlier names."""

import torch

import rl_specs


def test_earlier_names_are_the_classes_themselves() -> None:
    """A program with the earlier names gets the same classes."""
    assert rl_specs.BoundedTensorSpec is rl_specs.Bounded
    assert rl_specs.CompositeSpec is rl_specs.Composite
    assert rl_specs.UnboundedContinuousTensorSpec is rl_specs.Unbounded
    assert rl_specs.DiscreteTensorSpec is rl_specs.Categorical
    assert rl_specs.OneHotDiscreteTensorSpec is rl_specs.OneHot
    assert rl_specs.MultiDiscreteTensorSpec is rl_specs.MultiCategorical
    assert rl_specs.MultiOneHotDiscreteTensorSpec is rl_specs.MultiOneHot
    assert rl_specs.BinaryDiscreteTensorSpec is rl_specs.Binary
    assert rl_specs.NonTensorSpec is rl_specs.NonTensor
    assert rl_specs.LazyStackedTensorSpec is rl_specs.Stacked
    assert rl_specs.LazyStackedCompositeSpec is rl_specs.StackedComposite
    assert rl_specs.BoundedTensorSpec(-torch.ones(3), torch.ones(3)).shape == (3,)
