"""Microseconds of a collection step against the number of environments, keys and transforms."""

from _work import Comparison, Contender, Family

TITLES = {
    "envs": "step, CartPole-v1",
    "keys": "step, observation keys",
    "transforms": "step, clips in a row",
    "kinds": "added by one",
}


def _comparisons(is_quick: bool) -> tuple[Comparison, ...]:
    batches = "1" if is_quick else "8"

    def contenders(by: str) -> tuple[Contender, ...]:
        common = ("--by", by, "--batches", batches)
        return (
            Contender("rl-suite", "growth.py", ("--library", "rl-suite", *common)),
            Contender("TorchRL", "growth.py", ("--library", "torchrl", *common), is_peer=True),
        )

    chosen = ("keys", "transforms") if is_quick else tuple(TITLES)
    return tuple(Comparison(TITLES[by], contenders(by), rounds=1 if by == "kinds" else 2) for by in chosen)


FAMILY = Family(
    "growth",
    "Growth",
    "Time of one step of the collection loop, random actions: of several CartPole-v1 in one process, and of a "
    "synthetic environment that returns the same tensors again, so that only the library is timed. `added by one` is "
    "what each transform adds to such a step (crops and the like come with the `PermuteTransform` before them; "
    "TorchRL's need torchvision, which is not among the peers).",
    _comparisons,
)
