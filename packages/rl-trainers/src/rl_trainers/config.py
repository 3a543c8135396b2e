"""Configuration of the PPO recipe: one dataclass a group, each option with its default, range, unit and description.

The classes are hydra structured configs: their annotations are the types that overrides are converted to and checked
against. This module imports nothing but the standard library.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


def facts(
    description: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[str] = (),
) -> dict[str, Any]:
    """What `--help` and validation need to know of an option, as metadata of its field.

    Args:
        description: one sentence.
        unit: what a number counts, e.g. `"frames"`.
        low: smallest value allowed.
        high: largest value allowed.
        above: the value must be greater than this.
        choices: the strings allowed.
    """
    limits = {"low": low, "high": high, "above": above}
    return {"description": description, "unit": unit, "choices": tuple(choices), **limits}


def option(
    default: T,
    description: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[str] = (),
) -> T:
    """A dataclass field with a default and its `facts`.

    Args:
        default: a number, boolean or string.
        description: see `facts`, as for the others.
        unit: see `facts`.
        low: see `facts`.
        high: see `facts`.
        above: see `facts`.
        choices: see `facts`.
    Returns:
        A dataclass field, typed as the value it holds.
    """
    return field(
        default=default,
        metadata=facts(description, unit=unit, low=low, high=high, above=above, choices=choices),
    )


@dataclass
class EnvConfig:
    """The environment and its transforms."""

    name: str = option("InvertedDoublePendulum-v5", "Gymnasium id, or PendulumEnv for the native batched pendulum")
    backend: str = option(
        "auto", "who simulates; auto takes native for PendulumEnv", choices=("auto", "gymnasium", "native")
    )
    num_envs: int = option(8, "environments stepped together", unit="envs", low=1)
    options: dict[str, Any] = field(
        default_factory=dict, metadata=facts("keywords for gymnasium.make, e.g. {ctrl_cost_weight: 0.2}")
    )
    frame_skip: int = option(1, "simulator steps per action", unit="steps", low=1)
    max_steps: int = option(
        0, "truncate episodes here; 0 leaves it to the environment (200 for PendulumEnv)", unit="steps", low=0
    )
    normalize_observation: bool = option(True, "running mean and deviation of observations, frozen in evaluation")
    normalize_decay: float = option(0.99999, "decay of the running statistics per step", above=0.0, high=1.0)
    normalize_eps: float = option(1e-2, "least variance that normalisation divides by", above=0.0)
    clip_observation: float = option(10.0, "clip normalised observations to +-this; 0 does not clip", low=0.0)
    reward_scale: float = option(
        0.1,
        "factor on the reward the learner sees, best so that values are near 1; logged returns are unscaled",
        above=0.0,
    )


@dataclass
class CollectorConfig:
    """Collection of data."""

    total_frames: int = option(400_000, "frames of training in all, rounded up to whole batches", unit="frames", low=1)
    frames_per_batch: int = option(
        2048, "frames between two updates, over all environments together", unit="frames", low=1
    )
    max_frames_per_traj: int = option(-1, "force a reset after this many frames; -1 never does", unit="frames", low=-1)
    overlap: int = option(
        0,
        "batches collected, in a worker process, while the learner is busy, each with weights that many updates old "
        "(1 pays with a second core); 0 collects and learns by turns, with the newest weights",
        unit="batches",
        low=0,
        high=8,
    )


@dataclass
class NetworkConfig:
    """Actor and critic, two networks of one form."""

    num_cells: list[int] = field(
        default_factory=lambda: [64, 64], metadata=facts("width of each hidden layer", unit="cells", low=1)
    )
    activation: str = option("tanh", "between the layers", choices=("tanh", "relu", "elu", "silu"))
    scale: str = option(
        "parameter",
        "deviation of a continuous policy: a free parameter, or a network output",
        choices=("parameter", "network"),
    )
    initial_scale: float = option(1.0, "deviation of a continuous policy at the start", above=0.0)
    hidden_gain: float = option(2**0.5, "gain of the orthogonal start of hidden layers", above=0.0)
    policy_gain: float = option(0.01, "gain of the orthogonal start of the policy's last layer", above=0.0)
    value_gain: float = option(1.0, "gain of the orthogonal start of the critic's last layer", above=0.0)


@dataclass
class PPOLossConfig:
    """The PPO update."""

    num_epochs: int = option(10, "passes over each batch", unit="epochs", low=1)
    minibatch_size: int = option(128, "samples per optimiser step", unit="frames", low=1)
    clip_epsilon: float = option(0.2, "the probability ratio is clipped to 1 +- this", above=0.0, high=1.0)
    clip_value: float = option(0.0, "clip value predictions to +- this around the old ones; 0 does not clip", low=0.0)
    entropy_coeff: float = option(0.0, "weight of the entropy bonus", low=0.0)
    critic_coeff: float = option(0.5, "weight of the critic loss", above=0.0)
    critic_loss: str = option("l2", "form of the critic loss", choices=("l2", "l1", "smooth_l1"))
    gamma: float = option(0.99, "discount per step", low=0.0, high=1.0)
    lmbda: float = option(0.95, "lambda of the advantage estimate", low=0.0, high=1.0)
    max_grad_norm: float = option(0.5, "clip the gradient to this norm; 0 does not clip", low=0.0)
    normalize_advantage: bool = option(True, "zero mean and unit deviation of the advantage in each minibatch")
    recompute_advantage: bool = option(False, "estimate the advantage anew before each epoch, not once a batch")
    compile: bool = option(False, "compile the loss: some seconds at the start, then faster; needs a C++ compiler")
    target_kl: float = option(0.0, "stop a batch's epochs when the mean KL of one exceeds this; 0 never does", low=0.0)


@dataclass
class OptimConfig:
    """The optimiser (Adam)."""

    lr: float = option(3e-4, "learning rate", above=0.0)
    eps: float = option(1e-5, "Adam's epsilon", above=0.0)
    anneal: bool = option(True, "let the learning rate fall linearly to 0 over total_frames")


@dataclass
class EvaluationConfig:
    """Evaluation with the most likely action and frozen normalisation."""

    episodes: int = option(10, "episodes at the end of training; 0 skips evaluation", unit="episodes", low=0)
    interval: int = option(0, "also evaluate every so many batches; 0 only at the end", unit="batches", low=0)
    max_steps: int = option(100_000, "an episode longer than this is an error", unit="steps", low=1)


@dataclass
class LoggerConfig:
    """Where metrics go; several at once."""

    csv: bool = option(True, "metrics.csv in the run folder (curve.png is drawn from it)")
    tensorboard: bool = option(True, "TensorBoard events in the run folder")
    wandb: bool = option(False, "Weights & Biases (pip install rl-trainers[wandb])")
    mlflow: bool = option(False, "MLflow (pip install rl-trainers[mlflow])")
    project: str = option("rl-trainers", "W&B project and MLflow experiment")


@dataclass
class CheckpointConfig:
    """Checkpoints."""

    interval: int = option(
        20, "save every so many batches; the end and an interruption always save", unit="batches", low=1
    )


@dataclass
class PPOConfig:
    """Everything `rl-train ppo` can be told.

    Groups are nested dataclasses, so an option is addressed as `group.option=value`.
    """

    env: EnvConfig = field(default_factory=EnvConfig)
    collector: CollectorConfig = field(default_factory=CollectorConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    ppo: PPOLossConfig = field(default_factory=PPOLossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    seed: int = option(0, "seed of every random stream", low=0, high=2**31 - 1)
    device: str = option("cpu", "where networks, updates and native environments live: cpu, cuda, cuda:0, ...")
    torch_threads: int = option(
        1, "threads of one torch operation; small networks are fastest with 1", unit="threads", low=1
    )
    run_dir: str = option("runs", "folder in which the run's own folder is made")
    run_name: str = option("", "name of the run's folder; empty makes <date>-<env>-ppo-<seed>")
    progress: bool = option(True, "show a progress bar")
    record_video: bool = option(False, "film the final policy (pip install rl-trainers[video])")
