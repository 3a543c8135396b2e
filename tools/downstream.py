"""Small packages as someone else would write them, each on one package of the workspace, to prove that this works."""

from collections.abc import Mapping
from pathlib import Path

_PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "downstream-{name}"
version = "0"
dependencies = ["{name}"]

[tool.hatch.build.targets.wheel]
packages = ["downstream_{module}"]
"""

_BUFFERS = """
import torch
from rl_buffers import LazyTensorStorage, SamplerWithoutReplacement, TensorDictReplayBuffer
from tensordict import TensorDict

buffer = TensorDictReplayBuffer(
    storage=LazyTensorStorage(100), sampler=SamplerWithoutReplacement(), batch_size=10
)
buffer.extend(TensorDict({"observation": torch.arange(50.0).view(50, 1)}, batch_size=[50]))
seen = torch.cat([batch["observation"] for batch in buffer]).flatten().sort().values
assert torch.equal(seen, torch.arange(50.0)), seen
"""

_SPECS = """
import torch
from rl_specs import Bounded, Categorical, Composite

spec = Composite({"observation": Bounded(-1.0, 1.0, shape=(3,)), ("agent", "action"): Categorical(4)})
assert spec.is_in(spec.rand())
outside = spec.zero().set("observation", torch.full((3,), 2.0))
assert not spec.is_in(outside)
assert spec.is_in(spec.project(outside))
"""

_CHECK = """
import importlib.util
import sys

present = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is not None]
assert not present, f"installed, though only {name} was asked for: {{present}}"
print("works without " + ", ".join(sys.argv[1:]))
"""

# The program of each downstream package, by the one package that it depends on.
DOWNSTREAM: Mapping[str, str] = {"rl-buffers": _BUFFERS, "rl-specs": _SPECS}


def write_downstream(name: str, folder: Path) -> Path:
    """Write the package that depends on `name` alone and runs with `python -m downstream_<module> UNEXPECTED...`.

    Args:
        name: a key of `DOWNSTREAM`.
        folder: where to write it.
    Returns:
        The folder of its `pyproject.toml`.
    """
    module = name.replace("-", "_")
    source = folder / name / f"downstream_{module}"
    source.mkdir(parents=True)
    (folder / name / "pyproject.toml").write_text(_PYPROJECT.format(name=name, module=module))
    (source / "__init__.py").write_text("")
    (source / "__main__.py").write_text(DOWNSTREAM[name] + _CHECK.format(name=name))
    return folder / name
