"""Every setting of a run as it is used, wherever it comes from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medbench.runs.plan import RunPlan

__all__ = ["settings_used", "token_budget"]


def token_budget(plan: RunPlan) -> int | str:
    """Tokens per forward: as asked for the run, else as the model's definition says."""
    budget: int | str = plan.settings.max_batch_tokens or plan.model.engine.max_batch_tokens or "auto"
    return budget


def settings_used(plan: RunPlan) -> dict[str, Any]:
    """Every setting of a run as it is used, from whatever it comes: for ``settings`` of ``run.json``.

    ``num_fewshot`` is ``None`` where the tasks decide, ``limit`` for all documents; where documents come from
    stands beside the scores of each task.
    """
    asked = asdict(plan.settings)
    del asked["data_dir"]  # nobody's business but its owner's
    return asked | {
        "chat_template": plan.chat_template,
        "system_prompt": plan.system_prompt,
        "thinking": plan.protocol.thinking,
        "thinking_tags": [list(pair) for pair in plan.protocol.thinking_tags],
        "dtype": plan.model.dtype,
        "device": plan.model.device,
        "quantization": plan.model.quantization,
        "deterministic": plan.model.deterministic,
        "max_batch_tokens": token_budget(plan),
        "engine": None,  # known once the model is loaded (:mod:`medbench.runs.engines`)
    }
