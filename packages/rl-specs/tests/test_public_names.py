"""The public names of the package."""

import subprocess
import sys

import rl_specs

PUBLIC = """
Binary BinaryBox BinaryDiscreteTensorSpec Bounded BoundedTensorSpec Categorical CategoricalBox Composite CompositeSpec
ContinuousBox DTypeError DeviceError Difference DiscreteTensorSpec FlatDict LeafSpec MissingKeyError MultiCategorical
MultiCategoricalBox MultiDiscreteTensorSpec MultiOneHot MultiOneHotDiscreteTensorSpec NestedKey NonTensor NonTensorSpec
OneHot OneHotDiscreteTensorSpec ShapeError SpecError TensorMap TensorSpec Unbounded UnboundedContinuousTensorSpec
Choice LazyStackedCompositeSpec LazyStackedTensorSpec Stacked StackedComposite
__version__ canonical_key canonical_keys cat_specs difference_table explain_difference from_json join_key key_str
make_composite_from_td message missing_key near_matches resolve_device spec_differences stack_specs to_json
"""


def test_public_names() -> None:
    """`__all__` is sorted, complete, and changes only with this list."""
    assert set(rl_specs.__all__) == set(PUBLIC.split())
    assert all(getattr(rl_specs, name) is not None for name in rl_specs.__all__)


def test_import_is_quick_and_silent() -> None:
    """Importing prints nothing and adds less than 0.15 s to torch and tensordict."""
    code = (
        "import torch, tensordict, time; start = time.process_time(); import rl_specs; "
        "print(time.process_time() - start)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr == ""
    assert float(result.stdout) < 0.15
