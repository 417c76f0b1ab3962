"""Pictures with what has to be said of them, for the page and for files of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

from medbench.errors import ReportError

__all__ = ["Picture", "Ramp", "png", "standalone"]

_MARGIN, _LINE = 16, 18
_LEAST = 640  # pixels: room for the sentences below narrow drawings
_FONTS = "'Noto Sans','Noto Sans CJK SC','Source Han Sans SC','PingFang SC','Microsoft YaHei',sans-serif"


class Ramp(NamedTuple):
    """What the ends and the middle of the colours stand for."""

    low: str
    middle: str
    high: str


@dataclass(frozen=True)
class Picture:
    """A drawing that can stand alone.

    Attributes:
        name: Stem of its file; letters, digits and hyphens.
        title: What it shows.
        caption: Of what, and how much of it.
        reading: How to read it, and what it says, with the chance level.
        reading_zh: The same in Chinese.
        svg: The drawing, in the colours of the page's style sheet.
        ramp: Its scale of colours, if it has one.
    """

    name: str
    title: str
    caption: str
    reading: str
    reading_zh: str
    svg: Markup
    ramp: Ramp | None = None


def standalone(picture: Picture) -> str:
    """The picture as an SVG file with its title, its scale and both readings, in the light colours.

    Colours are worked out, because programs other than browsers know neither variables nor mixtures.
    """
    width, height = (int(size) for size in re.findall(r'(?:width|height)="(\d+)"', picture.svg)[:2])
    wide = max(_LEAST, width) + 2 * _MARGIN
    above = [f'<text class="head" x="{_MARGIN}" y="30">{escape(picture.title)}</text>']
    y = 30
    for line in _wrapped(picture.caption, wide - 2 * _MARGIN):
        y += _LINE
        above.append(f'<text class="soft" x="{_MARGIN}" y="{y}">{escape(line)}</text>')
    y += 14
    drawing = re.sub(r"^<svg ", f'<svg x="{_MARGIN}" y="{y}" ', str(picture.svg))
    y += height + 8
    below = []
    if picture.ramp:
        below.append(_scale(picture.ramp, y))
        y += 30
    for text in (picture.reading, picture.reading_zh):
        for line in _wrapped(text, wide - 2 * _MARGIN):
            y += _LINE
            below.append(f'<text x="{_MARGIN}" y="{y}">{escape(line)}</text>')
        y += 4
    tall = y + _MARGIN
    body = "".join([*above, drawing, *below])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{tall}" '
        f'viewBox="0 0 {wide} {tall}"><style>{_rules()}</style>'
        f'<rect width="{wide}" height="{tall}" fill="{_palette()["paper"]}"/>{_plain_colours(body)}</svg>\n'
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


def _scale(ramp: Ramp, y: int) -> str:
    colours = _palette()
    stops = "".join(
        f'<stop offset="{place}%" stop-color="{colours[name]}"/>'
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
        room = sum(13.0 if sign > "\u2e7f" else 7.2 for sign in piece)
        # A closing mark never begins a line.
        if line and used + room > width and piece not in "，。；：！？、）":
            yield line.rstrip()
            line, used = "", 0.0
        if line or not piece.isspace():
            line += piece
            used += room
    if line.strip():
        yield line.rstrip()


@lru_cache(maxsize=1)
def _palette() -> dict[str, str]:
    """The light colours of the page's style sheet, by name."""
    style = (Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    light = style.partition("}")[0]
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", light))


def _rules() -> str:
    c = _palette()
    lines = "".join(
        f".k{i} .line{{stroke:{c[f'k{i}']}}}.k{i} .dot,.k{i} text{{fill:{c[f'k{i}']}}}" for i in range(8)
    )
    return (
        f"text{{font-family:{_FONTS};font-size:12px;fill:{c['ink']}}}svg svg text{{font-size:11px}}"
        f".soft{{fill:{c['soft']}}}.head{{font-size:16px;font-weight:600}}"
        f".cell{{stroke:{c['paper']};stroke-width:1}}.framed{{fill:none;stroke:{c['ink']};stroke-width:2}}"
        f".inside.dark{{fill:{c['paper']}}}.blank{{fill:{c['line']}}}"
        f".axis{{stroke:{c['soft']}}}"
        f".diagonal{{stroke:{c['soft']};stroke-dasharray:4 3}}.line{{fill:none;stroke-width:1.5}}{lines}"
    )


def _plain_colours(text: str) -> str:
    def mixed(found: re.Match[str]) -> str:
        end, share, middle = found.groups()
        return _mixture(_palette()[end], _palette()[middle], int(share) / 100)

    text = re.sub(r"color-mix\(in oklab, var\(--(\w+)\) (\d+)%, var\(--(\w+)\)\)", mixed, text)
    return re.sub(r"var\(--(\w+)\)", lambda found: _palette()[found.group(1)], text)


# Linear sRGB to the cone responses of Oklab, and those (cube roots) to its coordinates (Ottosson 2020).
_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _mixture(first: str, second: str, share: float) -> str:
    """Two colours mixed in Oklab, as a browser's ``color-mix`` does."""
    labs = []
    for colour in (first, second):
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        labs.append(_LAB @ np.cbrt(_CONES @ linear))
    lab = share * labs[0] + (1 - share) * labs[1]
    linear = np.clip(np.linalg.solve(_CONES, np.linalg.solve(_LAB, lab) ** 3), 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * value):02x}" for value in np.clip(rgb, 0, 1))
