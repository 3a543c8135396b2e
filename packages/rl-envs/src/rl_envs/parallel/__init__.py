"""Environments in worker processes: one pool of workers over shared memory, and `ParallelEnv` on it."""

from rl_envs.parallel.parallel_env import ParallelEnv

__all__ = ["ParallelEnv"]
