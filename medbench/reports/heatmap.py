"""Drawings of routers: a square per expert, a row per layer, a block per projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

__all__ = ["Cell", "expert_map", "layer_lines", "pair_maps", "scatter", "value_map"]

_CELL = 18
_LEFT, _TOP, _GAP = 34, 34, 30
_DASHES = ("none", "6 3", "2 2")
_TITLED = 400  # points: more need no title each, which would only swell the page


def expert_map(
    projections: Sequence[str],
    layers: Sequence[int],
    experts: int,
    values: Sequence[float],
    *,
    middle: float,
    reach: float,
    name: str,
) -> Markup:
    """Draw one number per expert on a diverging scale.

    Args:
        projections: Blocks, left to right.
        layers: Rows, top to bottom.
        experts: Columns of each block.
        values: Numbers by projection, layer and expert, in that order.
        middle: What the neutral colour stands for: chance, or no difference.
        reach: Distance from it at which the colours are full.
        name: What is drawn, for readers who cannot see it and for the tooltips.
    """
    step = experts * _CELL + _GAP
    width, height = _LEFT + len(projections) * step, _TOP + len(layers) * _CELL + 6
    parts = [
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(name)}: rows are layers, columns are experts, one block per projection">',
        f'<text class="soft" x="{_LEFT - 6}" y="{_TOP - 6}" text-anchor="end">layer</text>',
    ]
    for i, layer in enumerate(layers):
        y = _TOP + i * _CELL + _CELL - 5
        parts.append(f'<text class="soft" x="{_LEFT - 6}" y="{y}" text-anchor="end">{layer}</text>')
    numbers = iter(values)
    for p, projection in enumerate(projections):
        left = _LEFT + p * step
        parts.append(f'<text x="{left}" y="12">{escape(projection)}</text>')
        parts.extend(
            f'<text class="soft" x="{left + e * _CELL + _CELL / 2}" y="{_TOP - 6}" '
            f'text-anchor="middle">{e}</text>'
            for e in range(experts)
        )
        for i, layer in enumerate(layers):
            for e in range(experts):
                value = next(numbers)
                where = escape(f"{projection}, layer {layer}, expert {e}")
                parts.append(
                    f'<rect class="cell" x="{left + e * _CELL}" y="{_TOP + i * _CELL}" width="{_CELL}" '
                    f'height="{_CELL}" rx="2" data-where="{where}" style="{_fill(value, middle, reach)}">'
                    f"<title>{where}: {_percent(value)} ({_percent(middle)} is neutral)</title></rect>"
                )
    return Markup("".join(parts) + "</svg>")  # noqa: S704 - all texts in it were escaped above


def layer_lines(
    lines: Mapping[str, Sequence[float]], layers: Sequence[int], *, top: float, name: str
) -> Markup:
    """Draw a figure of the routers along the layers, a line per projection, with the chance level on top.

    Args:
        lines: Values by layer, for each projection.
        layers: The layers.
        top: Chance level, drawn as a dashed line, and end of the scale.
        name: What is drawn.
    """
    width, height, left, right = 320, 150, 38, 66
    span = max(1, len(layers) - 1)

    def x(i: int) -> float:
        return round(left + i * (width - left - right) / span, 1)

    def y(value: float) -> float:
        return round(14 + (height - 40) * (1 - value / (1.05 * top)), 1)

    parts = [
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(name)} by layer">',
        f'<line class="diagonal" x1="{left}" y1="{y(top)}" x2="{width - right}" y2="{y(top)}"/>',
        f'<text class="soft" x="{left - 4}" y="{y(top) + 4}" text-anchor="end">{top:.2f}</text>',
        f'<text class="soft" x="{left - 4}" y="{y(0) + 4}" text-anchor="end">0</text>',
        f'<text class="soft" x="{width - right + 4}" y="{y(top) + 4}">chance</text>',
        f'<text class="soft" x="{left}" y="{height - 6}">layer {layers[0]}</text>',
        f'<text class="soft" x="{width - right}" y="{height - 6}" text-anchor="end">{layers[-1]}</text>',
    ]
    for index, (projection, values) in enumerate(lines.items()):
        points = " ".join(f"{x(i)},{y(value)}" for i, value in enumerate(values))
        dots = "".join(
            f'<circle class="dot" cx="{x(i)}" cy="{y(value)}" r="2.5"><title>{escape(projection)}, layer '
            f"{layers[i]}: {value:.3f}</title></circle>"
            for i, value in enumerate(values)
        )
        # Dashes tell the lines apart where colours do not.
        dash = f'stroke-dasharray="{_DASHES[index % len(_DASHES)]}"'
        end, low = width - right + 6, round(y(0) - 26 + 13 * index, 1)
        label = (
            f'<line class="line" {dash} x1="{end}" y1="{low - 4}" x2="{end + 18}" y2="{low - 4}"/>'
            f'<text x="{end + 22}" y="{low}">{escape(projection)}</text>'
        )
        parts.append(
            f'<g class="k{index}"><polyline class="line" {dash} points="{points}"/>{dots}{label}</g>'
        )
    return Markup("".join(parts) + "</svg>")  # noqa: S704 - all texts in it were escaped above


class Cell(NamedTuple):
    """A square of :func:`value_map`.

    Attributes:
        value: What the colour shows.
        text: What is written into it.
        title: What is said of it on hovering.
        framed: Whether a frame marks it: its interval leaves out the neutral value.
    """

    value: float
    text: str
    title: str
    framed: bool


def value_map(
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[Cell]],
    *,
    middle: float,
    reach: float,
    name: str,
) -> Markup:
    """Draw a table of numbers on a diverging scale, with frames around those that are beyond chance.

    Args:
        rows: Names, top to bottom.
        columns: Names, left to right.
        cells: For each row its squares.
        middle: What the neutral colour stands for.
        reach: Distance from it at which the colours are full.
        name: What is drawn, for readers who cannot see it.
    """
    left, high, top = 12 + max(map(_room, rows)), 24, 34
    texts = [*columns, *(cell.text for row in cells for cell in row)]
    wide = round(max(30, 10 + max(map(_room, texts))))
    width, height = round(left + wide * len(columns) + 4), top + high * len(rows) + 4
    parts = [
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(name)}">'
    ]
    for j, column in enumerate(columns):
        x = round(left + j * wide + wide / 2, 1)
        parts.append(f'<text x="{x}" y="{top - 8}" text-anchor="middle">{escape(column)}</text>')
    frames = []
    for i, row in enumerate(rows):
        y = top + i * high
        parts.append(f'<text x="{left - 6:.1f}" y="{y + 16}" text-anchor="end">{escape(row)}</text>')
        for j, cell in enumerate(cells[i]):
            x = round(left + j * wide, 1)
            dark = " dark" if abs(cell.value - middle) > 0.75 * reach else ""
            box = f'x="{x}" y="{y}" width="{wide}" height="{high}" rx="2"'
            parts.append(
                f'<rect class="cell" {box} style="{_fill(cell.value, middle, reach)}">'
                + (f"<title>{escape(cell.title)}</title>" if cell.title else "")
                + "</rect>"
                f'<text class="inside{dark}" x="{x + wide / 2}" y="{y + 16}" text-anchor="middle">'
                f"{escape(cell.text)}</text>"
            )
            if cell.framed:
                frames.append(f'<rect class="framed" {box}/>')
    # Frames last, so that no neighbour covers them.
    return Markup("".join(parts + frames) + "</svg>")  # noqa: S704 - all texts in it were escaped above


def pair_maps(
    blocks: Mapping[str, Sequence[Sequence[float]]], *, columns: int, middle: float, top: float, name: str
) -> Markup:
    """Draw for each router which experts are chosen together: rows and columns are its experts.

    Args:
        blocks: ``[E][E]`` shares by the router's name; the diagonal is left blank.
        columns: Blocks side by side.
        middle: What the neutral colour stands for: chance.
        top: Share at which the colour above chance is full; below it that is 0.
        name: What is drawn, for readers who cannot see it.
    """
    cell, gap, head = 15, 30, 34
    experts = len(next(iter(blocks.values())))
    step, high = experts * cell + gap, experts * cell + head + 10
    rows = -(-len(blocks) // columns)
    width, height = 20 + min(columns, len(blocks)) * step, rows * high
    parts = [
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(name)}: a block per router, its rows and columns are experts">'
    ]
    for number, (title, shares) in enumerate(blocks.items()):
        left, up = 20 + number % columns * step, number // columns * high + head
        parts.append(f'<text x="{left}" y="{up - 20}">{escape(title)}</text>')
        for i, row in enumerate(shares):
            middle_of = i * cell + cell / 2
            parts.append(
                f'<text class="soft" x="{left + middle_of}" y="{up - 5}" text-anchor="middle">{i}</text>'
                f'<text class="soft" x="{left - 5}" y="{up + middle_of + 4}" text-anchor="end">{i}</text>'
            )
            for j, share in enumerate(row):
                box = f'x="{left + j * cell}" y="{up + i * cell}" width="{cell}" height="{cell}" rx="2"'
                if i == j or share != share:  # NaN: the expert was never chosen
                    parts.append(f'<rect class="cell blank" {box}/>')
                    continue
                fill = _fill(share, middle, middle if share < middle else top - middle)
                parts.append(
                    f'<rect class="cell" {box} style="{fill}"><title>{escape(title)}: {j} beside {i} '
                    f"{_percent(share)}</title></rect>"
                )
    return Markup("".join(parts) + "</svg>")  # noqa: S704 - all texts in it were escaped above


def scatter(points: Sequence[tuple[float, float, str]], *, x: str, y: str, name: str) -> Markup:
    """Draw points in a frame from the least to the largest x, and from 0 to the largest y.

    Args:
        points: x, y and what is said of the point on hovering.
        x: Name of the horizontal axis.
        y: Name of the vertical axis.
        name: What is drawn, for readers who cannot see it.
    """
    width, height, left, bottom = 420, 260, 48, 40
    low, right = min(point[0] for point in points), max(point[0] for point in points)
    most = max(point[1] for point in points)
    across = (width - left - 20) / max(1e-9, right - low)
    up = (height - bottom - 20) / max(1e-9, most)
    base = height - bottom
    dots = "".join(
        f'<circle class="dot" cx="{left + (a - low) * across:.1f}" cy="{base - b * up:.1f}" r="3">'
        + (f"<title>{escape(title)}</title>" if len(points) <= _TITLED else "")
        + "</circle>"
        for a, b, title in points
    )
    return Markup(  # noqa: S704 - all texts in it were escaped
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(name)}">'
        f'<line class="axis" x1="{left}" y1="{base}" x2="{width - 10}" y2="{base}"/>'
        f'<line class="axis" x1="{left}" y1="10" x2="{left}" y2="{base}"/>'
        f'<text class="soft" x="{left}" y="{base + 15}">{low:.2f}</text>'
        f'<text class="soft" x="{width - 10}" y="{base + 15}" text-anchor="end">{right:.2f}</text>'
        f'<text class="soft" x="{(left + width) / 2}" y="{base + 30}" text-anchor="middle">{escape(x)}</text>'
        f'<text class="soft" x="{left - 6}" y="{base}" text-anchor="end">0</text>'
        f'<text class="soft" x="{left - 6}" y="24" text-anchor="end">{most:.1f}</text>'
        f'<text class="soft" x="{left + 8}" y="14">{escape(y)}</text>'
        f'<g class="k0" opacity="0.5">{dots}</g></svg>'
    )


def _room(text: str) -> float:
    """Width of a text in pixels, about; full-width characters take the room of two."""
    return 7.2 * sum(2 if ord(sign) > 0x2E7F else 1 for sign in text)


def _fill(value: float, middle: float, reach: float) -> str:
    lean = max(-1.0, min(1.0, (value - middle) / reach)) if reach > 0 else 0.0
    end = "--low" if lean < 0 else "--high"
    return f"fill:color-mix(in oklab, var({end}) {round(100 * abs(lean))}%, var(--middle))"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"
