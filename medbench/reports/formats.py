"""Numbers as people read them, the same in every report."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["interval_text", "known", "limit_text", "p_text", "score_text", "signed_text"]


def known(value: Any) -> bool:
    """Whether a number is there at all."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def score_text(value: Any) -> str:
    """A score of [0, 1] in percent with one decimal; anything else with four significant digits."""
    if not known(value):
        return "–"
    # An average of ones may come out as one and a rounding error.
    return f"{100 * value:.1f}" if abs(value) <= 1 + 1e-9 else f"{value:.4g}"


def signed_text(value: Any) -> str:
    """A difference with its sign, on the scale of :func:`score_text`."""
    if not known(value):
        return "–"
    text = score_text(value)
    return text.replace("-", "−") if value < 0 else f"+{text}"


def interval_text(low: Any, high: Any) -> str:
    """Both limits on one scale, or a dash where there is no interval."""
    if not known(low) or not known(high):
        return "–"
    write = limit_text if min(abs(low), abs(high)) <= 1 else score_text
    return f"[{write(low)}, {write(high)}]".replace("-", "−")


def limit_text(value: float) -> str:
    """A limit of a score or difference: that of a share may stick out beyond ±1 and stay in percent."""
    return f"{100 * value:.1f}" if abs(value) < 2 else score_text(value)


def p_text(value: Any) -> str:
    """A p-value; very small ones as a bound."""
    if not known(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
