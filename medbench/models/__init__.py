"""Checkpoints of MoLoRA and plain language models, and the engine that answers requests with them.

Public names are imported on first use (PEP 562), so that importing this package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medbench.models.ablation import Ablation, ablated, parse_ablation, sweep
    from medbench.models.adapter import MedbenchLM, register_models
    from medbench.models.answers import Answer, AnswerStore, MemoryStore
    from medbench.models.checking import CheckReport, check
    from medbench.models.config import MoLoRAConfig
    from medbench.models.converting import convert, save_converted
    from medbench.models.engine import Engine
    from medbench.models.generation_rows import Generation
    from medbench.models.identity import fingerprint
    from medbench.models.loading import load_model
    from medbench.models.molora import MoLoRALinear, add_molora, molora_linears, set_impl
    from medbench.models.recorder import Recorder
    from medbench.models.responses import Response
    from medbench.models.routing_counts import RoutingCounts
    from medbench.models.sampling import Sampling
    from medbench.models.scoring_pass import Score
    from medbench.models.stored import StoredLM
    from medbench.models.tokenizing import load_tokenizer

__all__ = [
    "Ablation",
    "Answer",
    "AnswerStore",
    "CheckReport",
    "Engine",
    "Generation",
    "MedbenchLM",
    "MemoryStore",
    "MoLoRAConfig",
    "MoLoRALinear",
    "Recorder",
    "Response",
    "RoutingCounts",
    "Sampling",
    "Score",
    "StoredLM",
    "ablated",
    "add_molora",
    "check",
    "convert",
    "fingerprint",
    "load_model",
    "load_tokenizer",
    "molora_linears",
    "parse_ablation",
    "register_models",
    "save_converted",
    "set_impl",
    "sweep",
]

# Public name -> module of this package that defines it.
_HOMES = {
    "Ablation": "ablation",
    "Answer": "answers",
    "AnswerStore": "answers",
    "CheckReport": "checking",
    "Engine": "engine",
    "Generation": "generation_rows",
    "MedbenchLM": "adapter",
    "MemoryStore": "answers",
    "MoLoRAConfig": "config",
    "MoLoRALinear": "molora",
    "Recorder": "recorder",
    "Response": "responses",
    "RoutingCounts": "routing_counts",
    "Sampling": "sampling",
    "Score": "scoring_pass",
    "StoredLM": "stored",
    "ablated": "ablation",
    "add_molora": "molora",
    "check": "checking",
    "convert": "converting",
    "fingerprint": "identity",
    "load_model": "loading",
    "load_tokenizer": "tokenizing",
    "molora_linears": "molora",
    "parse_ablation": "ablation",
    "register_models": "adapter",
    "save_converted": "converting",
    "set_impl": "molora",
    "sweep": "ablation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
