"""The programs in CONTRIBUTING.md do what the text around them says."""

import re
import textwrap
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from workspace import ROOT, read_toml

TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def example(name: str) -> Any:
    """The class of this name from the document."""
    (program,) = (block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if f"class {name}(" in block)
    names: dict[str, Any] = {"__name__": "contributing"}
    exec(textwrap.dedent(program), names)
    return names[name]


def test_transform() -> None:
    """The example transform maps its entries and leaves its input as it was."""
    data = TensorDict({"observation": torch.tensor([1.0, 2.0])}, batch_size=[])
    assert example("Scale")(["observation"], factor=3.0)(data)["observation"].tolist() == [3.0, 6.0]


def test_loss() -> None:
    """The example loss is the mean squared error, and its gradient reaches the critic."""
    critic = TensorDictModule(torch.nn.Linear(1, 1, bias=False), in_keys=["observation"], out_keys=["state_value"])
    torch.nn.init.constant_(next(critic.parameters()), 2.0)
    data = TensorDict({"observation": torch.ones(4, 1), "value_target": torch.full((4, 1), 5.0)}, batch_size=[4])
    loss = example("ValueLoss")(critic)
    result = loss(data)["loss_critic"]
    assert result.item() == 9.0
    result.backward()
    (gradient,) = (parameter.grad for parameter in loss.parameters())
    assert gradient.item() == pytest.approx(-6.0)
    assert "loss_critic" not in data


def test_commands_exist() -> None:
    """Every `hatch run` command that the document names is a script of the root environment."""
    scripts = read_toml(ROOT / "pyproject.toml")["tool"]["hatch"]["envs"]["default"]["scripts"]
    named = set(re.findall(r"`hatch run (\w+)", TEXT))
    assert named == set(scripts)


def test_paths_exist() -> None:
    """Every file and folder that the document names is there, but for those of its examples."""
    paths = [path for path in re.findall(r"`((?:packages|tools|docs)/[\w./-]*)`", TEXT) if "scale" not in path]
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path).exists()] == []
