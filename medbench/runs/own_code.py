"""A checksum over medbench's own sources that can change an answer or a score."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from medbench.common.files import sha256_of

__all__ = ["code_digest", "scoring_sources"]

_PACKAGE = Path(__file__).parents[1]
_PACKAGES = ("data", "models", "runs", "scoring", "statistics")
# What only shows, logs or keeps a run; every other module of these packages counts, new ones too.
_WITHOUT_EFFECT = frozenset(
    f"runs/{name}.py"
    for name in ("directory", "interruption", "logs", "manifest", "own_code", "privacy", "progress")
)


def scoring_sources() -> Iterator[Path]:
    """Modules of medbench that can change an answer or a score."""
    for package in _PACKAGES:
        for path in sorted((_PACKAGE / package).rglob("*.py")):
            if path.relative_to(_PACKAGE).as_posix() not in _WITHOUT_EFFECT:
                yield path


@lru_cache(maxsize=1)  # the code that runs is that of the start
def code_digest() -> str:
    """SHA-256 (hex) over :func:`scoring_sources`."""
    lines = [f"{path.relative_to(_PACKAGE).as_posix()} {sha256_of(path)}" for path in scoring_sources()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
