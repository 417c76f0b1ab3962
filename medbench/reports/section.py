"""What a page is made of: sections with a heading, a template and perhaps data for the page's script."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medbench.analysis import Runs
from medbench.analysis.routing.cells import Cells, cells
from medbench.common.choices import ROUTED
from medbench.reports.charts.picture import Picture
from medbench.reports.renderers import page_table
from medbench.reports.tables import TextTable

#: Rows of router counts that a page looks into. Beyond, the documents of each task are added up while they
#: are read, or a page about many documents of a large model would take tens of gigabytes.
MOST_ROWS = 3_000_000


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading.

    Attributes:
        id: Anchor.
        title: Heading.
        lead: One or two sentences that say how to read it.
        template: Template of the body, given ``data``.
        data: What the template shows.
        payloads: Packed data for the script, by element id.
        pictures: Those of its charts that can stand alone.
    """

    id: str
    title: str
    lead: str
    template: str
    data: Any
    payloads: Mapping[str, str] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()


def picture_section(name: str, title: str, lead: str, pictures: Sequence[Picture]) -> Section:
    """A section of nothing but pictures.

    Args:
        name: Anchor.
        title: Heading.
        lead: One or two sentences that say how to read it.
        pictures: Its pictures.
    """
    return Section(name, title, lead, "pictures.html.j2", {"figures": pictures}, pictures=pictures)


def table_section(name: str, title: str, lead: str, table: TextTable, *, summary: str = "") -> Section:
    """A section of a table that readers can sort.

    Args:
        name: Anchor.
        title: Heading.
        lead: One or two sentences that say how to read it.
        table: The table.
        summary: What stands in its place until it is opened; it is always open if there is none.
    """
    data = {"table": page_table(table), "label": title, "summary": summary}
    return Section(name, title, lead, "table.html.j2", data)


def pack(value: Any) -> str:
    """Pack a value for the page's script: JSON, compressed, in base64.

    Base64 holds no character that HTML or a script could take for its own, whatever the texts say; the
    zero timestamp keeps equal data equal bytes.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode("utf-8"), mtime=0)).decode("ascii")


def in_computing_order(projections: Iterable[object]) -> list[str]:
    """The names of projections, each once: as a layer computes them, and all others by name after them."""
    names = {str(name) for name in projections}
    return [name for name in ROUTED if name in names] + sorted(names - set(ROUTED))


def routed(runs: Runs, systems: Sequence[str]) -> Iterator[tuple[str, Cells]]:
    """The name and the router counts of each run that has some.

    Args:
        runs: The runs.
        systems: Their names.
    """
    for run, system in zip(runs, systems, strict=True):
        recorded = run.routing(most=MOST_ROWS)
        if not recorded.empty:
            yield system, cells(recorded)


def system_names(runs: Runs) -> list[str]:
    """A name for each run: the model's, with the run id where a model has several."""
    models = [run.model for run in runs]
    return [run.model if models.count(run.model) == 1 else f"{run.model} · {run.run}" for run in runs]
