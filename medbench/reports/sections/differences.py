"""Differences from a baseline."""

from __future__ import annotations

from typing import Any

from medbench.analysis import Runs, compare, systems
from medbench.errors import AnalysisError
from medbench.reports.formats import (
    UNITS_NOTE,
    interval_text,
    known,
    metric_text,
    p_text,
    percent_text,
    score_text,
    signed_text,
)
from medbench.reports.section import Section

__all__ = ["differences"]

_LEAD = (
    f"{UNITS_NOTE} Paired on the same documents. Bars are 95% intervals of the difference, of shares only; p "
    "is adjusted over the tasks of a model (Holm), and so is the verdict. Detectable: the true difference "
    "that this many documents would show with 80% power. Flips: documents gained and lost."
)


def differences(runs: Runs, baseline: str | None, *, draws: int = 2_000) -> Section | None:
    """Paired comparison of all systems with one; ``None`` for a single system.

    Args:
        runs: The runs.
        baseline: Model to compare with; the first one by default.
        draws: Draws of bootstrap and randomisation.
    """
    by = "model" if len(runs.models) == len(runs) else "run"
    known_systems = systems(runs, by=by)
    if len(known_systems) < 2:
        return None
    data: dict[str, Any] = {"error": "", "blocks": []}
    base = baseline if baseline is not None else known_systems[0].name
    try:
        frame = compare(runs, base, by=by, draws=draws)
    except AnalysisError as error:
        if baseline is not None and baseline not in [system.name for system in known_systems]:
            raise
        data["error"] = str(error)
    else:
        # One scale for all bars, so that only shares can be drawn.
        shares = frame.loc[frame["unit"] == "share", ["low", "high"]]
        reach = max(0.01, float(shares.abs().max().max()))
        for model, rows in frame.groupby("model", sort=False):
            shown = [_row(row, reach) for row in rows.to_dict("records")]
            data["blocks"].append({"model": str(model), "rows": shown})
        data |= {"baseline": base, "reach": percent_text(reach)}
    return Section("differences", f"Differences from {base}", _LEAD, "differences.html.j2", data)


def _row(row: dict[Any, Any], reach: float) -> dict[str, Any]:
    refused = row["verdict"] == "refused"
    unit = row["unit"]
    drawn = not refused and known(row["low"]) and unit == "share"
    place = {
        "left": round(50 + 50 * row["low"] / reach, 2) if drawn else 0,
        "span": round(50 * (row["high"] - row["low"]) / reach, 2) if drawn else 0,
        "point": round(50 + 50 * row["difference"] / reach, 2) if drawn else 50,
    }
    p = row["p_adjusted"] if known(row["p_adjusted"]) else row["p_value"]
    return {
        **place,
        "drawn": drawn,
        "task": metric_text(str(row["task"]), unit),
        "group": row["kind"] == "group",
        "n": int(row["n"]),
        "difference": signed_text(row["difference"], unit),
        "sort": "" if refused else f"{row['difference']:.6f}",
        "interval": interval_text(row["low"], row["high"], unit),
        "p": p_text(p),
        "p_sort": f"{p:.6f}" if known(p) else "",
        "test": str(row["test"]),
        "flips": f"+{row['wins']} −{row['losses']}",
        "detectable": score_text(row["detectable"], unit),
        "verdict": str(row["verdict"]),
        "reason": str(row["reason"]),
    }
