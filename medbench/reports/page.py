"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medbench.analysis import Problem, Runs
from medbench.analysis.speaking import speaking
from medbench.analysis.systems import find_system, systems
from medbench.analysis.task_scores import task_scores
from medbench.common.files import reason, write_text
from medbench.errors import MedbenchError, ReportError
from medbench.reports.routing_page import ROUTING_SECTIONS
from medbench.reports.samples import samples_warning
from medbench.reports.section import Section
from medbench.reports.sections.anchors import published_values
from medbench.reports.sections.answers import calibration_section, confusion_section, rates_section
from medbench.reports.sections.differences import differences
from medbench.reports.sections.documents import documents
from medbench.reports.sections.provenance import provenance
from medbench.reports.sections.scores import bars, overview
from medbench.version import __version__

__all__ = ["render_report", "render_sections", "write_page", "write_report"]

_LOG = logging.getLogger(__name__)

Maker = Callable[[Runs, list[str]], Section | None]


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


def write_page(text: str, path: str | os.PathLike[str]) -> Path:
    """Write a page, whole or not at all, and return its path.

    Raises:
        ReportError: The file cannot be written.
    """
    target = Path(path)
    try:
        write_text(target, text)
    except OSError as error:
        raise ReportError(
            f"the report cannot be written: {reason(error)}",
            where=str(target),
            hint="choose another place with --output",
        ) from error
    return target


def render_report(runs: Runs, *, title: str | None = None, baseline: str | None = None) -> str:
    """The text of the page; the same runs give the same text, byte for byte.

    A section that cannot be made is left out, which the page says and a warning too; the others stand.

    Raises:
        AnalysisError: There is no such baseline.
    """
    if baseline is not None:
        find_system(systems(runs), baseline)
    # What looks at one run after the other looks at those that speak for a system.
    shown = speaking(runs)
    scores = task_scores(runs)
    problems = list(runs.problems)
    drawn = [
        part
        for name, make in _sections(runs, shown, scores, baseline).items()
        for part in _attempt(name, make, problems, shown, shown.models)
    ]
    return _render(
        drawn,
        title=title or _title(runs),
        subtitle=_subtitle(runs, scores),
        sampled=samples_warning(scores),
        problems=problems,
    )


def render_sections(
    sections: Sequence[Section],
    *,
    title: str,
    subtitle: str = "",
    sampled: str = "",
    problems: Sequence[Problem] = (),
) -> str:
    """The text of a page with these sections.

    Args:
        sections: Its parts.
        title: Heading.
        subtitle: Line below it.
        sampled: Warning that scores come from bundled samples; empty if they do not.
        problems: What was found wrong while loading.
    """
    drawn = [_draw(section) for section in sections]
    return _render(drawn, title=title, subtitle=subtitle, sampled=sampled, problems=problems)


class _Drawn(NamedTuple):
    """A section and its body as HTML."""

    section: Section
    body: Markup


def _draw(section: Section) -> _Drawn:
    body = _environment().get_template(section.template).render(data=section.data)
    return _Drawn(section, Markup(body))  # noqa: S704 - escaped by the environment


def _attempt(
    name: str, make: Maker, problems: list[Problem], runs: Runs, systems: Sequence[str]
) -> list[_Drawn]:
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
        except Exception as error:  # noqa: BLE001 - likewise
            _note(problems, run.path, f"left out of {name}: {_why(error)}")
    try:
        if 0 < len(kept) < len(runs):
            return _made(make(Runs(tuple(run for run, _ in kept)), [system for _, system in kept]))
    except Exception as error:  # noqa: BLE001 - likewise
        why = _why(error)
    _note(problems, Path("report"), f"{name} is left out: {why}")
    return []


def _made(made: Section | None) -> list[_Drawn]:
    return [] if made is None else [_draw(made)]


def _why(error: Exception) -> str:
    return error.what if isinstance(error, MedbenchError) else f"{type(error).__name__}: {error}"


def _note(problems: list[Problem], path: Path, what: str) -> None:
    problems.append(Problem(path, what))
    _LOG.warning("%s: %s", path, what)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("medbench.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _render(
    drawn: Sequence[_Drawn], *, title: str, subtitle: str, sampled: str, problems: Sequence[Problem]
) -> str:
    # One scope for all of it: the second file ends what the first begins.
    script = _source("script.js") + _source("documents.js")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    # Only the page's own script runs, and nothing is fetched, whatever the texts contain.
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            subtitle=subtitle,
            policy=policy,
            style=Markup(_source("style.css")),  # noqa: S704 - the package's own file
            script=Markup(script),  # noqa: S704 - the package's own file
            sampled=sampled,
            problems=problems,
            sections=drawn,
            payloads={name: content for part in drawn for name, content in part.section.payloads.items()},
            version=__version__,
            footer="intervals at 95%; seeds are fixed, so that the same runs give the same report",
        )
    )


def _sections(runs: Runs, shown: Runs, scores: pd.DataFrame, baseline: str | None) -> dict[str, Maker]:
    """What makes each part of the page from runs and their names, in order, by what a note calls it."""

    def of_scores(make: Callable[[pd.DataFrame, list[str], Collection[str]], Section]) -> Maker:
        return lambda _, names: make(scores[scores["model"].isin(names)], names, runs.models)

    def behind(some: Runs) -> Runs:
        """What lies behind the runs that speak for systems, where all of them can be used."""
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
        **ROUTING_SECTIONS,
        "provenance": lambda some, _: provenance(behind(some)),
    }


def _title(runs: Runs) -> str:
    models = runs.models
    return f"Evaluation of {models[0]}" if len(models) == 1 else f"Evaluation of {len(models)} models"


def _subtitle(runs: Runs, scores: pd.DataFrame) -> str:
    tasks = scores.loc[scores["kind"] == "task", "task"].nunique()
    days = sorted({str(run.manifest.get("started"))[:10] for run in runs if run.manifest.get("started")})
    when = "" if not days else f" · {days[0]}" if len(days) == 1 else f" · {days[0]} to {days[-1]}"
    names = ", ".join(runs.models) if len(runs.models) > 1 else ""
    return f"{names}{' · ' if names else ''}{len(runs)} run{'s' * (len(runs) > 1)} · {tasks} tasks{when}"


def _source(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
