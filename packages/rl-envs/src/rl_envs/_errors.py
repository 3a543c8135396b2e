"""Errors of environments."""


class ClosedEnvError(RuntimeError):
    """A closed environment was used."""


class StateNotSupportedError(NotImplementedError):
    """The simulator of an environment cannot be read out or written back."""


class WorkerError(RuntimeError):
    """A worker process raised, exited or was killed; the message has its index, and its traceback or exit code."""


class WorkerTimeoutError(WorkerError, TimeoutError):
    """Worker processes did not answer within `timeout_s`."""
