"""Every family of comparisons, in the order in which they run."""

from _work import Family

from families import (
    backends,
    collection,
    device,
    growth,
    imports,
    memory,
    parts,
    ppo,
    prioritized,
    replay,
    slices,
    update,
    values,
)

LEARNING = (collection, parts, backends, ppo, device, update, values)
MODULES = (*LEARNING, replay, prioritized, slices, imports, memory, growth)
FAMILIES: dict[str, Family] = {module.FAMILY.name: module.FAMILY for module in MODULES}
