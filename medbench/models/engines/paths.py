"""How a model runs: packed where that is exact, otherwise by transformers' own forward."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from medbench.errors import ModelError
from medbench.models.architecture.memory import is_out_of_memory
from medbench.models.engines.native.attention import MASK
from medbench.models.engines.native.forward import PackedModel
from medbench.models.engines.reference import ReferenceModel
from medbench.models.engines.self_check import check_packed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LOG = logging.getLogger(__name__)

EngineKind = Literal["packed", "reference"]


@dataclass(frozen=True)
class ModelPath:
    """How a model is run.

    Attributes:
        reference: The model's own forward.
        packed: The packed model, or ``None`` if the model takes the reference path.
        why: Why it cannot be packed; empty if it is.
        untried: Lengths beyond which packing was not tried.
    """

    reference: ReferenceModel
    packed: PackedModel | None
    why: str = ""
    untried: tuple[int, ...] = ()

    @property
    def kind(self) -> EngineKind:
        """Which of the two is used."""
        return "reference" if self.packed is None else "packed"

    @property
    def runs(self) -> PackedModel | ReferenceModel:
        """The one that is used."""
        return self.reference if self.packed is None else self.packed

    def tell(self) -> None:
        """Warn if the model is slow because it takes the reference path."""
        if self.packed is None:
            _LOG.warning("answered one row at a time by transformers' own forward: %s", self.why)

    def described(self) -> dict[str, Any]:
        """Entries for a run's metadata."""
        found: dict[str, Any] = {"engine": "native" if self.packed is not None else "reference"}
        if self.why:
            found["engine_why"] = self.why
            if self.reference.limits:
                found["engine_refuses"] = self.reference.limits
        if self.untried:
            found["engine_untried"] = list(self.untried)
        return found


def choose_path(model: PreTrainedModel) -> ModelPath:
    """Try the packed engine on a model, and fall back to the reference.

    Raises:
        ModelError: It does not run at all, or is no causal language model.
    """
    reference = ReferenceModel(model)
    try:
        packed = PackedModel(model)
        untried = check_packed(packed, reference)
    except ModelError as error:
        return ModelPath(reference, None, error.what)
    except Exception as error:  # third-party model code may raise anything
        if is_out_of_memory(error):
            raise
        return ModelPath(reference, None, _explained(error))
    return ModelPath(reference, packed, untried=untried)


def _explained(error: Exception) -> str:
    """Why a model cannot be packed, from an error raised in its own code."""
    lines = str(error).strip().splitlines()
    message = lines[0] if lines else repr(error)
    if MASK in message:
        return "its attention reads the mask by itself"
    if "num_attention_heads" in message:
        return "it has no attention heads"
    return f"it cannot be packed: {message}"
