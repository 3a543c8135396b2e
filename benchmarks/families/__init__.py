"""Every family of comparisons, in the order in which they run."""

from _work import Family

from families import collection, imports, ppo, replay, update, values

MODULES = (collection, ppo, update, values, replay, imports)
FAMILIES: dict[str, Family] = {module.FAMILY.name: module.FAMILY for module in MODULES}
