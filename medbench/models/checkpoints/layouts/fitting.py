"""Whether the tensors of files are those of a model: none missing, none to spare, each of its shape."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from medbench.errors import ModelError
from medbench.models.architecture.skeleton import Skeleton
from medbench.models.checkpoints.tensors import LazyTensor, compare

# What training leaves in a checkpoint beside the language model: heads that predict further tokens, and the
# value head of reinforcement learning. No language model computes with them.
_LEFTOVERS = re.compile(r"^(?:(?:model\.)?mtp|v_head)\.")


def fitted(
    tensors: Mapping[str, LazyTensor],
    skeleton: Skeleton,
    expected: Mapping[str, tuple[int, ...]],
    *,
    where: str,
) -> dict[str, LazyTensor]:
    """Return exactly the tensors that a model needs.

    Args:
        tensors: Tensors of the files.
        skeleton: The model. Of two tied tensors the files need only one, whichever it is.
        expected: Name -> shape of what is needed besides the skeleton's.
        where: The files, for messages.

    Raises:
        ModelError: Tensors are missing, surplus, or of another shape or type; or tied ones differ.
    """
    ignored = [re.compile(pattern) for pattern in skeleton.model._keys_to_ignore_on_load_unexpected or ()]
    found = {
        name: tensor
        for name, tensor in without_leftovers(tensors).items()
        if name in skeleton.shapes or not any(pattern.search(name) for pattern in ignored)
    }
    for name, source in skeleton.tied.items():
        if source not in found and name in found:
            found[source] = found[name]
    compare(found, {**skeleton.shapes, **expected}, where=where, optional=skeleton.tied)
    _check_tied(found, skeleton.tied, where=where)
    return found


def without_leftovers(tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Leave out what training leaves beside the language model."""
    return {name: tensor for name, tensor in tensors.items() if _LEFTOVERS.search(name) is None}


def _check_tied(tensors: Mapping[str, LazyTensor], tied: Mapping[str, str], *, where: str) -> None:
    """Demand that a tensor which the configuration ties to another equals it, where both are there."""
    for name, source in tied.items():
        if name not in tensors or source not in tensors or tensors[name] is tensors[source]:
            continue
        first, second = tensors[name].read(), tensors[source].read()
        if not _equal(first, second):
            raise ModelError(
                f"the configuration ties {name} to {source}, but the files have different tensors for them",
                where=where,
                hint='if they are meant to differ, set "tie_word_embeddings": false',
            )


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool((first == second).all())
