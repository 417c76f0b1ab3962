"""A CUDA graph's likeness on a CPU: what operations a step ran, on which memory, to be run again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from medbench.models.engines.native.decode_graphs import Step

# What needs the host to know a value on the device; a CUDA graph cannot be recorded over it.
_SYNCHRONISING = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal", "unique")


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch leaves it untyped
    """Records operations by the memory that they read and write.

    Played again, an operation reads the same tensors and leaves its results in the same memory: as with a
    CUDA graph, whatever Python computed in between is as it was.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._played: list[Callable[[], None]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").split(".")[0]
        if name in _SYNCHRONISING:
            raise RuntimeError(f"operation not permitted while a step is recorded: {name}")
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = {tensor.untyped_storage().data_ptr() for tensor in _tensors((args, kwargs))}
        # Views, and operations in place: their results are seen through what they were given.
        fresh = [
            None if tensor.untyped_storage().data_ptr() in given else tensor for tensor in _tensors(result)
        ]

        def play() -> None:
            for held, new in zip(fresh, _tensors(func(*args, **kwargs)), strict=True):
                if held is not None:
                    held.copy_(new)

        self._played.append(play)
        return result

    def replay(self) -> None:
        """Run all operations again."""
        for play in self._played:
            play()


def _tensors(tree: Any) -> list[Tensor]:
    """The tensors with memory of their own; a packed weight has none, and no step changes it."""
    leaves = tree_flatten(tree)[0]
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and not leaf.is_mkldnn]


def capture_on_tape(step: Callable[[], Step]) -> tuple[Step, Callable[[], None]]:
    """Record a step as :class:`medbench.models.engines.native.decode_graphs.CudaCapture` does."""
    step()
    tape = Tape()
    with tape:
        outputs = step()
    return outputs, tape.replay
