"""All operators together: their fake forms under tracing with symbolic shapes, and one graph for shapes of any size."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import rl_cuda

SIZE = 7


def doubles(*shape: int) -> Tensor:
    """Random numbers in [0, 1)."""
    return torch.rand(*shape, dtype=torch.float64)


def arguments() -> dict[str, tuple[Any, ...]]:
    """Arguments that each operator takes, tensors of `SIZE` entries or rows among them."""
    tree, index = rl_cuda.new_sum_tree(100), torch.arange(SIZE) * 3
    tree[:100] = doubles(100)
    rl_cuda.tree_rebuild(tree, "sum")
    zero, one, faults = torch.zeros((), dtype=torch.int64), doubles(1)[0], torch.zeros(2, dtype=torch.int64)
    steps, ends = [doubles(SIZE, 40) for _ in range(3)], [doubles(SIZE, 40) < 0.2 for _ in range(2)]
    return {
        "tree_update": (tree.clone(), index, doubles(SIZE), "sum", False),
        "tree_rebuild": (tree.clone(), "sum"),
        "sum_tree_find": (tree, doubles(SIZE)),
        "sum_tree_sample": (tree, doubles(SIZE), one, one, zero),
        "three_trees_update": (tree.clone(), tree.clone(), None, index, doubles(SIZE), doubles(SIZE)),
        "priority_leaves": (index, doubles(SIZE), None, torch.ones(100, dtype=torch.int64), 0.1, 0.6, one, faults),
        "recurrence": (*steps[:2],),
        "gae": (*steps, *ends, 0.9, 0.8),
        "lambda_return": (*steps[:2], *ends, 0.9, 0.8),
        "vtrace": (*steps[:2], *steps, *ends, 0.9, 0.0, 0.5),
    }


def test_every_operator_is_tried(kernels: dict[str, Callable[..., Any]]) -> None:
    """An operator that is added is added here, and to those whose kernels are emulated."""
    names = (str(name).partition("::") for name in torch._C._dispatch_get_all_op_names())
    ours = {name for namespace, _, name in names if namespace == "rl_cuda"}
    assert set(arguments()) == set(kernels) == ours


@pytest.mark.parametrize("name", sorted(arguments()))
def test_traced_with_symbolic_shapes(device: torch.device, name: str) -> None:
    """A trace by fake tensors holds the operator as one call, and gives its results for another number of entries."""
    operator = getattr(torch.ops.rl_cuda, name).default
    given = tuple(x.to(device) if isinstance(x, Tensor) else x for x in arguments()[name])

    def call(*tensors: Tensor) -> Any:
        remaining = iter(tensors)
        return operator(*(next(remaining) if isinstance(x, Tensor) else x for x in given)), tensors

    def tensors(count: int) -> list[Tensor]:
        return [
            x[:count].clone() if isinstance(x, Tensor) and x.ndim and len(x) == SIZE else x.clone()
            for x in given
            if isinstance(x, Tensor)
        ]

    graph = make_fx(call, tracing_mode="symbolic")(*tensors(SIZE))
    assert [node.target for node in graph.graph.nodes if "rl_cuda" in str(node.target)] == [operator]
    for count in (SIZE, 3):
        torch.testing.assert_close(graph(*tensors(count)), call(*tensors(count)), rtol=0, atol=0)


def update_and_draw(tree: Tensor, minima: Tensor, index: Tensor, value: Tensor) -> tuple[Tensor, ...]:
    """New leaves, then as many draws."""
    rl_cuda.sum_tree_update(tree, index, value, check_index=False)
    rl_cuda.min_tree_update(minima, index, value)
    rl_cuda.tree_rebuild(tree, "sum")
    drawn = rl_cuda.sum_tree_sample(tree, value, reference=minima[-1], beta=value[0])
    return *drawn, rl_cuda.sum_tree_find(tree, value * tree[-1])


def estimates(done: Tensor, reward: Tensor, value: Tensor) -> tuple[Tensor, ...]:
    """Everything that scans."""
    steps = (value, value + 1, reward, done)
    return (
        *rl_cuda.generalized_advantage_estimate(0.9, 0.8, *steps),
        rl_cuda.td_lambda_return_estimate(0.9, 0.8, *steps[1:]),
        *rl_cuda.vtrace_advantage_estimate(0.9, reward, value, *steps),
        rl_cuda.reverse_linear_recurrence(reward, value),
    )


def trees_and(count: int) -> tuple[Tensor, ...]:
    """Arguments of `update_and_draw`."""
    return rl_cuda.new_sum_tree(100), rl_cuda.new_min_tree(100), torch.arange(count), doubles(count) + 0.1


def steps_of(count: int) -> tuple[Tensor, ...]:
    """Arguments of `estimates`."""
    return doubles(count, 6, 1) < 0.2, doubles(count, 6, 1), doubles(count, 6, 1)


@pytest.mark.parametrize(("function", "make"), [(update_and_draw, trees_and), (estimates, steps_of)])
def test_one_graph_for_all_sizes(
    device: torch.device, function: Callable[..., Any], make: Callable[[int], tuple[Tensor, ...]]
) -> None:
    """Compiled without a break for shapes of any size, every public function gives what it gives uncompiled."""
    compiled: Any = torch.compile(function, backend="aot_eager", fullgraph=True, dynamic=True)
    for count in (5, 11, 40):
        given = [x.to(device) for x in make(count)]
        expected = function(*(x.clone() for x in given))
        with torch.compiler.set_stance("default" if count == 5 else "fail_on_recompile"):
            found = compiled(*given)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
