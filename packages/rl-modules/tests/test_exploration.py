"""The switch between exploration and exploitation."""

from tensordict.nn import InteractionType, set_interaction_type

from rl_modules import ExplorationType, exploration_type, set_exploration_type


def test_the_switch_is_that_of_tensordict() -> None:
    """Names for reinforcement learning are tensordict's own objects, so that every module obeys the one switch."""
    assert ExplorationType is InteractionType
    assert set_exploration_type is set_interaction_type


def test_the_context_is_restored() -> None:
    """The type is set inside the context, nested or not, and None outside."""
    assert exploration_type() is None
    with set_exploration_type(ExplorationType.RANDOM):
        with set_exploration_type(ExplorationType.MODE):
            assert exploration_type() is ExplorationType.MODE
        assert exploration_type() is ExplorationType.RANDOM
    assert exploration_type() is None
