"""Checkpoints of MoLoRA and plain language models, and the engine that answers requests with them.

Public names are imported on first use (PEP 562), so that importing this package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medbench.models.checking import CheckReport, check
    from medbench.models.config import MoLoRAConfig
    from medbench.models.converting import convert, save_converted
    from medbench.models.identity import fingerprint
    from medbench.models.loading import load_model
    from medbench.models.molora import MoLoRALinear, add_molora, molora_linears, set_impl
    from medbench.models.tokenizing import load_tokenizer

__all__ = [
    "CheckReport",
    "MoLoRAConfig",
    "MoLoRALinear",
    "add_molora",
    "check",
    "convert",
    "fingerprint",
    "load_model",
    "load_tokenizer",
    "molora_linears",
    "save_converted",
    "set_impl",
]

# Public name -> module of this package that defines it.
_HOMES = {
    "CheckReport": "checking",
    "MoLoRAConfig": "config",
    "MoLoRALinear": "molora",
    "add_molora": "molora",
    "check": "checking",
    "convert": "converting",
    "fingerprint": "identity",
    "load_model": "loading",
    "load_tokenizer": "tokenizing",
    "molora_linears": "molora",
    "save_converted": "converting",
    "set_impl": "molora",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
