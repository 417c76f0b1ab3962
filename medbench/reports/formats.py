"""Numbers as people read them, the same in every report.

How a number is written depends on what its column holds, which the caller says; never on its size.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medbench.analysis.units import Unit

#: What a table says where some of its scores may be no shares.
UNITS_NOTE = "Scores are in percent, those marked (number) as they come."


def known(value: Any) -> bool:
    """Whether a number is there at all."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def percent_text(share: Any) -> str:
    """A share in percent with one decimal, without the sign."""
    return f"{100 * share:.1f}" if known(share) else "–"


def number_text(value: Any) -> str:
    """A number with four significant digits."""
    return f"{value:.4g}" if known(value) else "–"


def figure_text(value: Any) -> str:
    """A figure of routing with three significant digits."""
    return f"{value:.3g}" if known(value) else "–"


def score_text(value: Any, unit: Unit) -> str:
    """A score: a share in percent, anything else as it is."""
    return percent_text(value) if unit == "share" else number_text(value)


def signed_text(value: Any, unit: Unit) -> str:
    """A difference of scores with its sign."""
    if not known(value):
        return "–"
    text = score_text(value, unit)
    return text.replace("-", "−") if value < 0 else f"+{text}"


def interval_text(low: Any, high: Any, unit: Unit) -> str:
    """Both limits of a score or difference, or a dash where there is no interval."""
    if not known(low) or not known(high):
        return "–"
    return f"[{score_text(low, unit)}, {score_text(high, unit)}]".replace("-", "−")


def metric_text(name: str, unit: Unit) -> str:
    """The name of a metric or column of scores, marked where they are not in percent."""
    return name if unit == "share" else f"{name} (number)"


def p_text(value: Any) -> str:
    """A p-value; very small ones as a bound."""
    if not known(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
