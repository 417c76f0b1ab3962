"""Conversion of raw CBLUE files to PromptCBLUE rows, with the official templates."""

from __future__ import annotations

from medbench.data.cblue.converting import CONVERTIBLE, NOT_CONVERTIBLE, convert, read_templates, write_rows

__all__ = ["CONVERTIBLE", "NOT_CONVERTIBLE", "convert", "read_templates", "write_rows"]
