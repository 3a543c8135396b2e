"""The list of options."""

from rl_trainers import PPOConfig
from rl_trainers.config_check import iterate_options
from rl_trainers.config_help import describe_options


def test_every_option_is_shown_with_default_type_unit_and_description() -> None:
    """Each option appears with its type, and its unit where it has one."""
    text = describe_options()
    flat = " ".join(text.split())
    for item in iterate_options(PPOConfig()):
        assert f"  {item.key}=" in text
        assert item.field.metadata["description"] in flat
    assert "collector.total_frames=400000  <int>" in text
    assert "frames of training in all, rounded up to whole batches [frames]" in flat
    assert "env.options={}  <dict[str, Any]>" in text
    assert "(one of tanh, relu, elu, silu)" in flat
    assert "progress=true  <bool>" in text
