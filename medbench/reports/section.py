"""What a page is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medbench.analysis import Runs

__all__ = ["Section", "system_names"]


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
    """

    id: str
    title: str
    lead: str
    template: str
    data: Any
    payloads: Mapping[str, str] = field(default_factory=dict)


def system_names(runs: Runs) -> list[str]:
    """A name for each run: the model's, with the run id where a model has several."""
    models = [run.model for run in runs]
    return [run.model if models.count(run.model) == 1 else f"{run.model} · {run.run}" for run in runs]
