"""Worker processes over shared memory: `ParallelEnv`, and the pool that it and other layers run their workers with."""

from rl_envs.parallel._launch import StartMethod
from rl_envs.parallel._pool import PoolOptions, WorkerPool
from rl_envs.parallel._table import Layout, Table, TensorForm
from rl_envs.parallel._worker import Task
from rl_envs.parallel.parallel_env import ParallelEnv

__all__ = ["Layout", "ParallelEnv", "PoolOptions", "StartMethod", "Table", "Task", "TensorForm", "WorkerPool"]
