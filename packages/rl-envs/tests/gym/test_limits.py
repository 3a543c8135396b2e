"""Tests of `rl_envs.gym._limits`."""

from typing import Any

import pytest
from gymnasium import spaces

from rl_envs.gym import spec_from_space
from rl_envs.gym._limits import SpaceLimits
from rl_specs import Composite, SpecError


@pytest.mark.parametrize("limit", [0, -1, 2.5, "8"])
def test_limits_are_positive_integers(limit: Any) -> None:
    """Any other limit is an error that names it."""
    with pytest.raises(ValueError, match=r"max_graph_nodes. Expected an integer >= 1"):
        SpaceLimits(max_graph_nodes=limit)


@pytest.mark.parametrize(
    ("space", "given", "name"),
    [
        (spaces.Sequence(spaces.Discrete(2)), {}, "max_sequence_length"),
        (spaces.Graph(spaces.Discrete(2), None), {}, "max_graph_nodes"),
        (spaces.Graph(spaces.Discrete(2), spaces.Discrete(2)), {"max_graph_nodes": 3}, "max_graph_edges"),
    ],
)
def test_a_missing_limit_is_named(space: Any, given: dict[str, Any], name: str) -> None:
    """A space that does not say how large its values get is an error that says which limit to give."""
    with pytest.raises(SpecError, match=f"Pass {name}="):
        spec_from_space(space, **given)


def test_a_graph_without_edge_space_needs_no_limit_of_edges() -> None:
    """Only what a space has needs a limit."""
    spec = spec_from_space(spaces.Graph(spaces.Discrete(2), None), max_graph_nodes=3)
    assert isinstance(spec, Composite)
    assert spec.keys() == ["num_nodes", "nodes"]
