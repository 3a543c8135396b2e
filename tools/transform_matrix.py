"""The table of transforms in the docs: what each of them can do, read off the classes.

Run `python tools/transform_matrix.py` to write it anew.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn

from rl_envs import transforms
from rl_envs.transforms import Timer, Transform
from rl_envs.transforms._feature_map import FeatureMap
from rl_envs.transforms._image_transform import ImageTransform
from rl_envs.transforms._stored import stored_only
from rl_specs import Unbounded

PAGE = Path(__file__).parents[1] / "docs" / "concepts" / "transforms.md"
START, END = "<!-- table of transforms -->\n", "<!-- end of the table -->\n"
_HEADER = ("transform", "partial reset", "inverse", "in a replay buffer", "state", "changes specs of")
_BASES = (Transform, FeatureMap, ImageTransform)
_KINDS = ("observation", "reward", "done", "action", "state")
_MAPS_IN = ("_inv_apply_transform", "_inv_map", "_inv_map_of")
_LINEAR = TensorDictModule(nn.Linear(1, 1), in_keys=["observation"], out_keys=["observation"])
_RECURRENT = TensorDictModule(nn.Linear(1, 1), in_keys=["observation"], out_keys=[("next", "hidden")])


def _never(_: object) -> bool:
    return False


ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "ActionDiscretizer": {"num_intervals": 3},
    "ActionScaling": {"loc": 0.0, "scale": 1.0},
    "BatchSizeTransform": {"batch_size": [1]},
    "BurnInTransform": {"modules": [_RECURRENT], "burn_in": 1},
    "CatFrames": {"N": 2, "dim": -1},
    "CenterCrop": {"w": 1},
    "ClipTransform": {"in_keys": ["observation"], "low": 0.0},
    "ConditionalPolicySwitch": {"policy": _LINEAR, "condition": _never},
    "ConditionalSkip": {"cond": _never},
    "Crop": {"w": 1},
    "DTypeCastTransform": {"dtype_in": torch.float64, "dtype_out": torch.float32},
    "DeviceCastTransform": {"device": "cpu"},
    "DiscreteActionProjection": {"num_actions_effective": 2, "max_actions": 3},
    "ExpandAs": {"in_key": "done", "ref_key": "reward"},
    "FlattenAction": {"first_dim": -2, "last_dim": -1},
    "FlattenObservation": {"first_dim": -2, "last_dim": -1},
    "Hash": {"in_keys": ["observation"], "out_keys": ["hash"]},
    "LineariseRewards": {"in_keys": ["reward"], "weights": [1.0]},
    "ModuleTransform": {"module": _LINEAR},
    "MultiAction": {"num_actions": 2},
    "MultiStepTransform": {"n_steps": 2, "gamma": 0.9},
    "ObservationNorm": {"loc": 0.0, "scale": 1.0},
    "PermuteTransform": {"dims": [-1, -2]},
    "RandomCropTensorDict": {"sub_seq_len": 1},
    "RandomTruncationTransform": {"min_horizon": 1, "max_horizon": 2},
    "RenameTransform": {"in_keys": ["observation"], "out_keys": ["o"]},
    "Resize": {"w": 1},
    "Reward2GoTransform": {"gamma": torch.tensor(0.9)},
    "RewardClipping": {"clamp_max": 1.0},
    "RewardScaling": {"loc": 0.0, "scale": 1.0},
    "SqueezeTransform": {"dim": -1},
    "Stack": {"in_keys": ["a", "b"], "out_key": "c"},
    "TargetReturn": {"target_return": 1.0},
    "TensorDictPrimer": {"primers": {"hidden": Unbounded(1)}},
    "TerminateTransform": {"stop": _never},
    "UnaryTransform": {"in_keys": ["observation"], "out_keys": ["o"], "fn": nn.Linear(1, 1)},
    "UnsqueezeTransform": {"dim": -1},
    "VecNorm": {"in_keys": ["observation"], "shapes": [[1]]},
    "gSDENoise": {"state_dim": 1, "action_dim": 1},
}
"""What those take that cannot be made without arguments."""


def table() -> str:
    """The table, in Markdown, a row for each public transform."""
    names = [name for name in transforms.__all__ if _is_one(getattr(transforms, name))]
    rows = [_HEADER, ("---",) * len(_HEADER), *(_row(name) for name in names)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def written(page: str) -> str:
    """The page with the table of the present code in it."""
    before, rest = page.split(START)
    return before + START + table() + END + rest.split(END)[1]


def _is_one(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Transform) and value is not Transform


def _row(name: str) -> tuple[str, ...]:
    transform: Transform = getattr(transforms, name)(**ARGUMENTS.get(name, {}))
    is_stored = _is_stored_only(transform)
    own_rows = "rows carried" if _overrides(transform, "_carried_keys") else "yes"
    return (
        f"`{name}`",
        "" if is_stored else "one row" if name == "NoopResetEnv" else own_rows,
        "yes" if _has_inverse(transform) else "",
        "only" if is_stored else "yes" if _takes_stored(transform) else "",
        "yes" if transform.state_dict() else "",
        "" if is_stored else ", ".join(kind for kind in _KINDS if _changes(transform, kind)),
    )


def _overrides(transform: Transform, *methods: str) -> bool:
    own = [each for each in type(transform).__mro__ if issubclass(each, Transform) and each not in _BASES]
    return any(method in vars(each) for each in own for method in methods)


def _is_stored_only(transform: Transform) -> bool:
    """Whether an environment refuses it: its `_bind` looks at nothing and says so."""
    try:
        problems = transform._bind(None)  # type: ignore[arg-type]  # those that work in environments read it
    except AttributeError:
        return False
    return bool(problems) and problems[0].startswith(stored_only("")[0].strip())


def _has_inverse(transform: Transform) -> bool:
    """Whether something is made of entries on their way in."""
    return _overrides(transform, *_MAPS_IN) or (_overrides(transform, "_inv_call") and not isinstance(transform, Timer))


def _takes_stored(transform: Transform) -> bool:
    """Whether `forward` does anything else than refuse, on data that lack every entry."""
    try:
        transform(TensorDict({}, [2]))
    except NotImplementedError:
        return False
    except (KeyError, RuntimeError, ValueError):
        return True
    return True


def _changes(transform: Transform, kind: str) -> bool:
    method = f"transform_{kind}_spec"
    if _overrides(transform, method):
        text: str = getattr(type(transform), method).__doc__ or ""
        return not text.startswith("Unchanged")
    if kind in ("action", "state"):
        return _overrides(transform, *_MAPS_IN, "_leaf_spec_inv", "_map_spec_inv")
    return kind != "done" and _overrides(transform, "_apply_transform", "_map", "_leaf_spec")


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
