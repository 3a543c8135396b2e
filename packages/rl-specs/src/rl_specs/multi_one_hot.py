"""Earlier place of `MultiOneHot`, where pickles of it look."""

from rl_specs.multi_categorical import MultiOneHot

__all__ = ["MultiOneHot"]
