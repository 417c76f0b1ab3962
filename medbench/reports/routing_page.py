"""The pictures of routing by themselves: as a page, and as a file each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from medbench.analysis import Runs
from medbench.common.files import reason, write_bytes
from medbench.errors import AnalysisError, ReportError
from medbench.reports.picture import Picture, png, standalone
from medbench.reports.section import Section, system_names
from medbench.reports.sections.routing import routing
from medbench.reports.sections.routing_pairs import routing_pairs
from medbench.reports.sections.routing_scores import routing_scores
from medbench.reports.sections.routing_tasks import change_picture, routing_tasks
from medbench.reports.sections.routing_worth import ablations, specialised

__all__ = ["ROUTING_SECTIONS", "change_section", "routing_sections", "write_pictures"]


#: What makes each section about routers, in order, by what a note calls it.
ROUTING_SECTIONS: dict[str, Callable[[Runs, list[str]], Section | None]] = {
    "the use of experts": routing,
    "experts chosen together": routing_pairs,
    "experts by kind of task": specialised,
    "experts by task": routing_tasks,
    "routing and scores": routing_scores,
    "what experts are worth": lambda runs, _: ablations(runs),
}


def routing_sections(runs: Runs, systems: list[str] | None = None) -> list[Section]:
    """All sections about routers that these runs have data for."""
    names = systems if systems is not None else system_names(runs)
    found = [make(runs, names) for make in ROUTING_SECTIONS.values()]
    return [section for section in found if section is not None]


def change_section(first: Runs, second: Runs) -> Section:
    """How the expert loads of one run differ from those of another, first minus second.

    Raises:
        AnalysisError: A side holds several runs, or they have no routers in common.
    """
    names = [f"{run.model} · {run.run}" for side in (first, second) for run in side]
    models = [*first.models, *second.models]
    if len(names) != 2:
        raise AnalysisError("loads are compared between two runs", hint="give one run directory on each side")
    one, other = models if models[0] != models[1] else names
    picture = change_picture(first.routing(), second.routing(), (one, other))
    return Section(
        id="routing-change",
        title="Expert loads compared",
        lead="What the routers of one checkpoint do more or less than those of the other, on the same tasks.",
        template="pictures.html.j2",
        data={"figures": [picture]},
        pictures=[picture],
    )


def write_pictures(sections: Sequence[Section], folder: Path, form: str) -> list[Path]:
    """Write every picture of some sections to a file of its own; return the paths.

    Args:
        sections: Where the pictures are.
        folder: Where to write; made if need be.
        form: ``png`` or ``svg``.

    Raises:
        ReportError: There is nothing to draw, the folder cannot be written, or PNG files cannot be made here.
    """
    pictures = [picture for section in sections for picture in section.pictures]
    if not pictures:
        raise ReportError("there is no routing to draw", hint="only models with routers record any")
    drawn = [
        (folder / f"{name}.{form}", png(picture) if form == "png" else standalone(picture).encode("utf-8"))
        for name, picture in _named(pictures)
    ]
    try:
        for path, content in drawn:
            write_bytes(path, content)
    except OSError as error:
        raise ReportError(f"the pictures cannot be written: {reason(error)}", where=str(folder)) from error
    return [path for path, _ in drawn]


def _named(pictures: Iterable[Picture]) -> list[tuple[str, Picture]]:
    """Pictures with names of their own, where two runs have a name in common."""
    taken: dict[str, Picture] = {}
    for picture in pictures:
        name, number = picture.name, 1
        while name in taken:
            number += 1
            name = f"{picture.name}-{number}"
        taken[name] = picture
    return list(taken.items())
