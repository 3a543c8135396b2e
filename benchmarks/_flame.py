"""A flame graph as SVG, drawn from stacks that a sampling profiler counted."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape

WIDTH, ROW, MARGIN, CHARACTER = 1200.0, 17, 30, 6.6
SMALLEST = 0.001  # boxes below this share of the whole are left out
IMPORTING = "<frozen importlib"
COLOURS = {
    "this library": (("rl_",), "#93b7f5"),
    "torch, tensordict": (("torch/", "tensordict/"), "#f5c58b"),
    "simulator": (("gymnasium/", "mujoco/", "ale_py/", "envpool/"), "#a7d9a4"),
}
OTHER = ("other", "#d5d9e0")


@dataclass
class Box:
    """A function under its callers: samples in it and below, and the functions that it called."""

    name: str
    samples: int = 0
    below: dict[str, "Box"] = field(default_factory=dict)

    @property
    def own(self) -> int:
        """Samples in the function itself."""
        return self.samples - sum(box.samples for box in self.below.values())


def read(lines: Iterable[str], start: str) -> Box:
    """Tree of the stacks from a function on; stacks that do not pass through it, and imports, are left out.

    Args:
        lines: `caller (file:line);callee (file:line) count`, as py-spy's raw format has them.
        start: name of the function at the root.
    Raises:
        ValueError: no stack passes through `start`.
    """
    root = Box(start)
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        frames = stack.split(";")
        at = next((index for index, frame in enumerate(frames) if frame.split(" ")[0] == start), None)
        if at is None or IMPORTING in stack:
            continue
        box = root
        box.samples += int(count)
        for frame in frames[at + 1 :]:
            box = box.below.setdefault(frame, Box(frame))
            box.samples += int(count)
    if root.samples == 0:
        raise ValueError(f"flame graph: no sample passes through {start!r}")
    return root


def draw(root: Box, title: str) -> str:
    """The SVG; a box shows its share on hovering."""
    boxes = list(_placed(root, 0.0, 0, WIDTH / root.samples, root.samples * SMALLEST))
    height = (max(depth for _, _, depth, _ in boxes) + 1) * ROW + 2 * MARGIN
    out = [
        '<svg xmlns="http://www.w3.org/2000/svg" font-family="monospace" font-size="11" '
        f'viewBox="0 0 {WIDTH:g} {height}">',
        f'<rect width="100%" height="100%" fill="white"/><text x="4" y="20" font-size="14">{escape(title)}</text>',
    ]
    for index, (kind, colour) in enumerate([*((kind, colour) for kind, (_, colour) in COLOURS.items()), OTHER]):
        x = WIDTH - 560 + 140 * index
        out.append(
            f'<rect x="{x}" y="10" width="12" height="12" fill="{colour}"/><text x="{x + 16}" y="20">{kind}</text>'
        )
    for box, x, depth, width in boxes:
        share = f"{escape(box.name)}: {100 * box.samples / root.samples:.1f} %"
        room = int(width / CHARACTER)
        text = escape(box.name[:room]) if room >= 4 else ""
        y = MARGIN + depth * ROW
        out.append(
            f'<g><title>{share}</title><rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 1}" '
            f'fill="{_colour(box.name)}"/><text x="{x + 2:.1f}" y="{y + 12}">{text}</text></g>'
        )
    return "\n".join([*out, "</svg>"]) + "\n"


def hottest(root: Box, count: int) -> list[tuple[str, float]]:
    """Functions with the most samples of their own, and their shares."""
    own: dict[str, int] = {}
    for box in _walk(root):
        own[box.name] = own.get(box.name, 0) + box.own
    first = sorted(own.items(), key=lambda item: -item[1])[:count]
    return [(name, samples / root.samples) for name, samples in first]


def _walk(box: Box) -> Iterator[Box]:
    yield box
    for below in box.below.values():
        yield from _walk(below)


def _placed(box: Box, x: float, depth: int, scale: float, least: float) -> Iterator[tuple[Box, float, int, float]]:
    """Each box with its left edge, row and width, widest first within a caller."""
    yield box, x, depth, box.samples * scale
    for below in sorted(box.below.values(), key=lambda each: -each.samples):
        if below.samples >= least:
            yield from _placed(below, x, depth + 1, scale, least)
            x += below.samples * scale


def _colour(name: str) -> str:
    place = name.rpartition("(")[2]
    return next((colour for starts, colour in COLOURS.values() if place.startswith(starts)), OTHER[1])
