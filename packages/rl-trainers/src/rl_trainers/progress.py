"""The progress bar."""

import math
from collections.abc import Mapping
from typing import Any


class Progress:
    """Frames done, with speed, return and episode length.

    Args:
        total: frames of the whole run.
        initial: frames done before.
        is_shown: whether to show anything.
    """

    def __init__(self, total: int, initial: int = 0, *, is_shown: bool = True) -> None:
        from tqdm import tqdm

        self._bar: Any = tqdm(
            total=total, initial=initial, disable=not is_shown, unit=" frames", unit_scale=True, dynamic_ncols=True
        )
        self._shown: dict[str, str] = {}

    def update(self, frames: int, metrics: Mapping[str, float]) -> None:
        """Move on.

        Args:
            frames: since the last call.
            metrics: of the batch; return and length that are NaN leave the last ones standing.
        """
        for name, key, form in (("return", "episode/return", ".1f"), ("length", "episode/length", ".0f")):
            if not math.isnan(metrics[key]):
                self._shown[name] = format(metrics[key], form)
        self._bar.set_postfix(self._shown, refresh=False)
        self._bar.update(min(frames, max(0, self._bar.total - self._bar.n)))

    def close(self) -> None:
        """Leave the bar as it is and go to the next line."""
        self._bar.close()
