"""A whole run: train, log, save, stop on request, evaluate."""

import dataclasses
import math
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDictBase

from rl_specs import message
from rl_trainers.checkpoint import load_checkpoint, save_checkpoint
from rl_trainers.config import PPOConfig
from rl_trainers.errors import CheckpointError
from rl_trainers.evaluation import Evaluation, evaluate_ppo
from rl_trainers.interrupt import GracefulStop
from rl_trainers.loggers import build_loggers
from rl_trainers.plot import plot_run
from rl_trainers.ppo import PPO
from rl_trainers.progress import Progress
from rl_trainers.random_state import random_state, seed_everything, set_random_state
from rl_trainers.run_folder import RunFolder, write_json


@dataclasses.dataclass
class Counters:
    """How far a run is.

    Attributes:
        frames: frames collected.
        batches: batches collected and learnt from.
        elapsed_s: seconds of training, those before a resume included.
    """

    frames: int = 0
    batches: int = 0
    elapsed_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        is_interrupted: a signal stopped it before `total_frames`.
        frames: frames collected.
        evaluation: the evaluation at the end, if there was one.
    """

    is_interrupted: bool
    frames: int
    evaluation: Evaluation | None


def episode_metrics(data: TensorDictBase) -> dict[str, float]:
    """Return and length of the episodes that ended in a batch; NaN if none did.

    Args:
        data: a batch `[num_envs, T]`.
    """
    done = data["next", "done"]
    returns, lengths = data["next", "episode_reward"][done], data["next", "step_count"][done]
    count = returns.numel()
    return {
        "episode/return": float(returns.mean()) if count else math.nan,
        "episode/length": float(lengths.double().mean()) if count else math.nan,
        "episode/count": count,
    }


class Training:
    """A run that is under way: its parts, counters and folder.

    Args:
        config: the configuration.
        run: the run's folder.
        resume: continue from the folder's checkpoint instead of starting.
    Raises:
        CheckpointError: there is no checkpoint to continue from, or it cannot be used.
    """

    def __init__(self, config: PPOConfig, run: RunFolder, *, resume: bool = False) -> None:
        self.config = config
        self.run = run
        self.counters = Counters()
        self.last_evaluation: Evaluation | None = None
        torch.set_num_threads(config.torch_threads)
        saved = load_checkpoint(run.checkpoint) if resume else None
        seed_everything(config.seed)
        self.ppo = PPO(config)
        if saved is not None:
            self._restore(*saved)
        self._is_resumed = resume
        self._is_saved = True

    def _restore(self, parts: Mapping[str, Any], counters: Mapping[str, Any]) -> None:
        try:
            self.counters = Counters(**counters)
            self.ppo.load_state_dict(parts)
            set_random_state(parts["random"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            self.ppo.close()
            problem = f"{self.run.checkpoint} does not fit {self.run.config_file} ({error})"
            fix = "Restore config.yaml as the run was started, or start another run with rl-train ppo --config"
            raise CheckpointError(message("checkpoint", problem, fix=fix)) from error

    def save(self) -> None:
        """Write the checkpoint.

        Raises:
            CheckpointError: it cannot be written; the one before is intact.
        """
        self._write(self.run.checkpoint)
        self._is_saved = True

    def _write(self, path: Path) -> None:
        parts = {**self.ppo.state_dict(), "random": random_state()}
        save_checkpoint(path, parts, dataclasses.asdict(self.counters))

    def try_save(self) -> None:
        """Write the checkpoint; if that fails, say so and leave it to the next batch to try again."""
        try:
            self.save()
        except CheckpointError as error:
            if self._is_saved:
                print(f"\n{error} Training goes on and saves again after each batch.", file=sys.stderr)
            self._is_saved = False

    def loop(self, stop: GracefulStop) -> None:
        """Train until `total_frames`, or until `stop` is requested."""
        config, counters = self.config, self.counters
        loggers = build_loggers(config, self.run, counters.frames if self._is_resumed else None)
        if not self._is_resumed:
            self.save()
        progress = Progress(config.collector.total_frames, counters.frames, is_shown=config.progress)
        start = time.perf_counter() - counters.elapsed_s
        mark = time.perf_counter()
        try:
            for data in self.ppo:
                collected = time.perf_counter()
                metrics = {**episode_metrics(data), "reward/mean": float(data["next", "reward"].mean())}
                metrics |= self.ppo.update(data)
                counters.frames += data.numel()
                counters.batches += 1
                metrics["evaluation/return"] = self._evaluate_between()
                now = time.perf_counter()
                counters.elapsed_s = now - start
                metrics |= {
                    "time/elapsed_s": counters.elapsed_s,
                    "time/collect_s": collected - mark,
                    "time/update_s": now - collected,
                    "time/frames_per_s": data.numel() / (now - mark),
                }
                loggers.log(counters.frames, metrics)
                progress.update(data.numel(), metrics)
                mark = now
                if counters.batches % config.checkpoint.interval == 0 or not self._is_saved:
                    self.try_save()
                if stop.requested:
                    break
        finally:
            progress.close()
            loggers.close()
        self._save_last()

    def _save_last(self) -> None:
        """Write the checkpoint at the end; where the run's folder has no room for it, in the temporary folder."""
        try:
            self.save()
        except CheckpointError as error:
            elsewhere = Path(tempfile.gettempdir()) / f"{self.run.path.name}-checkpoint"
            self._write(elsewhere)
            raise CheckpointError(
                f"{error} The newest state is saved in {elsewhere}: move it to {self.run.checkpoint}."
            ) from error

    def _evaluate_between(self) -> float:
        interval = self.config.evaluation.interval
        if not interval or self.counters.batches % interval or not self.config.evaluation.episodes:
            return math.nan
        return evaluate_ppo(self.ppo, self.config, self.config.evaluation.episodes).mean

    def finish(self) -> Evaluation | None:
        """Evaluate at the end, and write `evaluation.json`."""
        episodes = self.config.evaluation.episodes
        if not episodes:
            return None
        return evaluate_run(self, episodes)


def evaluate_run(training: Training, episodes: int) -> Evaluation:
    """Evaluate the policy of a run and write `evaluation.json`.

    Args:
        training: the run.
        episodes: how many episodes.
    """
    result = evaluate_ppo(training.ppo, training.config, episodes)
    facts: Mapping[str, Any] = {"env": training.config.env.name, "frames": training.counters.frames}
    write_json(training.run.evaluation_file, {**facts, **result.to_dict()})
    return result


def train(config: PPOConfig, run: RunFolder, *, resume: bool = False) -> Outcome:
    """Run PPO in a folder.

    Args:
        config: the configuration.
        run: its folder, made by `create_run_folder`.
        resume: continue from the folder's checkpoint.
    Returns:
        How it ended. Checkpoint, metrics and curve are written however it ends, but for an abort.
    Raises:
        CheckpointError: the last checkpoint cannot be written, or none can be read on resume.
        DivergenceError: the losses are no longer numbers.
    """
    training = Training(config, run, resume=resume)
    try:
        with GracefulStop() as stop:
            training.loop(stop)
        if config.logger.csv and training.counters.batches:
            _draw(run)
        is_interrupted = training.counters.frames < config.collector.total_frames
        evaluation = None if is_interrupted else training.finish()
        return Outcome(is_interrupted, training.counters.frames, evaluation)
    finally:
        training.ppo.close()


def _draw(run: RunFolder) -> None:
    """Draw the curve; a picture that cannot be written is no reason to lose the evaluation."""
    try:
        plot_run(run)
    except OSError as error:
        fix = f"Draw it later with rl-train plot {run.path}"
        problem = f"{run.curve_file} cannot be written ({error.strerror or error})"
        print(message("curve", problem, fix=fix), file=sys.stderr)


def evaluate_folder(run: RunFolder, episodes: int) -> Evaluation:
    """Evaluate the policy in a run's checkpoint and write `evaluation.json`.

    Args:
        run: a run that has a checkpoint.
        episodes: how many episodes.
    Raises:
        CheckpointError: it has none, or it cannot be used.
        ValueError: `episodes` is below 1.
    """
    if episodes < 1:
        raise ValueError(message("evaluate", "too few episodes", expected="at least 1", found=episodes))
    training = Training(run.config(), run, resume=True)
    try:
        return evaluate_run(training, episodes)
    finally:
        training.ppo.close()
