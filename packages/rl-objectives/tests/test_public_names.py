"""Snapshot of the public names; a change here is a change for users."""

import importlib

import pytest

NAMES = {
    "rl_objectives": """GAE A2CLoss ClipPPOLoss HardUpdate KLPENPPOLoss LossModule PPOLoss ReinforceLoss SoftUpdate
        TD0Estimator TD1Estimator TDLambdaEstimator VTrace ValueEstimatorBase ValueEstimators __version__
        compile_loss default_value_kwargs group_optimizers""",
    "rl_objectives.functional": """clipped_surrogate clipped_value_loss effective_sample_size explained_variance
        generalized_advantage_estimate kl_estimate_k1 kl_estimate_k3 policy_gradient reduce_loss
        reverse_linear_recurrence standardize surrogate td0_advantage_estimate td0_return_estimate
        td1_advantage_estimate td1_return_estimate td_lambda_advantage_estimate td_lambda_return_estimate
        value_distance vtrace_advantage_estimate""",
    "rl_objectives.value": "GAE TD0Estimator TD1Estimator TDLambdaEstimator VTrace ValueEstimatorBase",
    "rl_objectives.value.advantages": "GAE TD0Estimator TD1Estimator TDLambdaEstimator VTrace ValueEstimatorBase",
    "rl_objectives.utils": "HardUpdate SoftUpdate TargetUpdate ValueEstimators default_value_kwargs group_optimizers",
}


@pytest.mark.parametrize("module", NAMES)
def test_names(module: str) -> None:
    """`__all__` is the list above, and each of its names exists."""
    found = importlib.import_module(module)
    assert set(found.__all__) == set(NAMES[module].split())
    assert all(hasattr(found, name) for name in found.__all__)
