"""The command line: one module per noun, no logic of its own."""

from __future__ import annotations

from medbench.cli.main import main

__all__ = ["main"]
