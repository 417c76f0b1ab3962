"""What a page is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medbench.analysis import Runs
from medbench.reports.picture import Picture

__all__ = ["MOST_ROWS", "Section", "stem", "system_names"]

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
        pictures: Those of its drawings that can stand alone.
    """

    id: str
    title: str
    lead: str
    template: str
    data: Any
    payloads: Mapping[str, str] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()


def system_names(runs: Runs) -> list[str]:
    """A name for each run: the model's, with the run id where a model has several."""
    models = [run.model for run in runs]
    return [run.model if models.count(run.model) == 1 else f"{run.model} · {run.run}" for run in runs]


def stem(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^\w.]+", "-", name).strip("-.") or "model"
