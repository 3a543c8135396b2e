"""Libraries that only some data sets need."""

import importlib
from typing import Any

from rl_specs import message


def require(module: str, *, component: str, extra: str) -> Any:
    """Import an optional library.

    Args:
        module: name of the module.
        component: who needs it, for the message.
        extra: the extra of this distribution that brings it.
    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        fix = f"Install it with pip install 'rl-buffers[{extra}]'"
        raise ImportError(message(component, f"the library {module} is not installed", fix=fix)) from error
