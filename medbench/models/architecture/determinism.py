"""The same numbers from the same batch, whatever the machine is doing; and which choices that asks of it.

16-bit products depend on how a library splits their sums, which it decides by shape and by free workspace.
Fixed workspaces and no reduced-precision sums pin that down on a GPU; among equal router logits the lowest
expert wins. What remains is the shape of the batch itself: only the answers of float32 do not depend on it.
"""

from __future__ import annotations

import os

import torch
from torch import nn

from medbench.models.architecture.mixtures import mixtures_of

# Read by CUDA's libraries when they are first used: one workspace of 16 KiB eight times, and one KiB.
_WORKSPACES = {"CUBLAS_WORKSPACE_CONFIG": ":16:8", "CUBLASLT_WORKSPACE_SIZE": "1"}


def prepare_determinism() -> None:
    """Ask torch and CUDA for reproducible arithmetic, for this process; called before the first product.

    An operation that has no deterministic form warns and runs all the same.
    """
    for name, value in _WORKSPACES.items():
        os.environ.setdefault(name, value)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Left alone, every new tensor would be filled, to make the reading of uninitialized memory repeatable.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # set by a property
    torch.backends.cudnn.benchmark = False
    matmul = torch.backends.cuda.matmul
    matmul.allow_tf32 = False
    # Neither sums in 16 bits nor sums split among blocks.
    matmul.allow_fp16_reduced_precision_reduction = (False, False)
    matmul.allow_bf16_reduced_precision_reduction = (False, False)
    if torch.cuda.is_available():
        torch.backends.cuda.preferred_blas_library("cublaslt")


def route_deterministically(model: nn.Module) -> None:
    """Have every router take the lowest index among equal logits."""
    for module in mixtures_of(model):
        module.routing = "first"
