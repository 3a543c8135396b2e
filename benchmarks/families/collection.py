"""Frames per second of collection: policy, simulator, transforms, batch."""

from _work import Comparison, Contender, Family, RatioBar

BARS = (
    RatioBar(("TorchRL",), 8.0, ("1 env",)),
    RatioBar(("Stable-Baselines3",), 2.2, ("1 env",)),
    RatioBar(("TorchRL",), 7.5, ("8 envs",)),
    RatioBar(("Stable-Baselines3",), 1.6, ("8 envs",)),
)


def _comparisons(is_quick: bool) -> tuple[Comparison, ...]:
    common = ("--work", "collection", "--num-envs", *(("1", "8") if is_quick else ("1", "8", "32", "64")))
    contenders = (
        Contender("rl-suite", "tutorial_ppo.py", ("--library", "rl-suite", *common)),
        Contender("TorchRL", "tutorial_ppo.py", ("--library", "torchrl", *common), is_peer=True),
        Contender("Stable-Baselines3", "sb3_ppo.py", common, is_peer=True),
    )
    return (Comparison("HalfCheetah-v5", contenders, BARS),)


FAMILY = Family(
    "collection",
    "Frames per second of collection.",
    _comparisons,
    is_in_readme=True,
)
