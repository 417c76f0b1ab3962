"""Models of architectures for which only transformers knows how tensors in files become parameters."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from medbench.errors import ModelError
from medbench.models.architecture.skeleton import Skeleton, foreign_failures
from medbench.models.checkpoints.layouts.fitting import without_leftovers
from medbench.models.checkpoints.tensors import LazyTensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_HINT = "the files and the configuration do not belong together"
_EXPERT = re.compile(r"\.experts\.(\d+)\.")
_NAMED = 4


def fitted_by_transformers(
    tensors: Mapping[str, LazyTensor], skeleton: Skeleton, *, where: str
) -> dict[str, LazyTensor]:
    """Return the tensors that a model needs, by their names in the files.

    transformers converts them without their contents, so that nothing is read.

    Raises:
        ModelError: Tensors are missing, surplus, or of another shape.
    """
    found = without_leftovers(tensors)
    _check_experts(found, where)
    shaped = {
        name: torch.empty(tensor.shape, dtype=tensor.dtype, device="meta") for name, tensor in found.items()
    }
    _converted(skeleton, shaped, torch.float32, "meta", where)
    return found


def load_by_transformers(
    tensors: Mapping[str, LazyTensor], skeleton: Skeleton, dtype: torch.dtype, *, where: str
) -> PreTrainedModel:
    """Load a model on the CPU from tensors that :func:`fitted_by_transformers` returned.

    Args:
        tensors: Name in the files -> tensor.
        skeleton: The model without storage; it stays so.
        dtype: Element type, except of the parameters that the architecture keeps in float32.
        where: The files, for messages.

    Raises:
        ModelError: A tensor cannot be read, or has values that are not finite in ``dtype``.
    """
    model = _converted(
        skeleton, {name: tensor.read() for name, tensor in tensors.items()}, dtype, "cpu", where
    )
    for name, parameter in model.named_parameters():
        # Memory of its own: what transformers did not have to convert is the mapped file still.
        parameter.data = parameter.data.clone()
        require_finite(name, parameter, where)
    return model


def require_finite(name: str, value: Tensor, where: str) -> None:
    """Demand that a loaded tensor has no infinities and no NaN.

    Raises:
        ModelError: It has.
    """
    if not bool(torch.isfinite(value).all()):
        raise ModelError(
            f"{name} has values that are not finite in {value.dtype}",
            where=where,
            hint="load it in float32 or bfloat16" if value.dtype == torch.float16 else "the file is damaged",
        )


def _converted(
    skeleton: Skeleton, tensors: dict[str, Tensor], dtype: torch.dtype, device: str, where: str
) -> PreTrainedModel:
    with foreign_failures("transformers cannot load the model", where, _HINT), _quiet():
        model, info = cast("Any", type(skeleton.model)).from_pretrained(
            None,
            config=skeleton.model.config,
            state_dict=tensors,
            dtype=dtype,
            device_map={"": device},
            output_loading_info=True,
        )
    if problems := [
        f"{key.replace('_keys', '')} tensors: {_some(map(str, value))}"
        for key, value in info.items()
        if value
    ]:
        raise ModelError("; ".join(problems), where=where, hint=_HINT)
    return cast("PreTrainedModel", model)


def _check_experts(names: Iterable[str], where: str) -> None:
    """Demand that experts are numbered from 0 without a gap: transformers stacks whichever there are."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for name in names:
        if match := _EXPERT.search(name):
            numbers[f"{name[: match.start()]}.experts.*.{name[match.end() :]}"].add(int(match.group(1)))
    for name, found in numbers.items():
        if found != set(range(len(found))):
            missing = min(set(range(len(found))) - found)
            raise ModelError(f"expert {missing} of {name} is missing", where=where, hint=_HINT)


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f", … ({len(ordered) - _NAMED} more)" if len(ordered) > _NAMED else ""
    return ", ".join(ordered[:_NAMED]) + more


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bar and its table of keys, of which ours is the message, to itself."""
    from transformers import utils

    logging: Any = utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
