"""What is simulated: the model, and which of MuJoCo's quantities are read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl_specs import message

AFTER_THE_STEP = frozenset({"cacc", "cfrc_ext", "cfrc_int"})
"""Fields that `mj_rnePostConstraint` computes, which a step does not call."""


@dataclass(frozen=True)
class Simulation:
    """What a `MujocoEnv` simulates, and what its functions read.

    Args:
        model: path of an MJCF file, an MJCF string, an `MjSpec` or an `MjModel`.
        frame_skip: physics steps per action.
        reads: fields of `MjData` that the functions see besides `qpos`, `qvel` and `sensordata`, by MuJoCo's names
            (`"xpos"`, `"site_xpos"`, `"act"`, ...). `"cfrc_ext"`, `"cfrc_int"` and `"cacc"` are computed for one env
            after the other, at about 9 µs each; all others come with the step.
        remembers: fields, of these or `qpos` and `qvel`, whose values before the step the reward sees too.
        is_current: compute positions, velocities and the sensors of them once more after the last physics step.
            Otherwise they are, as MuJoCo leaves them, those of its last evaluation before the end of the step;
            `qpos` and `qvel` are always those of the end.
    Raises:
        ValueError: `frame_skip` below 1; `is_current` with one of the fields that are computed one by one.
    """

    model: Any
    frame_skip: int = 1
    reads: tuple[str, ...] = ()
    remembers: tuple[str, ...] = ()
    is_current: bool = False

    def __post_init__(self) -> None:
        """See the class."""
        if self.frame_skip < 1:
            raise ValueError(message("Simulation", "frame_skip too small", expected=">= 1", found=self.frame_skip))
        mixed = sorted(AFTER_THE_STEP.intersection((*self.reads, *self.remembers)))
        if self.is_current and mixed:
            problem, fix = "is_current, and forces of the last evaluation", "Leave out one or the other"
            raise ValueError(message("Simulation", problem, found=mixed, fix=fix))


def load_model(source: Any) -> Any:
    """The `MjModel` of a path, an MJCF string or an `MjSpec`; an `MjModel` as it is.

    Raises:
        ImportError: MuJoCo is missing, or has no batches.
        FileNotFoundError: there is no file at the path.
        TypeError: `source` is none of these.
    """
    import mujoco  # type: ignore[import-untyped]  # ships no types

    if isinstance(source, mujoco.MjModel):
        return source
    if isinstance(source, mujoco.MjSpec):
        return source.compile()
    if isinstance(source, str) and source.lstrip().startswith("<"):
        return mujoco.MjModel.from_xml_string(source)
    if not isinstance(source, str | Path):
        expected, found = "a path, an MJCF string, an MjSpec or an MjModel", type(source).__name__
        raise TypeError(message("MujocoEnv", "a model of another kind", expected=expected, found=found))
    path = Path(source).expanduser()
    if not path.is_file():
        fix = "Pass the path of an MJCF file, or the MJCF itself as a string that starts with <mujoco>"
        raise FileNotFoundError(message("MujocoEnv", "no model file", expected="an existing file", found=path, fix=fix))
    return mujoco.MjModel.from_xml_path(str(path))
