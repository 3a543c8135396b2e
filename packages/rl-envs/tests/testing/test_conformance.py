"""Tests of `rl_envs.testing.conformance`: the suite finds what it is for."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rl_envs import EnvBase, TrajCounter, TransformedEnv
from rl_envs.testing import CountingEnv, EnvConformance
from rl_specs import Bounded, FlatDict, ShapeError, TensorMap, Unbounded


class FaultyEnv(EnvBase):
    """A counting environment with one fault.

    Args:
        fault: which one; "none" for none.
    """

    accepts_mapping = True

    def __init__(self, fault: str) -> None:
        super().__init__(batch_size=(2,))
        dtype = torch.float64 if fault == "specs" else torch.float32
        self.observation_spec = Unbounded(shape=(2, 1), dtype=dtype)
        if fault == "domain":
            self.observation_spec = Bounded(0.0, 1.0, shape=(2, 1))
        self.action_spec = Bounded(-1.0, 1.0, shape=(2, 1))
        if fault == "domain later":
            self.observation_spec = Bounded(0.0, 2.0, shape=(2, 1))
        self.fault = fault
        self.generator = torch.Generator().manual_seed(0)
        self.count = torch.zeros(2, 1)
        self.kept = torch.zeros(2, 1)
        self.batch_locked = fault != "unlocked"

    def _reset(self, data: TensorMap | None) -> FlatDict:
        mask = None if data is None else data.get("_reset", None)
        if mask is None or self.fault == "leak":
            self.count, self.kept = torch.zeros(2, 1), torch.zeros(2, 1)
        else:
            self.count, self.kept = (torch.where(mask, torch.zeros(2, 1), old) for old in (self.count, self.kept))
        return {"observation": self._observation()}

    def _step(self, data: TensorMap) -> FlatDict:
        action = data["action"]
        if self.fault == "input":
            action.zero_()
        before, self.kept = self.kept, action if self.fault == "alias" else action.clone()
        if self.fault == "writes":
            self.count += 1
        else:
            self.count = self.count + 1
        noise = torch.rand(()).item() if self.fault in {"seed", "global"} else 0.0
        if self.fault == "unseeded":
            noise = torch.rand((), generator=self.generator).item()
        if self.fault == "nan" and bool((self.count >= 3).any()):
            noise = float("nan")
        flags: FlatDict = {"done": self.count >= 3}
        if self.fault == "flags":
            never = torch.zeros(2, 1, dtype=torch.bool)
            flags |= {"terminated": never, "truncated": never.clone()}
        return {"observation": self._observation(), "reward": self.count + before + noise, **flags}

    def _observation(self) -> Tensor:
        return self.count if self.fault == "writes" else self.count.clone()

    def _set_seed(self, seed: int) -> None:
        if self.fault == "seed":
            torch.seed()

    @property
    def has_exact_state(self) -> bool:
        """True, unless the fault is about that."""
        return self.fault != "mute"

    def get_state(self) -> dict[str, Any]:
        """The count, or not, and the last action."""
        count = torch.zeros(2, 1) if self.fault == "state" else self.count.clone()
        return {"count": count, "kept": self.kept.clone()}

    def set_state(self, state: Any) -> None:
        """Go on from the count and the last action."""
        self.count, self.kept = state["count"].clone(), state["kept"].clone()
        if self.fault != "driver":
            self.drive(None)


class Suite(EnvConformance):
    """The suite over a `FaultyEnv`."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def make_env(self) -> EnvBase:
        """The environment with the fault."""
        return FaultyEnv(self.fault)


class CountedSuite(EnvConformance):
    """The suite over an environment whose trajectories are numbered."""

    def make_env(self) -> EnvBase:
        """A counting environment with a `TrajCounter`."""
        return TransformedEnv(CountingEnv((2,)), TrajCounter())


class ToldSuite(CountedSuite):
    """The same, the author having said so."""

    goes_on = ("traj_count",)


def test_entries_that_go_on() -> None:
    """Numbers of trajectories go on after a seed, and are left out of the comparison where the author says so."""
    ToldSuite().test_a_seed_restarts_the_data()
    with pytest.raises(AssertionError, match="traj_count"):
        CountedSuite().test_a_seed_restarts_the_data()


@pytest.mark.parametrize(
    ("fault", "test"),
    [
        ("specs", "test_data_are_what_the_specs_say"),
        ("seed", "test_a_seed_fixes_the_data"),
        ("unseeded", "test_a_seed_restarts_the_data"),
        ("global", "test_draws_are_its_own"),
        ("nan", "test_values_stay_in_their_specs"),
        ("domain later", "test_values_stay_in_their_specs"),
        ("driver", "test_exact_state_goes_on_bitwise"),
        ("flags", "test_flags_agree"),
        ("writes", "test_returned_tensors_are_not_written_later"),
        ("leak", "test_partial_reset_leaves_other_rows"),
        ("state", "test_exact_state_goes_on_bitwise"),
        ("mute", "test_a_state_that_is_missing_is_said_to_be"),
        ("input", "test_tensors_of_the_user_are_left_alone"),
        ("alias", "test_tensors_of_the_user_are_left_alone"),
        ("leak", "test_reset_of_no_row_changes_nothing"),
        ("seed", "test_rollout_is_a_loop_over_steps"),
        ("unlocked", "test_batch_size_of_the_data"),
        ("specs", "test_specs_can_be_expanded_and_moved"),
        ("domain", "test_gymnasium_takes_it"),
    ],
)
def test_each_fault_is_found(fault: str, test: str) -> None:
    """Each test of the suite fails on the fault it is for, and passes without it."""
    getattr(Suite("none"), test)()
    with pytest.raises((AssertionError, ShapeError)):
        getattr(Suite(fault), test)()
