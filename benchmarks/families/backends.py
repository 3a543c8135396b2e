"""Frames per second of the ways in which several environments step: in process, in processes, in native threads."""

from _work import Comparison, Contender, Family, RatioBar

PROCESS_BARS = (
    RatioBar(("AsyncVectorEnv",), 1.0),
    RatioBar(("TorchRL ParallelEnv",), 8.0),
    RatioBar(("SyncVectorEnv",), 1.0, subject="GymEnv serial"),
)


def _processes(name: str, steps: str) -> Comparison:
    """Eight environments, given actions; what is done begins anew."""
    common = ("--env", name, "--num-envs", "8", "--steps", steps)

    def contender(shown: str, library: str, *backend: str) -> Contender:
        arguments = ("--library", library, *backend, *common)
        return Contender(shown, "parallel_env.py", arguments, is_peer=library != "rl-suite")

    contenders = (
        contender("ParallelEnv", "rl-suite", "--backend", "parallel"),
        contender("ParallelEnv, 2 processes", "rl-suite", "--backend", "parallel", "--num-processes", "2"),
        contender("GymEnv process", "rl-suite", "--backend", "process"),
        contender("GymEnv serial", "rl-suite", "--backend", "serial"),
        contender("AsyncVectorEnv", "gymnasium-async"),
        contender("SyncVectorEnv", "gymnasium-sync"),
        contender("TorchRL ParallelEnv", "torchrl", "--backend", "parallel"),
        contender("TorchRL SerialEnv", "torchrl", "--backend", "serial-env"),
    )
    return Comparison(name, contenders, PROCESS_BARS if name == "HalfCheetah-v5" else ())


def _threads(name: str, seconds: str, sizes: tuple[str, ...]) -> Comparison:
    """Native threads and given actions."""
    common = ("--env", name, "--seconds", seconds, "--threads", "2", "--num-envs", *sizes)
    contenders = (
        Contender("GymEnv envpool", "backends.py", ("--backend", "envpool", *common)),
        Contender("GymEnv serial", "backends.py", ("--backend", "serial", *common)),
        Contender("EnvPool alone", "envpool_raw.py", common, is_peer=True),
    )
    return Comparison(f"{name}, steps", contenders)


def _collection(seconds: str) -> Comparison:
    """Policy, transforms and batch on top of native threads, against the threads alone."""
    common = ("--seconds", seconds, "--threads", "2", "--num-envs", "64")
    contenders = (
        Contender("GymEnv envpool", "backends.py", ("--backend", "envpool", "--with-policy", *common)),
        Contender("GymEnv serial", "backends.py", ("--backend", "serial", "--with-policy", *common)),
        Contender("EnvPool alone", "envpool_raw.py", common, is_peer=True),
    )
    return Comparison("HalfCheetah-v5, collection", contenders, (RatioBar(("EnvPool alone",), 0.75),))


def _mujoco(task: str, num_envs: str, rounds: str, steps: str = "100") -> Comparison:
    """The case runs ours and the bare simulator in turns and labels them."""
    arguments = ("--env", task, "--num-envs", num_envs, "--threads", "2", "--steps", steps, "--rounds", rounds)
    contenders = (Contender("in turns", "mujoco_batched.py", arguments),)
    return Comparison(f"{task}Env, {num_envs} envs", contenders, rounds=1)


def _comparisons(is_quick: bool) -> tuple[Comparison, ...]:
    if is_quick:
        return (
            _processes("HalfCheetah-v5", "200"),
            _threads("HalfCheetah-v5", "0.2", ("64",)),
            _collection("0.2"),
            _mujoco("HalfCheetah", "64", "1"),
        )
    return (
        _processes("HalfCheetah-v5", "1000"),
        _threads("HalfCheetah-v5", "1.0", ("8", "64")),
        _threads("CartPole-v1", "1.0", ("8", "64")),
        _collection("3.0"),
        *(_mujoco("HalfCheetah", num_envs, "9") for num_envs in ("64", "256")),
        *(_mujoco(task, num_envs, "5", "25") for task in ("Ant", "Humanoid") for num_envs in ("64", "256")),
    )


FAMILY = Family(
    "backends",
    "Vectorisation",
    "Steps with given actions, done rows restarted; in `collection` rows with the policy, transforms and batch of the "
    "table above on top. `ParallelEnv` and the peers have one process per environment unless a name says otherwise, "
    "`GymEnv process` one per core; native threads are two. "
    "The MuJoCo tasks of rl-envs (`HalfCheetahEnv`, ...) step beside the bare `mujoco.rollout` and `mujoco.batch`.",
    _comparisons,
    is_in_readme=True,
)
