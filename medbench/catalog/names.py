"""Suggestions for names that are nearly right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["nearest"]


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """The known names most like one that is unknown, as text for a message; empty when none is near."""
    return " or ".join(get_close_matches(name, list(known), n=n, cutoff=0.6))
