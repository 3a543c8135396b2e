"""Which transform reads and writes what."""

import io
from collections.abc import Callable
from typing import Any

import pytest

from rl_envs import (
    CatTensors,
    ClipTransform,
    Compose,
    DoubleToFloat,
    ExcludeTransform,
    InitTracker,
    RenameTransform,
    RewardSum,
    StepCounter,
    TransformedEnv,
    VecNorm,
)

MakeEnv = Callable[..., Any]


def _rows(env: TransformedEnv) -> dict[str, list[list[str]]]:
    """Cells by entry, from both tables."""
    file = io.StringIO()
    env.explain(file)
    found: dict[str, list[list[str]]] = {}
    for line in file.getvalue().splitlines():
        cells = [cell for cell in line.strip().split("  ") if cell]
        if len(cells) == 6:
            found.setdefault(cells[0], []).append([cell.strip() for cell in cells[1:]])
    return found


def test_who_reads_and_writes_what(toy: MakeEnv) -> None:
    """Each entry has its kind, its form for the user, all who write it in order, who read it, and who remove it."""
    env = TransformedEnv(
        toy((2,)),
        [
            VecNorm(in_keys=["observation"]),
            CatTensors(["observation", ("agents", "x")], "vector"),
            Compose(RewardSum(), StepCounter(max_steps=5)),
            InitTracker(),
            ExcludeTransform("pixels"),
        ],
    )
    rows = _rows(env)
    norm, cat, total, count, init, drop = (
        "0 VecNorm",
        "1 CatTensors",
        "2 RewardSum",
        "3 StepCounter",
        "4 InitTracker",
        "5 ExcludeTransform",
    )
    observation, x = rows['"observation"'][0], rows['("agents", "x")'][0]
    assert observation == ["observation", "float64 [2, 3]", f"ToyEnv, {norm}", f"{norm}, {cat}", cat]
    assert x == ["observation", "float32 [2, 2]", "ToyEnv", cat, cat]
    assert rows['"vector"'][0] == ["observation", "float64 [2, 5]", cat, "-", "-"]
    assert rows['"reward"'][0] == ["reward", "float32 [2, 1]", "ToyEnv", total, "-"]
    assert rows['"episode_reward"'][0] == ["observation", "float32 [2, 1]", total, total, "-"]
    assert rows['"step_count"'][0] == ["observation", "int64 [2, 1]", count, count, "-"]
    assert rows['"truncated"'][0] == ["done", "bool [2, 1]", f"ToyEnv, {count}", count, "-"]
    assert rows['"terminated"'][0] == ["done", "bool [2, 1]", "ToyEnv", "-", "-"]
    assert rows['"is_init"'][0] == ["observation", "bool [2, 1]", init, "-", "-"]
    assert rows['"pixels"'][0] == ["observation", "uint8 [2, 4, 5, 3]", "ToyEnv", "-", drop]
    assert rows['"action"'][0] == ["action", "float64 [2, 2]", "caller", "ToyEnv", "-"]


def test_on_the_way_in(toy: MakeEnv) -> None:
    """An action goes from the caller through the inverses, the last transform first."""
    env = TransformedEnv(
        toy(),
        [
            DoubleToFloat(in_keys_inv=["action"]),
            RenameTransform([], [], in_keys_inv=["action"], out_keys_inv=["torque"]),
        ],
    )
    rows = _rows(env)
    assert rows['"torque"'][0] == ["action", "float32 [2]", "caller", "1 RenameTransform", "1 RenameTransform"]
    inner = rows['"action"'][0]
    assert inner == ["action", "float32 [2]", "1 RenameTransform, 0 DoubleToFloat", "0 DoubleToFloat, ToyEnv", "-"]


def test_it_prints_and_lists_the_transforms(toy: MakeEnv, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a file it prints, transforms by number first; without transforms the table is that of the environment."""
    env = TransformedEnv(toy(), [StepCounter(), ClipTransform(in_keys=["observation"], low=0)])
    env.explain()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "ToyEnv with 2 transforms",
        "  0  StepCounter(keys=[])",
        "  1  ClipTransform(low=0.0, high=None, keys=['observation'])",
        "Out of the environment:",
    ]
    env = TransformedEnv(toy())
    env.explain()
    text = capsys.readouterr().out
    assert text.startswith("ToyEnv with 0 transforms\nOut of the environment:\n")
    assert all(line == line.rstrip() for line in text.splitlines())


def test_it_follows_changes(toy: MakeEnv) -> None:
    """After a transform is removed, and after a spec of the base env is set, the table is that of the new env."""
    env = TransformedEnv(toy(), [StepCounter()])
    assert '"step_count"' in _rows(env)
    env.remove_transform(0)
    assert '"step_count"' not in _rows(env)
    base = env.base_env
    base.observation_spec = base.observation_spec.exclude("pixels")
    assert '"pixels"' not in _rows(env)
