"""How large values of spaces without a bound of their own may get, which fixes the shapes of their tensors."""

from dataclasses import dataclass

from rl_specs import SpecError, message


@dataclass(frozen=True)
class SpaceLimits:
    """Largest values of `Sequence` and `Graph` spaces; None: not said, and an error where it is needed.

    Args:
        max_sequence_length: elements of a `Sequence`.
        max_graph_nodes: nodes of a `Graph`.
        max_graph_edges: edges of a `Graph`.
    Raises:
        ValueError: a limit that is no integer of 1 or more.
    """

    max_sequence_length: int | None = None
    max_graph_nodes: int | None = None
    max_graph_edges: int | None = None

    def __post_init__(self) -> None:
        for name, limit in vars(self).items():
            if limit is not None and (not isinstance(limit, int) or limit < 1):
                raise ValueError(message("Gymnasium spaces", name, expected="an integer >= 1", found=limit))

    def sequence_length(self, space: object) -> int:
        """Elements of a `Sequence`.

        Raises:
            SpecError: not said.
        """
        return _said(self.max_sequence_length, "max_sequence_length", space)

    def graph_nodes(self, space: object) -> int:
        """Nodes of a `Graph`.

        Raises:
            SpecError: not said.
        """
        return _said(self.max_graph_nodes, "max_graph_nodes", space)

    def graph_edges(self, space: object) -> int:
        """Edges of a `Graph`.

        Raises:
            SpecError: not said.
        """
        return _said(self.max_graph_edges, "max_graph_edges", space)


NO_LIMITS = SpaceLimits()
"""Nothing is said."""


def _said(limit: int | None, name: str, space: object) -> int:
    if limit is None:
        problem = f"a space that does not say how large its values get: {space}"
        fix = f"Pass {name}=... to GymEnv, GymWrapper or spec_from_space; smaller values are padded to it"
        raise SpecError(message("Gymnasium spaces", problem, fix=fix))
    return limit


def too_large(space: object, what: str, *, name: str, limit: int, found: int) -> ValueError:
    """Error for a value of `space` that is larger than the limit `name`."""
    fix = f"Pass a larger {name}=..."
    return ValueError(
        message(str(space), f"a value with more {what} than {name}", expected=limit, found=found, fix=fix)
    )
