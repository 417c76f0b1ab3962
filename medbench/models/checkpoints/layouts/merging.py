"""LoRA that is merged into the weights of the base as these are read."""

from __future__ import annotations

import torch
from torch import Tensor

from medbench.models.checkpoints.tensors import LazyTensor


def merged_lora(weight: LazyTensor, a: LazyTensor, b: LazyTensor, scaling: float) -> LazyTensor:
    """Return ``W + scaling * B A``: W [out, in], A [r, in], B [out, r], computed in float32 at least."""
    dtype = torch.promote_types(weight.dtype, torch.float32)

    def read() -> Tensor:
        return torch.addmm(weight.read().to(dtype), b.read().to(dtype), a.read().to(dtype), alpha=scaling)

    return LazyTensor(weight.shape, dtype, read)
