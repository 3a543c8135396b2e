"""Which backend runs environments when none is asked for."""

import multiprocessing
import sys
from typing import Literal

from rl_envs.parallel._split import available_cores
from rl_envs.parallel._worker import is_worker_process

FEWEST_ENVS = 16
_SLOW_KINDS = ("gymnasium.envs.mujoco.", "gymnasium.envs.box2d.", "ale_py.")


def default_backend(name: str, num_envs: int | None, *, is_rendered: bool) -> Literal["serial", "process"]:
    """The faster one of two backends that give the same data, so that a seeded run does not depend on the machine.

    Worker processes cost about 100 us a step, against the time in which the environments are stepped one after the
    other: 30 to 100 us each for MuJoCo, more for Box2D and Atari, a few for classic control. They pay for `FEWEST_ENVS`
    or more of the slow kinds on two cores or more. Environments of other packages run in this process, as it is not
    known how slow they are and what they hold on to; so do those that render, and those of a process that is a
    worker itself.

    Args:
        name: id of the environment.
        num_envs: how many; None: one.
        is_rendered: whether frames are made.
    """
    import gymnasium

    spec = gymnasium.registry.get(name)
    entry_point = spec.entry_point if spec is not None else None
    is_slow = isinstance(entry_point, str) and entry_point.startswith(_SLOW_KINDS)
    if not is_slow or is_rendered or num_envs is None or num_envs < FEWEST_ENVS:
        return "serial"
    if available_cores() < 2 or sys.platform == "win32":
        return "serial"
    is_inside = multiprocessing.parent_process() is not None or is_worker_process()
    return "serial" if is_inside else "process"
