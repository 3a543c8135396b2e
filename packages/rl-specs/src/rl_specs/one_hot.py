"""Earlier place of `OneHot`, where pickles of it look."""

from rl_specs.categorical import OneHot

__all__ = ["OneHot"]
