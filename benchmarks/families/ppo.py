"""Frames per second of PPO as a whole: collection, advantages, epochs of minibatches."""

from _work import Comparison, Contender, Family, RatioBar

BARS = (
    RatioBar(("TorchRL",), 5.5, ("1 env",)),
    RatioBar(("Stable-Baselines3",), 1.8, ("1 env",)),
    RatioBar(("Stable-Baselines3",), 1.4, ("8 envs",)),
)


def _comparisons(is_quick: bool) -> tuple[Comparison, ...]:
    seconds, sizes = ("0.2", ("1", "8")) if is_quick else ("4", ("1", "8", "64"))
    common = ("--work", "ppo", "--seconds", seconds, "--num-envs", *sizes)
    contenders = (
        Contender("rl-suite", "tutorial_ppo.py", ("--library", "rl-suite", *common)),
        Contender("rl-suite, overlapped", "tutorial_ppo.py", ("--library", "rl-suite", "--overlap", "1", *common)),
        Contender("rl-suite, compiled", "tutorial_ppo.py", ("--library", "rl-suite", "--compile", *common)),
        Contender("TorchRL", "tutorial_ppo.py", ("--library", "torchrl", *common), is_peer=True),
        Contender("Stable-Baselines3", "sb3_ppo.py", common, is_peer=True),
        Contender("hand-written", "hand_written.py", common),
    )
    return (Comparison("HalfCheetah-v5", contenders, BARS),)


FAMILY = Family(
    "ppo",
    "PPO",
    "The whole loop: 2,048 frames a batch collected as above, then 10 epochs of minibatches of 256 with the clipped "
    "loss, entropy 0.01, gradients clipped at 0.5. Every contender has the same fused Adam. TorchRL and rl-suite run "
    "the same program, which estimates the advantages anew at each epoch as the MuJoCo tutorial does; "
    "Stable-Baselines3 and the hand-written loop do so once a batch. Stable-Baselines3's policy is a Gaussian without "
    "the tanh. Overlapped, a worker process collects the next batch while the learner is at this one, which is one "
    "update behind then. Compiled, the loss goes through inductor, in the batch that is not timed.",
    _comparisons,
    is_in_readme=True,
)
