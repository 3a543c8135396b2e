"""Every family of comparisons, in the order in which they run."""

from _work import Family

from families import collection, ppo

FAMILIES: dict[str, Family] = {module.FAMILY.name: module.FAMILY for module in (collection, ppo)}
