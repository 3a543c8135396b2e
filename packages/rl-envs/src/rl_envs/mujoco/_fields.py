"""The fields of a simulation as an author's functions see them."""

from typing import final

from torch import Tensor

from rl_specs import missing_key


@final
class Fields(dict[str, Tensor]):
    """Tensors by MuJoCo's names; one that is not there is an error which says where to ask for it.

    Args:
        option: the option of `Simulation` that adds a field.
    """

    def __init__(self, option: str) -> None:
        super().__init__()
        self._option = option

    def __missing__(self, name: str) -> Tensor:
        fix = f'Ask for it: Simulation(..., {self._option}=("{name}",))'
        raise missing_key(f"Simulation.{self._option}", name, self, fix=fix)
