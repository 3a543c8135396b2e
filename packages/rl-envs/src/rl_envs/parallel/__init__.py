"""Worker processes over shared memory: `ParallelEnv`, `AsyncEnvPool`, and the pool for workers of other layers."""

from rl_envs.parallel._launch import StartMethod
from rl_envs.parallel._pool import PoolOptions, WorkerPool
from rl_envs.parallel._table import Layout, Table, TensorForm
from rl_envs.parallel._worker import Task
from rl_envs.parallel.async_env_pool import AsyncEnvPool, ProcessorAsyncEnvPool, ThreadingAsyncEnvPool
from rl_envs.parallel.parallel_env import ParallelEnv

__all__ = [
    "AsyncEnvPool",
    "Layout",
    "ParallelEnv",
    "PoolOptions",
    "ProcessorAsyncEnvPool",
    "StartMethod",
    "Table",
    "Task",
    "TensorForm",
    "ThreadingAsyncEnvPool",
    "WorkerPool",
]
