"""Microseconds of prioritized sampling on a GPU: tree updates, draws with weights, and a buffer's whole cycle."""

import torch
from _work import Comparison, Contender, Family

HAS_GPU = torch.cuda.is_available()
NOT_TIMED = " No GPU was at hand: only the plain torch form was timed, on the CPU; the kernels were not."
WORKS = ("update", "sample", "cycle")


def _comparisons(is_quick: bool) -> tuple[Comparison, ...]:
    sizes = ("--leaves", "20") if is_quick or not HAS_GPU else ("--leaves", "20", "26")
    common = ("--device", "cuda" if HAS_GPU else "cpu", *sizes, "--seconds", "0.05" if is_quick else "0.5")
    if is_quick or not HAS_GPU:
        common += ("--batches", "256", "4096")
    forms = ("kernels", "torch") if HAS_GPU else ("torch",)
    units = ("us", "%") if HAS_GPU else ("us",)
    peers = (Contender("TorchRL", "trees_torchrl.py", common, is_peer=True),) if HAS_GPU else ()

    def contender(form: str, work: str, unit: str) -> Contender:
        name = "rl-suite" if form == "kernels" else "plain torch"
        return Contender(name, "trees.py", ("--form", form, "--work", work, "--unit", unit, *common))

    return tuple(
        Comparison(
            work if unit == "us" else f"{work}, share of memory bandwidth",
            (*(contender(form, work, unit) for form in forms), *(peers if work == "cycle" else ())),
        )
        for work in WORKS
        for unit in units
        if unit == "us" or work != "cycle"
    )


FAMILY = Family(
    "trees",
    "Prioritized sampling on a GPU",
    "Float64 trees of 2^20 and 2^26 leaves, batches of 256 to 65,536. `update`: new values for random leaves of a sum "
    "tree; `sample`: stratified draws with importance weights; `cycle`: draw, weights and new priorities of "
    "`CudaPrioritizedSampler`, beside TorchRL where its wheel has trees for CUDA. The share is of the bandwidth that a "
    "large copy reaches on the same device." + ("" if HAS_GPU else NOT_TIMED),
    _comparisons,
)
