"""Tests of `rl_envs.env_creator`."""

import pickle

import pytest
import torch

from rl_envs import EnvCreator, GymEnv, ParallelEnv, SerialEnv, StepCounter, TransformedEnv
from rl_envs.testing import CountingEnv


def test_it_makes_environments_with_its_arguments() -> None:
    """Each call makes a new environment; arguments of the call go before those given first."""
    creator = EnvCreator(CountingEnv, {"max_steps": 2}, batch_size=(3,))
    assert creator().batch_size == (3,)
    assert creator() is not creator()
    assert creator(batch_size=()).rollout(9).shape == (2,)
    assert creator(max_steps=4).rollout(9).shape == (3, 4)


def test_it_can_be_pickled_whatever_it_holds() -> None:
    """Plain pickle sends it to another process, lambdas and local values included, with what it knows already."""
    limit = 3
    made = []

    def make() -> CountingEnv:
        made.append(1)
        return CountingEnv(max_steps=limit)

    creator = EnvCreator(make)
    assert made == []
    assert creator.meta_data.batch_size == ()
    copy: EnvCreator = pickle.loads(pickle.dumps(creator))
    assert made == [1]
    assert copy().rollout(9).shape == (3,)
    assert copy._meta_data is not None
    assert creator.meta_data is creator.meta_data
    assert made == [1]


def test_meta_data_are_those_of_the_environment() -> None:
    """What is known without an environment is what one says."""
    creator = EnvCreator(lambda: TransformedEnv(GymEnv("CartPole-v1"), StepCounter()))
    env, known = creator(), creator.meta_data
    assert known.specs["input_spec"] == env.input_spec
    assert known.specs["output_spec"] == env.output_spec
    assert (known.batch_size, known.device) == (env.batch_size, env.device)
    assert known.env_str == repr(env)
    assert (known.tensordict == env.fake_tensordict()).all()


@pytest.mark.parametrize("start_method", ["fork", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_it_serves_where_callables_do(start_method: str) -> None:
    """It stands for a callable, with further arguments for each environment."""
    creator = EnvCreator(lambda max_steps: CountingEnv(max_steps=max_steps))
    options = [{"max_steps": 1}, {"max_steps": 2}]

    def done(env: SerialEnv | ParallelEnv) -> list[list[bool]]:
        with env:
            torch.manual_seed(0)
            return env.rollout(2, break_when_any_done=False)["next", "done"].squeeze(-1).tolist()  # type: ignore[no-any-return]

    expected = [[True, True], [False, True]]
    assert done(SerialEnv(2, creator, create_env_kwargs=options)) == expected
    parallel = ParallelEnv(2, creator, create_env_kwargs=options, start_method=start_method)  # type: ignore[arg-type]
    assert done(parallel) == expected


def test_mistakes() -> None:
    """What is no callable, gives no environment, or is given twice is refused."""
    with pytest.raises(TypeError, match="create_env_fn"):
        EnvCreator(CountingEnv())  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match=r"given twice.*max_steps"):
        EnvCreator(CountingEnv, {"max_steps": 2}, max_steps=3)
    with pytest.raises(TypeError, match=r"EnvCreator: got an unexpected keyword argument 'max_step'"):
        EnvCreator(CountingEnv, max_step=3)
    with pytest.raises(TypeError, match="gave no environment"):
        _ = EnvCreator(lambda: 3).meta_data  # type: ignore[arg-type, return-value]  # the mistake
