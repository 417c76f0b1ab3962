"""Suggestions for misspelled names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """List the known names that are most similar to an unknown one.

    Args:
        name: The unknown name.
        known: All known names.
        n: How many to list at most.

    Returns:
        Text for a message, such as ``a or b``; empty if no name is similar.
    """
    from difflib import get_close_matches

    return " or ".join(get_close_matches(name, list(known), n=n, cutoff=0.6))


def suggestion(name: Any, known: Iterable[str], otherwise: str = "the keys known here are") -> str:
    """Say which known name was probably meant, or else list all of them.

    Args:
        name: The unknown name.
        known: All known names.
        otherwise: What the list begins with.
    """
    names = list(known)
    close = nearest(str(name), names, n=1)
    return f"did you mean {close!r}?" if close else f"{otherwise} {', '.join(names)}"
