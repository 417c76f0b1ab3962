"""Pictures: a chart with what has to be said of it, for the page and for files of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup, escape

from medbench.common.files import reason, write_bytes
from medbench.errors import ReportError
from medbench.reports.charts.colors import LIGHT, SERIES
from medbench.reports.charts.svg import Drawing, text_width

_MARGIN, _LINE = 16, 18
_LEAST = 640  # pixels: room for the sentences below narrow drawings
_FONTS = "'Noto Sans','Noto Sans CJK SC','Source Han Sans SC','PingFang SC','Microsoft YaHei',sans-serif"


class Ramp(NamedTuple):
    """What the ends and the middle of the diverging scale stand for."""

    low: str
    middle: str
    high: str


@dataclass(frozen=True)
class Picture:
    """A chart that can stand alone.

    Attributes:
        name: Stem of its file; letters, digits and hyphens.
        title: What it shows.
        caption: Of what, and how much of it.
        reading: How to read it, and what it says, with the chance level.
        reading_zh: The same in Chinese.
        drawing: The chart.
        ramp: Its scale of colors, if it has one.
    """

    name: str
    title: str
    caption: str
    reading: str
    reading_zh: str
    drawing: Drawing
    ramp: Ramp | None = None

    @property
    def svg(self) -> Markup:
        """The chart for the page."""
        return self.drawing.on_page()


def standalone(picture: Picture) -> str:
    """The picture as an SVG file with its title, its scale and both readings, in light colors."""
    wide = max(_LEAST, picture.drawing.width) + 2 * _MARGIN
    parts = [f'<text class="head" x="{_MARGIN}" y="30">{escape(picture.title)}</text>']
    y = 30

    def add(text: str, kind: str = "") -> None:
        nonlocal y
        for line in _wrapped(text, wide - 2 * _MARGIN):
            y += _LINE
            parts.append(f'<text{kind} x="{_MARGIN}" y="{y}">{escape(line)}</text>')

    add(picture.caption, ' class="soft"')
    y += 14
    parts.append(picture.drawing.in_file(_MARGIN, y))
    y += picture.drawing.height + 8
    if picture.ramp:
        parts.append(_scale(picture.ramp, y))
        y += 30
    for text in (picture.reading, picture.reading_zh):
        add(text)
        y += 4
    tall = y + _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{tall}" '
        f'viewBox="0 0 {wide} {tall}"><style>{_rules()}</style>'
        f'<rect width="{wide}" height="{tall}" fill="{LIGHT["paper"]}"/>{"".join(parts)}</svg>\n'
    )


def png(picture: Picture, *, zoom: float = 2.0) -> bytes:
    """The picture as a PNG; Chinese needs a font with its characters on the machine.

    Args:
        picture: What to draw.
        zoom: Dots for each pixel of the drawing.

    Raises:
        ReportError: The library that draws is not installed.
    """
    try:
        import resvg_py
    except ImportError as error:
        raise ReportError(
            "PNG files need the library resvg-py",
            where="--png",
            hint="pip install 'medbench[plots]', or write SVG files with --svg",
        ) from error
    return bytes(resvg_py.svg_to_bytes(svg_string=standalone(picture), zoom=zoom))


def write_pictures(pictures: Iterable[Picture], folder: Path, form: str) -> list[Path]:
    """Write every picture to a file of its own; return the paths.

    Args:
        pictures: What to write.
        folder: Where to write; made if need be.
        form: ``png`` or ``svg``.

    Raises:
        ReportError: There is nothing to draw, the folder cannot be written, or PNG files cannot be made here.
    """
    drawn = {
        folder / f"{name}.{form}": png(picture) if form == "png" else standalone(picture).encode("utf-8")
        for name, picture in _named(pictures).items()
    }
    if not drawn:
        raise ReportError("there is no routing to draw", hint="only models with routers record any")
    try:
        for path, content in drawn.items():
            write_bytes(path, content)
    except OSError as error:
        raise ReportError(f"the pictures cannot be written: {reason(error)}", where=str(folder)) from error
    return list(drawn)


def file_stem(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^\w.]+", "-", name).strip("-.") or "model"


def _named(pictures: Iterable[Picture]) -> dict[str, Picture]:
    """Pictures with names of their own, where two runs have a name in common."""
    taken: dict[str, Picture] = {}
    for picture in pictures:
        name, number = picture.name, 1
        while name in taken:
            number += 1
            name = f"{picture.name}-{number}"
        taken[name] = picture
    return taken


def _scale(ramp: Ramp, y: int) -> str:
    stops = "".join(
        f'<stop offset="{place}%" stop-color="{LIGHT[name]}"/>'
        for place, name in ((0, "low"), (50, "middle"), (100, "high"))
    )
    left = _MARGIN + 70
    return (
        f'<defs><linearGradient id="ramp">{stops}</linearGradient></defs>'
        f'<text class="soft" x="{left - 8}" y="{y + 10}" text-anchor="end">{escape(ramp.low)}</text>'
        f'<rect x="{left}" y="{y}" width="180" height="11" fill="url(#ramp)"/>'
        f'<text class="soft" x="{left + 188}" y="{y + 10}">{escape(ramp.high)}</text>'
        f'<text class="soft" x="{left + 90}" y="{y + 25}" text-anchor="middle">{escape(ramp.middle)}</text>'
    )


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Cut a text into lines of so many pixels, between words or after full-width characters."""
    line, used = "", 0.0
    for piece in re.findall(r"[\u2e80-\uffff]|[^\s\u2e80-\uffff]+|\s+", text):
        room = text_width(piece)
        # A closing mark never begins a line.
        if line and used + room > width and piece not in "，。；：！？、）":
            yield line.rstrip()
            line, used = "", 0.0
        if line or not piece.isspace():
            line += piece
            used += room
    if line.strip():
        yield line.rstrip()


def _rules() -> str:
    """The style sheet of a file: that of the page where it speaks of charts, in plain colors."""
    c = LIGHT
    series = "".join(
        f".k{i} .line{{stroke:{c[f'k{i}']}}}.k{i} .dot,.k{i} text{{fill:{c[f'k{i}']}}}" for i in range(SERIES)
    )
    return (
        f"text{{font-family:{_FONTS};font-size:12px;fill:{c['ink']}}}svg svg text{{font-size:11px}}"
        f".soft{{fill:{c['soft']}}}.head{{font-size:16px;font-weight:600}}"
        f".cell{{stroke:{c['paper']};stroke-width:1}}.framed{{fill:none;stroke:{c['ink']};stroke-width:2}}"
        f".inside.dark{{fill:{c['paper']}}}.blank{{fill:{c['line']}}}"
        f".axis{{stroke:{c['soft']}}}"
        f".diagonal{{stroke:{c['soft']};stroke-dasharray:4 3}}.line{{fill:none;stroke-width:1.5}}{series}"
    )
