"""Checkpoints of MoLoRA and plain language models, and the engine that answers requests with them.

Public names are imported on first use (PEP 562), so that importing this package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medbench.models.architecture.config import MoLoRAConfig
    from medbench.models.architecture.mixtures import add_molora, molora_linears, set_impl
    from medbench.models.architecture.molora import MoLoRALinear
    from medbench.models.checkpoints.checking import CheckReport, check
    from medbench.models.checkpoints.converting import convert, save_converted
    from medbench.models.checkpoints.folder import CheckpointSource
    from medbench.models.checkpoints.identity import fingerprint
    from medbench.models.checkpoints.loading import load_model
    from medbench.models.checkpoints.tokenizer import load_tokenizer
    from medbench.models.engines.engine import Engine
    from medbench.models.engines.native.generation_rows import Generation, Sampling
    from medbench.models.engines.native.scoring_pass import Score
    from medbench.models.harness.adapter import MedbenchLM, register_models
    from medbench.models.harness.answers import Answer, AnswerStore, MemoryStore
    from medbench.models.harness.responses import Response
    from medbench.models.harness.stored import StoredLM
    from medbench.models.routing.ablation import Ablation, ablated, parse_ablation, sweep
    from medbench.models.routing.counts import RoutingCounts
    from medbench.models.routing.recorder import Recorder

__all__ = [
    "Ablation",
    "Answer",
    "AnswerStore",
    "CheckReport",
    "CheckpointSource",
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
    "Ablation": "routing.ablation",
    "Answer": "harness.answers",
    "AnswerStore": "harness.answers",
    "CheckReport": "checkpoints.checking",
    "CheckpointSource": "checkpoints.folder",
    "Engine": "engines.engine",
    "Generation": "engines.native.generation_rows",
    "MedbenchLM": "harness.adapter",
    "MemoryStore": "harness.answers",
    "MoLoRAConfig": "architecture.config",
    "MoLoRALinear": "architecture.molora",
    "Recorder": "routing.recorder",
    "Response": "harness.responses",
    "RoutingCounts": "routing.counts",
    "Sampling": "engines.native.generation_rows",
    "Score": "engines.native.scoring_pass",
    "StoredLM": "harness.stored",
    "ablated": "routing.ablation",
    "add_molora": "architecture.mixtures",
    "check": "checkpoints.checking",
    "convert": "checkpoints.converting",
    "fingerprint": "checkpoints.identity",
    "load_model": "checkpoints.loading",
    "load_tokenizer": "checkpoints.tokenizer",
    "molora_linears": "architecture.mixtures",
    "parse_ablation": "routing.ablation",
    "register_models": "harness.adapter",
    "save_converted": "checkpoints.converting",
    "set_impl": "architecture.mixtures",
    "sweep": "routing.ablation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
