"""The names that the package offers, and what importing it costs."""

import subprocess
import sys

import rl_modules
import rl_modules.distributions

PUBLIC = [
    "AddStateIndependentNormalScale",
    "Actor",
    "ActorValueOperator",
    "Categorical",
    "CompositeDistribution",
    "ConvNet",
    "Delta",
    "ExplorationType",
    "IndependentNormal",
    "MLP",
    "MaskedCategorical",
    "MaskedOneHotCategorical",
    "NormalParamExtractor",
    "OneHotCategorical",
    "ProbabilisticActor",
    "SafeModule",
    "SafeProbabilisticModule",
    "SquashDims",
    "TanhNormal",
    "ValueOperator",
    "__version__",
    "exploration_type",
    "set_exploration_type",
]


def test_public_names_are_these() -> None:
    """The package offers exactly the names of the snapshot, and each exists."""
    assert sorted(rl_modules.__all__) == sorted(PUBLIC)
    assert all(hasattr(rl_modules, name) for name in PUBLIC)


def test_distributions_are_offered_at_the_top_too() -> None:
    """Every name of the distributions package is a name of the package itself."""
    assert set(rl_modules.distributions.__all__) <= set(rl_modules.__all__)


def test_import_loads_nothing_else_and_prints_nothing() -> None:
    """Importing the package adds its own modules and those of the specs to what torch and tensordict load."""
    code = (
        "import sys, torch, tensordict, tensordict.nn, numpy; before = set(sys.modules); import rl_modules;"
        "new = {name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names);"
        "assert new <= {'rl_modules', 'rl_specs'} | {n.split('.')[0] for n in before}, new"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
