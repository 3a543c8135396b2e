"""Reinforcement-learning recipes and command line: typed configuration, run folders, checkpoints, evaluation, plots."""

from rl_trainers.__about__ import __version__

__all__ = ["__version__"]
