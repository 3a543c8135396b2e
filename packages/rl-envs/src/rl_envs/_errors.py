"""Errors of environments."""


class ClosedEnvError(RuntimeError):
    """A closed environment was used."""


class StateNotSupportedError(NotImplementedError):
    """The simulator of an environment cannot be read out or written back."""
