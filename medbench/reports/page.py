"""A page: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medbench.analysis import Problem
from medbench.common.files import reason, write_text
from medbench.errors import ReportError
from medbench.reports.charts.colors import DARK, LIGHT, variables
from medbench.reports.section import Section
from medbench.version import __version__

_TEMPLATES = Path(__file__).parent / "templates"


class Drawn(NamedTuple):
    """A section and its body as HTML."""

    section: Section
    body: Markup


def draw(section: Section) -> Drawn:
    """Render the body of a section."""
    body = _environment().get_template(section.template).render(data=section.data)
    return Drawn(section, Markup(body))  # noqa: S704 - escaped by the environment


def render_sections(sections: Sequence[Section], *, title: str, sampled: str = "") -> str:
    """The text of a page with these sections.

    Args:
        sections: Its parts.
        title: Heading.
        sampled: Warning that scores come from bundled samples; empty if they do not.
    """
    return render_drawn([draw(section) for section in sections], title=title, sampled=sampled)


def render_drawn(
    drawn: Sequence[Drawn],
    *,
    title: str,
    subtitle: str = "",
    sampled: str = "",
    problems: Sequence[Problem] = (),
) -> str:
    """The text of a page with sections that are drawn already.

    Args:
        drawn: Its parts.
        title: Heading.
        subtitle: Line below it.
        sampled: Warning that scores come from bundled samples; empty if they do not.
        problems: What was found wrong while loading.
    """
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
            style=Markup(_style()),  # noqa: S704 - the package's own file
            script=Markup(script),  # noqa: S704 - the package's own file
            sampled=sampled,
            problems=problems,
            sections=drawn,
            payloads={name: content for part in drawn for name, content in part.section.payloads.items()},
            version=__version__,
            footer="intervals at 95%; seeds are fixed, so that the same runs give the same report",
        )
    )


def write_page(text: str, path: str | os.PathLike[str]) -> Path:
    """Write a page, whole or not at all, and return its path.

    Args:
        text: What to write.
        path: The file; its folder is made if need be.

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


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("medbench.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _style() -> str:
    """The style sheet, with the colors of both themes; paper is always light."""
    light, dark = variables(LIGHT), variables(DARK)
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f'@media screen and (prefers-color-scheme: dark) {{ :root:not([data-theme="light"]) {{ {dark} }} }}\n'
        f'@media screen {{ :root[data-theme="dark"] {{ color-scheme: dark; {dark} }} }}\n'
        + _source("style.css")
    )


def _source(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")
