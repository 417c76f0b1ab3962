"""Suggestions for names that are nearly right."""

from __future__ import annotations

from medbench.strict import nearest

__all__ = ["nearest"]
