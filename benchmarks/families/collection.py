"""Frames per second of collection: policy, simulator, transforms, batch."""

from _work import Bar, Comparison, Contender, Family, LimitBar, RatioBar

SIZES = ("1", "8", "32", "64")
BARS = (
    RatioBar(("TorchRL",), 8.0, ("1 env",)),
    RatioBar(("Stable-Baselines3",), 2.2, ("1 env",)),
    RatioBar(("TorchRL",), 7.5, ("8 envs",)),
    RatioBar(("Stable-Baselines3",), 1.6, ("8 envs",)),
)


def _tutorial(name: str, seconds: float, sizes: tuple[str, ...], bars: tuple[Bar, ...] = ()) -> Comparison:
    """The tutorial's policy and transforms over one environment id."""
    common = ("--work", "collection", "--env", name, "--seconds", str(seconds), "--num-envs", *sizes)
    contenders: tuple[Contender, ...] = (
        Contender("rl-suite", "tutorial_ppo.py", ("--library", "rl-suite", *common)),
        Contender("TorchRL", "tutorial_ppo.py", ("--library", "torchrl", *common), is_peer=True),
        Contender("Stable-Baselines3", "sb3_ppo.py", common, is_peer=True),
        Contender("hand-written", "hand_written.py", common),
    )
    if name == "HalfCheetah-v5":
        contenders += (
            Contender("rl-suite, native", "tutorial_ppo.py", ("--library", "rl-suite", "--native", *common)),
        )
    return Comparison(name, contenders, bars, rounds=None if bars else 2)


def _atari(seconds: float, sizes: tuple[str, ...]) -> Comparison:
    common = ("--seconds", str(seconds), "--num-envs", *sizes)
    contenders = (
        Contender("rl-suite", "atari_frames.py", ("--library", "rl-suite", *common)),
        Contender("TorchRL", "atari_frames.py", ("--library", "torchrl", *common), is_peer=True),
        Contender("Stable-Baselines3", "atari_frames.py", ("--library", "sb3", *common), is_peer=True),
        Contender("hand-written", "atari_frames.py", ("--library", "hand-written", *common)),
    )
    return Comparison("ALE/Pong-v5, random actions", contenders, rounds=2)


def _pendulum(seconds: float) -> Comparison:
    common = ("--seconds", str(seconds), "--num-envs", "8", "64", "1024")
    contenders = (
        Contender("rl-suite", "pendulum.py", ("--library", "rl-suite", *common)),
        Contender("TorchRL", "pendulum.py", ("--library", "torchrl", *common), is_peer=True),
        Contender("SyncVectorEnv", "pendulum.py", ("--library", "gymnasium-sync", *common), is_peer=True),
    )
    return Comparison("Pendulum, random actions", contenders)


def _overhead(turns: int) -> Comparison:
    contenders = (
        Contender("rl-suite", "gym_overhead.py", ("--library", "rl-suite", "--turns", str(turns))),
        Contender("TorchRL", "gym_overhead.py", ("--library", "torchrl", "--turns", str(turns)), is_peer=True),
    )
    return Comparison("overhead of GymEnv a step", contenders, (LimitBar(25.0),))


def _comparisons(is_quick: bool) -> tuple[Comparison, ...]:
    if is_quick:
        return (
            _tutorial("CartPole-v1", 0.2, SIZES[:1]),
            _tutorial("HalfCheetah-v5", 0.2, SIZES[:2], BARS),
            _atari(0.2, SIZES[:1]),
            _pendulum(0.1),
            _overhead(2),
        )
    return (
        _tutorial("CartPole-v1", 1.0, SIZES),
        _tutorial("HalfCheetah-v5", 2.0, SIZES, BARS),
        _tutorial("Ant-v5", 1.0, SIZES),
        _tutorial("Humanoid-v5", 1.0, SIZES),
        _atari(1.0, SIZES),
        _pendulum(1.0),
        _overhead(10),
    )


FAMILY = Family(
    "collection",
    "Collection",
    "Several environments step in one process, one after the other: `GymEnv(num_envs=N)`, TorchRL's `SerialEnv`, "
    "Stable-Baselines3's `DummyVecEnv` with `VecNormalize`, and a loop written by hand for this one program. "
    "64x64 tanh policy, tanh-normal (one-hot categorical) sample with log-probability, running normalisation, clip, "
    "reward sum, step counter, float32; 2,048 frames a batch, one torch thread. `native` is our batched MuJoCo task "
    "with the physics of Gymnasium's, one thread. Atari frames are collected as they are (210 x 160 x 3 bytes), 256 a "
    "batch, without a policy; pendulums step as one batch in torch.",
    _comparisons,
    is_in_readme=True,
)
