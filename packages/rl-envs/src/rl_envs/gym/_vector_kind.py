"""What a Gymnasium `VectorEnv` can do: when it starts its next episodes, and how it is reset."""

from dataclasses import dataclass
from typing import Any

from rl_specs import message

_MASK_FIX = (
    'If it takes options={"reset_mask": mask}, say so in metadata["reset_mask"] = True; else use '
    'GymEnv(name, num_envs=...), with backend="envpool" for EnvPool'
)


@dataclass(frozen=True)
class VectorKind:
    """What a `VectorEnv` can do.

    Args:
        name: its class.
        is_same_step: it starts the next episode within the last step of one.
        takes_reset_mask: its rows can be reset one by one, by `options={"reset_mask": mask}`.
        takes_seeds_of_rows: it takes a list of seeds, one for each row.
    """

    name: str
    is_same_step: bool
    takes_reset_mask: bool
    takes_seeds_of_rows: bool

    def check_masked_reset(self) -> None:
        """Refuse to reset some rows where only all can be.

        Raises:
            ValueError: rows cannot be reset one by one.
        """
        if not self.takes_reset_mask:
            problem = "rows that are not done cannot be reset one by one"
            raise ValueError(message(f"GymWrapper({self.name})", problem, fix=_MASK_FIX))


def vector_kind(env: Any) -> VectorKind:
    """The kind of a `VectorEnv`, from its class and its metadata.

    Args:
        env: the env. `metadata["autoreset_mode"]` says when it starts episodes. `SyncVectorEnv`, `AsyncVectorEnv` and
            those of mode `DISABLED` take a mask; others say so in `metadata["reset_mask"]`.
    Raises:
        ValueError: an autoreset mode that is not known, or mode `NEXT_STEP` without masks: the rows that are done could
            not be started without a step of the others.
    """
    from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

    name = type(env.unwrapped).__name__
    metadata = env.metadata or {}
    mode = metadata.get("autoreset_mode")
    is_gymnasiums = isinstance(env.unwrapped, SyncVectorEnv | AsyncVectorEnv)
    if not isinstance(mode, AutoresetMode):
        raise ValueError(
            message(
                f"GymWrapper({name})",
                'unknown metadata["autoreset_mode"]',
                expected="AutoresetMode.SAME_STEP, NEXT_STEP or DISABLED",
                found=mode,
                fix="Set it to what the env does",
            )
        )
    takes_mask = is_gymnasiums or mode is AutoresetMode.DISABLED or bool(metadata.get("reset_mask", False))
    if mode is AutoresetMode.NEXT_STEP and not takes_mask:
        problem = "rows of this NEXT_STEP vector env cannot be reset one by one"
        fix = f"Make it with autoreset_mode=AutoresetMode.SAME_STEP. {_MASK_FIX}"
        raise ValueError(message(f"GymWrapper({name})", problem, fix=fix))
    return VectorKind(name, mode is AutoresetMode.SAME_STEP, takes_mask, is_gymnasiums)
