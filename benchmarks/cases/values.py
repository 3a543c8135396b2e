"""GAE, TD(lambda) and V-trace on random trajectories, float32 `[B, T, 1]`; prints microseconds a call as JSON.

The numpy contender is the loop over time that people write by hand, on the same arrays. A form that would need more
memory than the limit below, or that the library does not have, is left out of the values.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

SHAPES = ((1, 2048), (8, 256), (64, 1000), (4096, 24), (32, 10_000), (16_384, 32))
ESTIMATES = ("GAE", "TD(lambda)", "V-trace")
GAMMA, LMBDA = 0.99, 0.95
LARGEST_SQUARE = 250_000_000
"""Elements of a `[B, T, T]` tensor beyond which a form that builds one is left out."""

Call = Callable[[], Any]


def make_data(rows: int, steps: int) -> dict[str, torch.Tensor]:
    """Trajectories with an end every hundred steps or so, half of them truncations."""
    generator = torch.Generator().manual_seed(0)
    shape = (rows, steps, 1)
    floats = {
        name: torch.randn(shape, generator=generator)
        for name in ("state_value", "next_state_value", "reward", "log_pi", "log_mu")
    }
    terminated = torch.rand(shape, generator=generator) < 0.005
    truncated = torch.rand(shape, generator=generator) < 0.005
    return {**floats, "done": terminated | truncated, "terminated": terminated}


def tensor_calls(functional: Any, prefix: str, data: dict[str, torch.Tensor]) -> dict[str, Call]:
    """The three estimates by functions of one module, whose names begin with `prefix`."""
    value = data["state_value"]
    tail = (data["next_state_value"], data["reward"], data["done"], data["terminated"])
    gae, td_lambda, vtrace = (
        vars(functional).get(prefix + name)
        for name in ("generalized_advantage_estimate", "td_lambda_return_estimate", "vtrace_advantage_estimate")
    )
    calls: dict[str, Call] = {}
    if gae is not None:
        calls["GAE"] = lambda: gae(GAMMA, LMBDA, value, *tail)
    if td_lambda is not None:
        calls["TD(lambda)"] = lambda: td_lambda(GAMMA, LMBDA, *tail)
    if vtrace is not None:
        calls["V-trace"] = lambda: vtrace(GAMMA, data["log_pi"], data["log_mu"], value, *tail)
    return calls


def numpy_calls(data: dict[str, torch.Tensor]) -> dict[str, Call]:
    """The three estimates as loops over time, vectorised over rows."""
    arrays = {key: tensor.squeeze(-1).numpy() for key, tensor in data.items()}
    value, next_value, reward = arrays["state_value"], arrays["next_state_value"], arrays["reward"]
    steps = reward.shape[1]

    def masks() -> tuple[Any, Any]:
        return 1.0 - arrays["terminated"].astype(np.float32), 1.0 - arrays["done"].astype(np.float32)

    def gae() -> tuple[Any, Any]:
        alive, linked = masks()
        out, following = np.empty_like(reward), np.float32(0)
        for t in range(steps - 1, -1, -1):
            delta = reward[:, t] + GAMMA * alive[:, t] * next_value[:, t] - value[:, t]
            following = delta + GAMMA * LMBDA * linked[:, t] * following
            out[:, t] = following
        return out, out + value

    def td_lambda() -> Any:
        alive, linked = masks()
        out, following = np.empty_like(reward), next_value[:, -1] * alive[:, -1]
        for t in range(steps - 1, -1, -1):
            bootstrap = alive[:, t] * next_value[:, t]
            mixed = (1 - LMBDA) * bootstrap + LMBDA * following
            following = reward[:, t] + GAMMA * (linked[:, t] * mixed + (1 - linked[:, t]) * bootstrap)
            out[:, t] = following
        return out

    def vtrace() -> tuple[Any, Any]:
        alive, linked = masks()
        weight = np.minimum(1.0, np.exp(arrays["log_pi"] - arrays["log_mu"]))
        target, advantage = np.empty_like(reward), np.empty_like(reward)
        following, correction = next_value[:, -1], np.zeros_like(reward[:, 0])
        for t in range(steps - 1, -1, -1):
            bootstrap = alive[:, t] * next_value[:, t]
            delta = weight[:, t] * (reward[:, t] + GAMMA * bootstrap - value[:, t])
            correction = delta + GAMMA * weight[:, t] * linked[:, t] * correction
            after = linked[:, t] * alive[:, t] * following + (1 - linked[:, t]) * bootstrap
            advantage[:, t] = weight[:, t] * (reward[:, t] + GAMMA * after - value[:, t])
            following = target[:, t] = value[:, t] + correction
        return advantage, target

    return {"GAE": gae, "TD(lambda)": td_lambda, "V-trace": vtrace}


def make_calls(library: str, data: dict[str, torch.Tensor]) -> dict[str, Call]:
    """What `library` can do with `data`."""
    rows, steps = data["reward"].shape[:2]
    if library == "numpy":
        return numpy_calls(data)
    if library == "rl-suite":
        import rl_objectives.functional

        return tensor_calls(rl_objectives.functional, "", data)
    import torchrl.objectives.value.functional

    if library == "torchrl-loop":
        return tensor_calls(torchrl.objectives.value.functional, "", data)
    calls = tensor_calls(torchrl.objectives.value.functional, "vec_", data)
    if rows * steps * steps > LARGEST_SQUARE:
        calls.pop("TD(lambda)", None)
    return calls


def microseconds(call: Call, seconds: float) -> float:
    """Median time of one call, over as many as fit into `seconds`, three at the least."""
    call()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < until:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


def main() -> None:
    """Time the estimates and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=["rl-suite", "torchrl-vectorised", "torchrl-loop", "numpy"], required=True)
    parser.add_argument("--seconds", type=float, default=0.5, help="time given to each estimate at each shape")
    parser.add_argument("--estimate", choices=ESTIMATES, action="append", help="default: all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    values: dict[str, float] = {}
    for rows, steps in SHAPES:
        calls = make_calls(args.library, make_data(rows, steps))
        for name in args.estimate or ESTIMATES:
            if name in calls:
                values[f"{name} [{rows}, {steps}]"] = round(microseconds(calls[name], args.seconds), 1)
    print(json.dumps({"values": values, "unit": "us"}))


if __name__ == "__main__":
    main()
