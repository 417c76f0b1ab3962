"""Differences from a baseline."""

from __future__ import annotations

from typing import Any

from medbench.analysis import Runs, compare
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
from medbench.reports.sentences import TESTS_NOTE, conditions_notes, verdict_summary


def differences(runs: Runs, shown: Runs, baseline: str | None, *, draws: int = 2_000) -> Section | None:
    """Paired comparison of all models with one; of a single model, of its conditions with the usual ones.

    Args:
        runs: The runs.
        shown: Those that stand for a system, of :func:`medbench.analysis.speaking.speaking`.
        baseline: Model to compare with; the first one by default.
        draws: Draws of bootstrap and randomization.

    Returns:
        The section; ``None`` for a single system.
    """
    if len(shown) < 2:
        return None
    compared = runs if len(runs.models) > 1 else shown
    base = baseline if baseline is not None else shown.models[0]
    data: dict[str, Any] = {"error": "", "blocks": [], "notes": []}
    try:
        frame = compare(compared, base, draws=draws)
    except AnalysisError as error:
        data["error"] = str(error)
    else:
        # One scale for all bars, so that only shares can be drawn.
        shares = frame.loc[frame["unit"] == "share", ["low", "high"]]
        reach = max(0.01, float(shares.abs().max().max()))
        for model, rows in frame.groupby("model", sort=False):
            data["blocks"].append(
                {
                    "model": str(model),
                    "baseline": str(rows["baseline"].iloc[0]),
                    "summary": verdict_summary(rows),
                    "rows": [_row(row, reach) for row in rows.to_dict("records")],
                }
            )
        data |= {"reach": percent_text(reach), "notes": conditions_notes(frame)}
    lead = f"{UNITS_NOTE} {TESTS_NOTE} Bars are the intervals, of shares only. Largest differences first."
    return Section("differences", f"Differences from {base}", lead, "differences.html.j2", data)


def _row(row: dict[Any, Any], reach: float) -> dict[str, Any]:
    refused = row["verdict"] == "refused"
    unit = row["unit"]
    drawn = not refused and known(row["low"]) and unit == "share"
    place = {
        "left": round(50 + 50 * row["low"] / reach, 2) if drawn else 0,
        "span": round(50 * (row["high"] - row["low"]) / reach, 2) if drawn else 0,
        "point": round(50 + 50 * row["difference"] / reach, 2) if drawn else 50,
    }
    return {
        **place,
        "drawn": drawn,
        "task": metric_text(str(row["task"]), unit),
        "group": row["kind"] == "group",
        "n": int(row["n"]),
        "difference": signed_text(row["difference"], unit),
        "sort": "" if refused else f"{row['difference']:.6f}",
        "interval": interval_text(row["low"], row["high"], unit),
        "p": p_text(row["p_value"]),
        "p_sort": f"{row['p_value']:.6f}" if known(row["p_value"]) else "",
        "adjusted": p_text(row["p_adjusted"]),
        "adjusted_sort": f"{row['p_adjusted']:.6f}" if known(row["p_adjusted"]) else "",
        "test": str(row["test"]),
        "flips": f"+{row['wins']} −{row['losses']}",
        "detectable": score_text(row["detectable"], unit),
        "verdict": str(row["verdict"]),
        "reason": str(row["reason"]),
    }
