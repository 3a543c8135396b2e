"""Frames of videos and of compressed images."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rl_buffers.datasets._extras import require
from rl_specs import SpecError, message


def decoded_image(data: bytes, component: str) -> np.ndarray[Any, Any]:
    """The image, uint8 `[H, W, 3]`, in the bytes of a file such as a PNG."""
    av = require("av", component=component, extra="video")
    with av.open(io.BytesIO(data)) as container:
        frame = next(container.decode(video=0))
        array: np.ndarray[Any, Any] = frame.to_ndarray(format="rgb24")
        return array


class VideoFrames:
    """The frames of some videos, one video after the other, without a look ahead.

    Args:
        paths: the files, in order.
        component: who reads, for messages.
    """

    def __init__(self, paths: Sequence[Path], component: str) -> None:
        self._component = component
        self._frames = self._decoded(paths)

    def take(self, count: int) -> np.ndarray[Any, Any]:
        """The next frames, uint8 `[count, H, W, 3]`.

        Raises:
            SpecError: there are not that many.
        """
        frames = [frame for _, frame in zip(range(count), self._frames, strict=False)]
        if len(frames) < count:
            problem = "the videos end before the rows do"
            raise SpecError(message(self._component, problem, fix="Fetch the whole data set, or leave videos out"))
        return np.stack(frames)

    def close(self) -> None:
        """Close the video that is open."""
        self._frames.close()

    def _decoded(self, paths: Sequence[Path]) -> Any:
        av = require("av", component=self._component, extra="video")

        def frames() -> Iterator[np.ndarray[Any, Any]]:
            for path in paths:
                with av.open(str(path)) as container:
                    for frame in container.decode(video=0):
                        yield frame.to_ndarray(format="rgb24")

        return frames()
