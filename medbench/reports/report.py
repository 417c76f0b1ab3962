"""The report of some runs: which sections it has, and what becomes of one that fails."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pandas as pd

from medbench.analysis import Problem, Runs
from medbench.analysis.speaking import speaking
from medbench.analysis.systems import find_system, systems
from medbench.analysis.task_scores import task_scores
from medbench.errors import MedbenchError
from medbench.reports.page import Drawn, draw, render_drawn, write_page
from medbench.reports.section import Section, system_names
from medbench.reports.sections.answers import calibration_section, confusion_section, rates_section
from medbench.reports.sections.differences import differences
from medbench.reports.sections.documents import documents
from medbench.reports.sections.provenance import provenance
from medbench.reports.sections.routing import routing
from medbench.reports.sections.routing_pairs import routing_pairs
from medbench.reports.sections.routing_scores import routing_scores
from medbench.reports.sections.routing_tasks import routing_tasks
from medbench.reports.sections.routing_worth import ablations, specialized
from medbench.reports.sections.scores import bars, overview, published_values
from medbench.reports.sentences import samples_warning

_LOG = logging.getLogger(__name__)

Maker = Callable[[Runs, list[str]], Section | None]

# What makes each section about routers, in order, by what a note calls it.
_ROUTING: dict[str, Maker] = {
    "the use of experts": routing,
    "experts chosen together": routing_pairs,
    "experts by kind of task": specialized,
    "experts by task": routing_tasks,
    "routing and scores": routing_scores,
    "what experts are worth": lambda runs, _: ablations(runs),
}


def write_report(
    runs: Runs, path: str | os.PathLike[str], *, title: str | None = None, baseline: str | None = None
) -> Path:
    """Write the report of some runs.

    Args:
        runs: What :func:`medbench.analysis.load_runs` gave.
        path: The HTML file; its folder is made if need be.
        title: Heading of the page.
        baseline: Model that the others are compared with; the first by default.

    Returns:
        The path written.

    Raises:
        ReportError: The file cannot be written.
        AnalysisError: There is no such baseline.
    """
    return write_page(render_report(runs, title=title, baseline=baseline), path)


def render_report(runs: Runs, *, title: str | None = None, baseline: str | None = None) -> str:
    """The text of the page; the same runs give the same text, byte for byte.

    A section that cannot be made is left out, which the page says and a warning too; the others stand.

    Args:
        runs: What :func:`medbench.analysis.load_runs` gave.
        title: Heading of the page.
        baseline: Model that the others are compared with; the first by default.

    Raises:
        AnalysisError: There is no such baseline.
    """
    if baseline is not None:
        find_system(systems(runs), baseline)
    # Sections that show one run after the other show the runs that stand for a system.
    shown = speaking(runs)
    scores = task_scores(runs)
    problems = list(runs.problems)
    drawn = [
        part
        for name, make in _sections(runs, shown, scores, baseline).items()
        for part in _attempt(name, make, problems, shown, shown.models)
    ]
    return render_drawn(
        drawn,
        title=title or _title(runs),
        subtitle=_subtitle(runs, scores),
        sampled=samples_warning(scores),
        problems=problems,
    )


def routing_sections(runs: Runs, systems: list[str] | None = None) -> list[Section]:
    """All sections about routers that these runs have data for.

    Args:
        runs: The runs.
        systems: Their names; by default the models'.
    """
    names = systems if systems is not None else system_names(runs)
    return [section for make in _ROUTING.values() if (section := make(runs, names)) is not None]


def _sections(runs: Runs, shown: Runs, scores: pd.DataFrame, baseline: str | None) -> dict[str, Maker]:
    """What makes each part of the page from runs and their names, in order, by what a note calls it."""

    def of_scores(make: Callable[[pd.DataFrame, list[str], Collection[str]], Section]) -> Maker:
        return lambda _, names: make(scores[scores["model"].isin(names)], names, runs.models)

    def behind(some: Runs) -> Runs:
        """All runs, not only those that stand for a system, where none of the latter had to be left out."""
        return runs if len(some) == len(shown) else some

    return {
        "the scores": of_scores(overview),
        "the bars": of_scores(bars),
        "published values": published_values,
        "the differences": lambda some, _: differences(behind(some), some, baseline),
        "the rates of answers": rates_section,
        "calibration": calibration_section,
        "confusions": confusion_section,
        "the documents": documents,
        **_ROUTING,
        "provenance": lambda some, _: provenance(behind(some)),
    }


def _attempt(
    name: str, make: Maker, problems: list[Problem], runs: Runs, systems: Sequence[str]
) -> list[Drawn]:
    """Make and draw a section; where that fails, without the runs that it fails for, or else not at all."""
    try:
        return _made(make(runs, list(systems)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other sections stand
        why = _why(error)
        _LOG.info("%s cannot be made", name, exc_info=True)
    kept = []
    for run, system in zip(runs, systems, strict=True) if len(runs) > 1 else ():
        try:
            make(Runs((run,)), [system])
            kept.append((run, system))
        except Exception as error:  # noqa: BLE001 - as above
            _note(problems, run.path, f"left out of {name}: {_why(error)}")
    try:
        if 0 < len(kept) < len(runs):
            return _made(make(Runs(tuple(run for run, _ in kept)), [system for _, system in kept]))
    except Exception as error:  # noqa: BLE001 - as above
        why = _why(error)
    _note(problems, Path("report"), f"{name} is left out: {why}")
    return []


def _made(made: Section | None) -> list[Drawn]:
    return [] if made is None else [draw(made)]


def _why(error: Exception) -> str:
    return error.what if isinstance(error, MedbenchError) else f"{type(error).__name__}: {error}"


def _note(problems: list[Problem], path: Path, what: str) -> None:
    problems.append(Problem(path, what))
    _LOG.warning("%s: %s", path, what)


def _title(runs: Runs) -> str:
    models = runs.models
    return f"Evaluation of {models[0]}" if len(models) == 1 else f"Evaluation of {len(models)} models"


def _subtitle(runs: Runs, scores: pd.DataFrame) -> str:
    tasks = scores.loc[scores["kind"] == "task", "task"].nunique()
    days = sorted({str(run.manifest.get("started"))[:10] for run in runs if run.manifest.get("started")})
    when = "" if not days else f" · {days[0]}" if len(days) == 1 else f" · {days[0]} to {days[-1]}"
    names = ", ".join(runs.models) if len(runs.models) > 1 else ""
    return f"{names}{' · ' if names else ''}{len(runs)} run{'s' * (len(runs) > 1)} · {tasks} tasks{when}"
