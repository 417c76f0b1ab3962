"""Published values beside the scores of the page."""

from __future__ import annotations

from collections.abc import Sequence

from medbench.analysis import Runs
from medbench.analysis.anchors import anchors_beside, read_anchors
from medbench.analysis.conditions import Conditions
from medbench.reports.formats import score_text
from medbench.reports.section import Section

__all__ = ["published_values"]


def published_values(runs: Runs, systems: Sequence[str]) -> Section | None:
    """What others published on the tasks of the page, and what differs; ``None`` where nobody did.

    Args:
        runs: The runs.
        systems: Their names.
    """
    names = {(run.model, run.run): name for run, name in zip(runs, systems, strict=True)}
    scores = runs.scores()
    # What the bundled samples give has nothing to do with a benchmark.
    real = scores[scores["data_source"] != "samples"]
    templates = {(run.model, run.run): Conditions.of(run).chat_template for run in runs}
    frame = anchors_beside(real, read_anchors(), templates)
    if frame.empty:
        return None
    rows = [
        {
            "task": row["task"],
            "system": names[(row["model"], row["run"])],
            "score": score_text(row["value"], "share"),
            "n": f"{row['n']:,}",
            "published": row["published"],
            "value": score_text(row["published_value"], "share"),
            "differs": row["differs"] or "nothing known",
            "source": row["source"],
        }
        for row in frame.to_dict("records")
    ]
    return Section(
        id="published",
        title="Published values",
        lead="What others published on these tasks, in percent. A value can be set beside a score only where "
        "nothing differs; even then another prompt may hide behind the same name.",
        template="anchors.html.j2",
        data={"rows": rows},
    )
