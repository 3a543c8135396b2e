from collections.abc import Callable

from torch import Tensor

def mappings(key: str) -> Callable[[Tensor], Tensor]: ...
