"""Evaluate medical language models, above all mixtures of LoRA experts, and see how they route.

The public functions are imported on first use (PEP 562), so that ``import medbench`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medbench.version import __version__

if TYPE_CHECKING:
    from medbench.analysis import compare, load_runs
    from medbench.api import ablate, evaluate
    from medbench.reports import write_report as report

__all__ = ["__version__", "ablate", "compare", "evaluate", "load_runs", "report"]

# Public name -> (module, name in it).
_HOMES = {
    "ablate": ("medbench.api", "ablate"),
    "compare": ("medbench.analysis", "compare"),
    "evaluate": ("medbench.api", "evaluate"),
    "load_runs": ("medbench.analysis", "load_runs"),
    "report": ("medbench.reports", "write_report"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
