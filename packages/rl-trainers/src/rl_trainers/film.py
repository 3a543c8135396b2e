"""Worker of `rl_trainers.video`: `python -m rl_trainers.film RUN OUTPUT`. Exit code 2: trying again is of no use."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import gymnasium
import torch

from rl_envs import ExplorationType, GymWrapper, set_exploration_type
from rl_trainers import build
from rl_trainers.run_folder import open_run_folder
from rl_trainers.train import Training

FRAMES_PER_S = 30


def _writer(path: Path, rate: int) -> Any:
    """A writer of MP4 whose `append_data` takes a picture; imageio's types leave that method out."""
    import imageio

    return imageio.get_writer(path, fps=rate, macro_block_size=1)


def film(run_path: Path, output: Path, max_steps: int = 10_000) -> int:
    """Record one episode under the most likely actions.

    Args:
        run_path: a run's folder.
        output: the film, written whole or not at all.
        max_steps: the film ends here at the latest.
    Returns:
        Number of pictures.
    """
    run = open_run_folder(run_path)
    training = Training(run.config(), run, resume=True)
    config = training.config
    simulator: Any = gymnasium.make(config.env.name, render_mode="rgb_array", **config.env.options)
    normalizer = training.ppo.normalizer
    frozen = None if normalizer is None else normalizer.frozen_copy()
    env = build.add_transforms(GymWrapper(simulator, frame_skip=config.env.frame_skip), config.env, frozen)
    env.eval()
    env.set_seed(config.seed + 2**31)
    rate = int(simulator.metadata.get("render_fps") or FRAMES_PER_S)
    partial = output.with_name(f"{output.stem}.partial{output.suffix}")
    pictures = 0
    with (
        torch.no_grad(),
        set_exploration_type(ExplorationType.DETERMINISTIC),
        _writer(partial, rate) as writer,
    ):
        data = env.reset()
        for _ in range(max_steps):
            writer.append_data(simulator.render())
            pictures += 1
            stepped, data = env.step_and_maybe_reset(training.ppo.actor(data))
            if bool(stepped["next", "done"].any()):
                break
    env.close()
    training.ppo.close()
    partial.replace(output)
    return pictures


def main(arguments: list[str]) -> int:
    """Entry point of the worker."""
    missing = [name for name in ("imageio", "imageio_ffmpeg") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"{' and '.join(missing)} not installed: pip install rl-trainers[video]", file=sys.stderr)
        return 2
    run_path, output = (Path(argument) for argument in arguments)
    if build.is_native(open_run_folder(run_path).config().env):
        print("the native PendulumEnv draws no picture; train env.name=Pendulum-v1 for a film", file=sys.stderr)
        return 2
    print(f"{film(run_path, output)} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
