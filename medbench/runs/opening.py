"""The model and the tokenizer that a plan names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medbench.catalog.models import ModelDefinition
    from medbench.models.source import ModelSource
    from medbench.runs.plan import RunPlan

__all__ = ["model_source", "token_budget"]


def model_source(definition: ModelDefinition) -> ModelSource:
    """Where a defined model comes from, and how it is to be opened."""
    from medbench.models.source import ModelSource

    return ModelSource(
        path=str(definition.path),
        base=None if definition.base is None else str(definition.base),
        dtype=definition.dtype,
        device=definition.device,
        layout=definition.layout,
        revision=definition.revision,
        base_revision=definition.base_revision,
        quantization=definition.quantization,
        deterministic=definition.deterministic,
    )


def token_budget(plan: RunPlan) -> int | str:
    """Tokens per forward: as asked for the run, else as the model's definition says."""
    budget: int | str = plan.settings.max_batch_tokens or plan.model.engine.get("max_batch_tokens", "auto")
    return budget
