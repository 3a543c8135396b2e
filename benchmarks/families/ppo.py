"""Frames per second of PPO as a whole: collection, advantages, epochs of minibatches."""

from _work import Comparison, Contender, Family, RatioBar

BARS = (
    RatioBar(("TorchRL",), 5.5, ("1 env",)),
    RatioBar(("Stable-Baselines3",), 1.8, ("1 env",)),
    RatioBar(("Stable-Baselines3",), 1.4, ("8 envs",)),
)


def _comparisons(is_quick: bool) -> tuple[Comparison, ...]:
    common = ("--work", "ppo", "--num-envs", *(("1", "8") if is_quick else ("1", "8", "64")))
    contenders = (
        Contender("rl-suite", "tutorial_ppo.py", ("--library", "rl-suite", *common)),
        Contender("TorchRL", "tutorial_ppo.py", ("--library", "torchrl", *common), is_peer=True),
        Contender("Stable-Baselines3", "sb3_ppo.py", common, is_peer=True),
    )
    return (Comparison("HalfCheetah-v5", contenders, BARS),)


FAMILY = Family("ppo", "Frames per second of the whole PPO loop.", _comparisons, is_in_readme=True)
