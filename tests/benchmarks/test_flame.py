"""Flame graphs are drawn from the stacks under one function."""

from xml.etree import ElementTree

import pytest
from _flame import draw, hottest, read

STACKS = [
    "main (a.py:1);loop (a.py:2);step (rl_envs/x.py:3);linear (torch/nn.py:4) 6",
    "main (a.py:1);loop (a.py:2);step (rl_envs/x.py:3) 3",
    "main (a.py:1);loop (a.py:2);<lambda> (gymnasium/y.py:5) 1",
    "main (a.py:1);loop (a.py:2);f (<frozen importlib._bootstrap>:1) 5",
    "main (a.py:1);import (b.py:1) 90",
]
SVG = "{http://www.w3.org/2000/svg}"


def test_only_stacks_through_the_loop_count() -> None:
    """Start-up and imports are left out; a box counts itself and what it called."""
    root = read(STACKS, "loop")
    step = root.below["step (rl_envs/x.py:3)"]
    assert (root.samples, step.samples, step.own) == (10, 9, 3)


def test_hottest_are_counted_by_their_own_time() -> None:
    """Functions are ranked by the share of samples in themselves."""
    assert hottest(read(STACKS, "loop"), 2) == [("linear (torch/nn.py:4)", 0.6), ("step (rl_envs/x.py:3)", 0.3)]


def test_boxes_lie_under_their_callers() -> None:
    """The SVG is well-formed, widths are shares, names are escaped, and a box lies within its caller."""
    image = ElementTree.fromstring(draw(read(STACKS, "loop"), "title <1>"))
    groups = {group.findtext(f"{SVG}title"): group.find(f"{SVG}rect") for group in image.iter(f"{SVG}g")}
    assert set(groups) == {
        "loop: 100.0 %",
        "step (rl_envs/x.py:3): 90.0 %",
        "linear (torch/nn.py:4): 60.0 %",
        "<lambda> (gymnasium/y.py:5): 10.0 %",
    }
    left = {str(name).split(":")[0]: float(box.attrib["x"]) for name, box in groups.items() if box is not None}
    width = {str(name).split(":")[0]: float(box.attrib["width"]) for name, box in groups.items() if box is not None}
    assert width == {
        "loop": 1200.0,
        "step (rl_envs/x.py": 1080.0,
        "linear (torch/nn.py": 720.0,
        "<lambda> (gymnasium/y.py": 120.0,
    }
    assert left["<lambda> (gymnasium/y.py"] == 1080.0
    assert left["linear (torch/nn.py"] == left["step (rl_envs/x.py"] == 0.0


def test_no_samples_is_an_error() -> None:
    """A profile that never reached the loop says so."""
    with pytest.raises(ValueError, match="no sample passes through 'learn'"):
        read(STACKS, "learn")
