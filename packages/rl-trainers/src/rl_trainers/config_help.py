"""The list of all options, for `rl-train ppo --help`."""

import textwrap

from rl_trainers.config import PPOConfig
from rl_trainers.config_check import iterate_options


def describe_options() -> str:
    """Every option with its type, default, range, unit and description, for `--help`."""
    lines: list[str] = []
    group = None
    for item in iterate_options(PPOConfig()):
        head = item.key.split(".")[0] if "." in item.key else "run"
        if head != group:
            group = head
            lines += ["", f"{group}:"]
        facts = item.field.metadata
        shown = "[" + ",".join(map(str, item.value)) + "]" if isinstance(item.value, list) else item.value
        shown = (
            str(shown).lower() if isinstance(shown, bool) else (f"{shown:.6g}" if isinstance(shown, float) else shown)
        )
        text = facts["description"] + (f" [{facts['unit']}]" if facts["unit"] else "")
        if facts["choices"]:
            text += f" (one of {', '.join(facts['choices'])})"
        lines.append(f"  {item.key}={shown}  <{item.type_name}>")
        lines += textwrap.wrap(text, width=100, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines[1:])
