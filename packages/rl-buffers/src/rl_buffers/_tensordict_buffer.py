"""What buffers of TensorDicts share: what they accept, and batches that say where they come from."""

from typing import Any

from tensordict import TensorDictBase

from rl_buffers._buffer import BufferBase
from rl_buffers._layout import stack_rows
from rl_specs import message


class TensorDictBufferBase(BufferBase):
    """See `TensorDictReplayBuffer`."""

    def _accept(self, data: Any, method: str) -> Any:
        if type(data) is list:
            data = stack_rows(data, f"{self._name}.{method}")
        if not isinstance(data, TensorDictBase):
            raise TypeError(
                message(
                    f"{self._name}.{method}",
                    "the data",
                    expected="a TensorDict",
                    found=type(data).__name__,
                    fix="Use ReplayBuffer for other data",
                )
            )
        return data.exclude("index") if "index" in data else data

    def _annotate(self, batch: Any, info: dict[str, Any]) -> Any:
        batch_size = batch.batch_size
        for key, value in info.items():
            if len(batch_size) > 1:
                lead = value.reshape(len(value), *[1] * (len(batch_size) - 1), *value.shape[1:])
                value = lead.expand(*batch_size, *value.shape[1:]).contiguous()
            batch.set(key, value)
        return batch
