"""What the case scripts share: the form of their report."""

import json


def report(values: dict[str, float], unit: str) -> None:
    """Print the line that the runner reads; the last one of a script.

    Args:
        values: label of a row -> figure.
        unit: `"frames/s"`, `"us"`, `"s"` or `"MB"`.
    """
    print(json.dumps({"values": values, "unit": unit}), flush=True)


def label(num_envs: int) -> str:
    """How rows name a number of environments."""
    return "1 env" if num_envs == 1 else f"{num_envs:,} envs"
