"""Reading the answer of a generated text."""

from __future__ import annotations

from medbench.scoring.extraction.reader import read

__all__ = ["read"]
