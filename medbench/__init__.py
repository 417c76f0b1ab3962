"""Evaluate medical language models, above all mixtures of LoRA experts, and see how they route."""

from __future__ import annotations

from medbench.version import __version__

__all__ = ["__version__"]
