"""The model and the tokenizer that a plan names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medbench.runs.plan import RunPlan

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["open_model", "open_tokenizer", "token_budget"]


def open_model(plan: RunPlan) -> PreTrainedModel:
    """Load the model of a plan."""
    from medbench.models import load_model

    definition = plan.model
    return load_model(
        definition.path,
        definition.base,
        dtype=definition.dtype,
        device=definition.device,
        layout=definition.layout,
        revision=definition.revision,
        base_revision=definition.base_revision,
        quantization=definition.quantization,
        deterministic=definition.deterministic,
    )


def open_tokenizer(plan: RunPlan) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a plan."""
    from medbench.models import load_tokenizer

    definition = plan.model
    return load_tokenizer(
        definition.path,
        definition.base,
        revision=definition.revision,
        base_revision=definition.base_revision,
    )


def token_budget(plan: RunPlan) -> int | str:
    """Tokens per forward: as asked for the run, else as the model's definition says."""
    budget: int | str = plan.settings.max_batch_tokens or plan.model.engine.get("max_batch_tokens", "auto")
    return budget
