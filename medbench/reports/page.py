"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medbench.analysis import Problem, Runs
from medbench.errors import ReportError
from medbench.reports.routing_page import routing_sections
from medbench.reports.section import Section, system_names
from medbench.reports.sections.answers import calibration_section, confusion_section, rates_section
from medbench.reports.sections.differences import differences
from medbench.reports.sections.documents import documents
from medbench.reports.sections.provenance import provenance
from medbench.reports.sections.scores import bars, overview
from medbench.version import __version__

__all__ = ["render_report", "render_sections", "sampled_note", "write_page", "write_report"]


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
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            file.write(text)
        # mkstemp makes files for their owner alone; a report is meant to be read.
        os.chmod(file.name, 0o644)  # noqa: PTH101 - named by a string
        os.replace(file.name, target)  # noqa: PTH105
    except OSError as error:
        raise ReportError(
            f"the report cannot be written: {error.strerror or error}",
            where=str(target),
            hint="choose another place with --output",
        ) from error
    return target


def render_report(runs: Runs, *, title: str | None = None, baseline: str | None = None) -> str:
    """The text of the page; the same runs give the same text, byte for byte."""
    systems = system_names(runs)
    scores = _with_systems(runs, systems)
    sections = [section for section in _sections(runs, scores, systems, baseline) if section is not None]
    return render_sections(
        sections,
        title=title or _title(runs),
        subtitle=_subtitle(runs, scores),
        sampled=sampled_note(scores),
        problems=runs.problems,
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
    # One scope for all of it: the second file ends what the first begins.
    script = _source("script.js") + _source("documents.js")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    environment = Environment(
        loader=PackageLoader("medbench.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        title=title,
        subtitle=subtitle,
        # Only the page's own script runs, and nothing is fetched, whatever the texts contain.
        policy=f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:",
        style=Markup(_source("style.css")),  # noqa: S704 - the package's own file
        script=Markup(script),  # noqa: S704 - the package's own file
        sampled=sampled,
        problems=problems,
        sections=sections,
        payloads={name: content for section in sections for name, content in section.payloads.items()},
        version=__version__,
        footer="intervals at 95%; seeds are fixed, so that the same runs give the same report",
    )


def _sections(
    runs: Runs, scores: pd.DataFrame, systems: list[str], baseline: str | None
) -> list[Section | None]:
    return [
        overview(scores, systems),
        bars(scores, systems),
        differences(runs, baseline),
        rates_section(runs, systems),
        calibration_section(runs, systems),
        confusion_section(runs, systems),
        documents(runs, systems),
        *routing_sections(runs, systems),
        provenance(runs, scores, systems),
    ]


def _with_systems(runs: Runs, systems: list[str]) -> pd.DataFrame:
    names = {(run.model, run.run): system for run, system in zip(runs, systems, strict=True)}
    scores = runs.scores()
    keys = zip(scores["model"].astype(str), scores["run"].astype(str), strict=True)
    return scores.assign(system=[names[key] for key in keys])


def _title(runs: Runs) -> str:
    models = runs.models
    return f"Evaluation of {models[0]}" if len(models) == 1 else f"Evaluation of {len(models)} models"


def _subtitle(runs: Runs, scores: pd.DataFrame) -> str:
    tasks = scores.loc[scores["kind"] == "task", "task"].nunique()
    days = sorted({str(run.manifest.get("started"))[:10] for run in runs if run.manifest.get("started")})
    when = "" if not days else f" · {days[0]}" if len(days) == 1 else f" · {days[0]} to {days[-1]}"
    names = ", ".join(runs.models) if len(runs.models) > 1 else ""
    return f"{names}{' · ' if names else ''}{len(runs)} run{'s' * (len(runs) > 1)} · {tasks} tasks{when}"


def sampled_note(scores: pd.DataFrame) -> str:
    """Which scores come from bundled samples, as a warning; empty if none does."""
    tasks = scores[scores["kind"] == "task"]
    marked = tasks.loc[tasks["data_source"] == "samples", "task"].astype(str).unique()
    if not len(marked):
        return ""
    if len(marked) == tasks["task"].nunique():
        return (
            "Every score here comes from the few hand-written documents that travel with the package. "
            "They show that everything works, and say nothing about medicine."
        )
    return f"The tasks {', '.join(marked)} were run on the few hand-written documents of the package."


def _source(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
