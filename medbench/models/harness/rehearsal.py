"""Opening a model as a run does, to say beforehand what a run would do with it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from medbench.errors import MedbenchError

if TYPE_CHECKING:
    from medbench.models.checkpoints.checking import CheckReport
    from medbench.models.source import ModelSource


def rehearse(report: CheckReport, source: ModelSource) -> CheckReport:
    """Load a model and its tokenizer as a run does, and try which engine runs it.

    Args:
        report: What is known of the checkpoint.
        source: Where it comes from, and how it is opened.

    Returns:
        The report with the engine, or with what a run would refuse it for.
    """
    from medbench.models.harness.adapter import MedbenchLM

    try:
        lm = MedbenchLM(model=source.model(), tokenizer=source.tokenizer(), routing="off")
    except MedbenchError as error:
        return replace(report, tried=True, problems=tuple(dict.fromkeys([str(error), *report.problems])))
    described = lm.engine.described
    return replace(
        report,
        tried=True,
        engine=described["engine"],
        engine_why=described.get("engine_why"),
        engine_untried=tuple(described.get("engine_untried", ())) or None,
        remarks=(*report.remarks, *(f"{limit}: refused" for limit in described.get("engine_refuses", ()))),
    )
