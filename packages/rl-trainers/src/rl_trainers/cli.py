"""The command `rl-train`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rl_trainers.__about__ import __version__
from rl_trainers.checkpoint import complete_checkpoint, read_manifest
from rl_trainers.config import PPOConfig
from rl_trainers.config_help import describe_options
from rl_trainers.config_io import load_config, parse_config, save_config
from rl_trainers.errors import ConfigError, RecipeError
from rl_trainers.evaluation import Evaluation
from rl_trainers.plot import plot_run, plot_runs
from rl_trainers.preflight import check_surroundings
from rl_trainers.run_folder import RunFolder, create_run_folder, open_run_folder
from rl_trainers.train import evaluate_folder, train
from rl_trainers.video import record_video

INTERRUPTED = 130

PICTURES = (".png", ".svg", ".pdf", ".jpg")
"""Endings of the names that a picture may have."""

RESUMABLE = (
    "collector.total_frames",
    "checkpoint.",
    "evaluation.",
    "logger.",
    "progress",
    "record_video",
    "torch_threads",
)
"""Options that may change when a run is resumed; any other makes another run."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="rl-train", description="Train, continue, evaluate and compare reinforcement-learning runs."
    )
    parser.add_argument("--version", action="version", version=f"rl-train {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    ppo = commands.add_parser(
        "ppo",
        help="train PPO; every option is key=value",
        description="Train PPO and leave a run folder with metrics, curve, checkpoint and evaluation.\n"
        "example: rl-train ppo env.name=HalfCheetah-v5 collector.total_frames=1_000_000 seed=1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="options, as key=default  <type>\n\n" + describe_options().replace("%", "%%"),
    )
    ppo.add_argument("overrides", nargs="*", metavar="key=value", help="options to change, see below")
    ppo.add_argument("--config", type=Path, metavar="FILE", help="start from a config.yaml, e.g. that of another run")
    ppo.set_defaults(run=_ppo)

    resume = commands.add_parser(
        "resume",
        help="continue a run that was stopped or killed",
        description="Continue a run from its checkpoint, to the last bit as if it had not been stopped.",
        epilog=f"may be changed: {', '.join(name + '*' if name.endswith('.') else name for name in RESUMABLE)}",
    )
    resume.add_argument("folder", type=Path, metavar="RUN", help="the run's folder")
    resume.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. collector.total_frames=2_000_000")
    resume.set_defaults(run=_resume)

    evaluate = commands.add_parser("evaluate", help="evaluate a run's policy; writes evaluation.json")
    evaluate.add_argument("folder", type=Path, metavar="RUN", help="the run's folder")
    evaluate.add_argument("--episodes", type=int, default=10, help="how many episodes (default: 10)")
    evaluate.set_defaults(run=_evaluate)

    plot = commands.add_parser(
        "plot",
        help="draw one run, or several in one picture",
        description="One run: its curve.png. Several: mean and band over the seeds of each configuration.",
    )
    plot.add_argument("folders", type=Path, nargs="+", metavar="RUN", help="folders of runs")
    plot.add_argument("--output", type=Path, metavar="FILE", help="the picture (.png, .svg, .pdf)")
    plot.set_defaults(run=_plot)

    video = commands.add_parser("video", help="film one episode of a run's policy (needs rl-trainers[video])")
    video.add_argument("folder", type=Path, metavar="RUN", help="the run's folder")
    video.add_argument("--output", type=Path, metavar="FILE", help="the film (default: video.mp4 in the run's folder)")
    video.set_defaults(run=_video)
    return parser


def _ppo(arguments: argparse.Namespace) -> int:
    base = load_config(arguments.config) if arguments.config is not None else None
    config = parse_config(arguments.overrides, base=base)
    check_surroundings(config)
    run = create_run_folder(config)
    return _train(config, run, resume=False)


def _resume(arguments: argparse.Namespace) -> int:
    run = open_run_folder(arguments.folder)
    fixed = [text for text in arguments.overrides if not text.startswith(RESUMABLE)]
    if fixed:
        raise ConfigError([f"{text}: cannot change when a run is resumed. Start another run for it." for text in fixed])
    before = run.config()
    config = parse_config(arguments.overrides, base=before)
    manifest = read_manifest(complete_checkpoint(run.checkpoint) or run.checkpoint)
    frames = int(manifest["counters"].get("frames", 0))
    is_evaluated = run.evaluated_frames() == frames or not config.evaluation.episodes
    if frames >= config.collector.total_frames and is_evaluated:
        print(f"{run.path} is complete ({frames:,} frames). To train on, add collector.total_frames={2 * frames}.")
        return 0
    check_surroundings(config)
    if config != before:
        save_config(config, run.config_file)
    return _train(config, run, resume=True)


def _train(config: PPOConfig, run: RunFolder, *, resume: bool) -> int:
    print(f"{'continuing' if resume else 'run folder:'} {run.path}", file=sys.stderr)
    outcome = train(config, run, resume=resume)
    if outcome.is_interrupted:
        print(f"stopped at {outcome.frames:,} frames. Continue with: rl-train resume {run.path}")
        return INTERRUPTED
    if outcome.evaluation is not None:
        _print_evaluation(outcome.evaluation)
    if config.record_video:
        print(f"video: {record_video(run)}")
    print(f"results: {run.path}")
    return 0


def _print_evaluation(evaluation: Evaluation) -> None:
    lengths = evaluation.lengths
    print(
        f"evaluation: return {evaluation.mean:.2f} +- {evaluation.deviation:.2f} over {len(lengths)} episodes "
        f"of {sum(lengths) / len(lengths):.0f} steps"
    )


def _evaluate(arguments: argparse.Namespace) -> int:
    if arguments.episodes < 1:
        raise ConfigError([f"--episodes: expected at least 1, found {arguments.episodes}."])
    run = open_run_folder(arguments.folder)
    check_surroundings(run.config())
    _print_evaluation(evaluate_folder(run, arguments.episodes))
    return 0


def _plot(arguments: argparse.Namespace) -> int:
    runs = [open_run_folder(folder) for folder in arguments.folders]
    suffix = "" if arguments.output is None else arguments.output.suffix
    if arguments.output is not None and suffix not in PICTURES:
        raise ConfigError([f"--output: expected a name that ends in {', '.join(PICTURES)}, found {arguments.output}."])
    if len(runs) == 1:
        picture = plot_run(runs[0], arguments.output)
    else:
        picture = plot_runs(runs, arguments.output or runs[0].path.parent / "comparison.png")
    print(picture)
    return 0


def _video(arguments: argparse.Namespace) -> int:
    print(record_video(open_run_folder(arguments.folder), arguments.output))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; those of the process if not given.
    Returns:
        Exit code: 0, 1 for a failure, 2 for a mistake in what was asked, 130 after an interruption.
    """
    parsed = build_parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = parsed.run
    try:
        return run(parsed)
    except KeyboardInterrupt:
        print("aborted.", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"rl-train: {where}{error.strerror or error}. Free space or mend permissions.", file=sys.stderr)
        return RecipeError.exit_code
    except RecipeError as error:
        print(f"rl-train: {error}", file=sys.stderr)
        return error.exit_code
