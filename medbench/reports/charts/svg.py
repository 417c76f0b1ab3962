"""Charts as SVG: squares for experts, lines along layers, tables of numbers, dots.

A :class:`Drawing` leaves the colors of its squares open until it is known where it goes: a page mixes them
itself, so that they follow its theme; in a file they are plain numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup, escape

from medbench.analysis.answers import Bin
from medbench.reports.charts.colors import mixed_by_browser, shade

_DASHES = ("none", "6 3", "2 2")
_TITLED = 400  # points: more need no title each, which would only swell the page


class _Square(NamedTuple):
    """A rectangle on the diverging scale; ``box`` is its place as attributes, ``title`` is escaped."""

    lean: float
    box: str
    title: str


@dataclass(frozen=True)
class Drawing:
    """A chart.

    Attributes:
        width: In pixels.
        height: In pixels.
        label: What is drawn, for readers who cannot see it.
        parts: Elements of SVG, with all texts escaped, and squares still to be colored.
    """

    width: int
    height: int
    label: str
    parts: Sequence[str | _Square]

    def on_page(self) -> Markup:
        """The chart for a page whose style sheet has the variables of the palette."""
        body = "".join(
            part if isinstance(part, str) else _painted(part, mixed_by_browser(part.lean))
            for part in self.parts
        )
        head = f'<svg {self._size()} role="img" aria-label="{escape(self.label)}">'
        return Markup(f"{head}{body}</svg>")  # noqa: S704 - all texts in it were escaped

    def in_file(self, x: int, y: int) -> str:
        """The chart as an element at a place of another drawing, in light colors.

        Programs other than browsers know neither variables nor mixtures.
        """
        body = "".join(
            part if isinstance(part, str) else _painted(part, shade(part.lean)) for part in self.parts
        )
        return f'<svg x="{x}" y="{y}" {self._size()}>{body}</svg>'

    def _size(self) -> str:
        return f'width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}"'


def _painted(square: _Square, color: str) -> str:
    title = f"<title>{square.title}</title>" if square.title else ""
    return f'<rect class="cell" {square.box} style="fill:{color}">{title}</rect>'


def expert_map(
    projections: Sequence[str],
    layers: Sequence[int],
    experts: int,
    values: Sequence[float],
    *,
    middle: float,
    reach: float,
    name: str,
) -> Drawing:
    """Draw one number per expert on a diverging scale.

    Args:
        projections: Blocks, left to right.
        layers: Rows, top to bottom.
        experts: Columns of each block.
        values: Numbers by projection, layer and expert, in that order.
        middle: What the neutral color stands for: chance, or no difference.
        reach: Distance from it at which the colors are full.
        name: What is drawn.
    """
    cell, left, top, gap = 18, 34, 34, 30
    step = experts * cell + gap
    parts: list[str | _Square] = [_text(left - 6, top - 6, "layer", "end", soft=True)]
    parts += [
        _text(left - 6, top + i * cell + cell - 5, layer, "end", soft=True) for i, layer in enumerate(layers)
    ]
    numbers = iter(values)
    for p, projection in enumerate(projections):
        start = left + p * step
        parts.append(_text(start, 12, projection))
        parts += [_text(start + e * cell + cell / 2, top - 6, e, "middle", soft=True) for e in range(experts)]
        for i, layer in enumerate(layers):
            for e in range(experts):
                value = next(numbers)
                where = escape(f"{projection}, layer {layer}, expert {e}")
                box = f'{_box(start + e * cell, top + i * cell, cell, cell)} data-where="{where}"'
                title = f"{where}: {_percent(value)} ({_percent(middle)} is neutral)"
                parts.append(_Square(_lean(value, middle, reach), box, title))
    return Drawing(
        left + len(projections) * step,
        top + len(layers) * cell + 6,
        f"{name}: rows are layers, columns are experts, one block per projection",
        parts,
    )


def layer_lines(
    lines: Mapping[str, Sequence[float]], layers: Sequence[int], *, top: float, name: str
) -> Drawing:
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
        f'<line class="diagonal" x1="{left}" y1="{y(top)}" x2="{width - right}" y2="{y(top)}"/>',
        _text(left - 4, y(top) + 4, f"{top:.2f}", "end", soft=True),
        _text(left - 4, y(0) + 4, 0, "end", soft=True),
        _text(width - right + 4, y(top) + 4, "chance", soft=True),
        _text(left, height - 6, f"layer {layers[0]}", soft=True),
        _text(width - right, height - 6, layers[-1], "end", soft=True),
    ]
    for index, (projection, values) in enumerate(lines.items()):
        points = " ".join(f"{x(i)},{y(value)}" for i, value in enumerate(values))
        dots = "".join(
            _dot(x(i), y(value), 2.5, f"{projection}, layer {layers[i]}: {value:.3f}")
            for i, value in enumerate(values)
        )
        # Dashes tell the lines apart where colors do not.
        dash = f'stroke-dasharray="{_DASHES[index % len(_DASHES)]}"'
        end, low = width - right + 6, round(y(0) - 26 + 13 * index, 1)
        parts.append(
            f'<g class="k{index}"><polyline class="line" {dash} points="{points}"/>{dots}'
            f'<line class="line" {dash} x1="{end}" y1="{low - 4}" x2="{end + 18}" y2="{low - 4}"/>'
            f"{_text(end + 22, low, projection)}</g>"
        )
    return Drawing(width, height, f"{name} by layer", parts)


class Cell(NamedTuple):
    """A square of :func:`value_map`.

    Attributes:
        value: What the color shows.
        text: What is written into it.
        title: Tooltip.
        framed: Whether a frame marks it: its interval leaves out the neutral value.
    """

    value: float
    text: str
    title: str = ""
    framed: bool = False


def value_map(
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[Cell]],
    *,
    middle: float,
    reach: float,
    name: str,
) -> Drawing:
    """Draw a table of numbers on a diverging scale, with frames around those that are beyond chance.

    Args:
        rows: Names, top to bottom.
        columns: Names, left to right.
        cells: For each row its squares.
        middle: What the neutral color stands for.
        reach: Distance from it at which the colors are full.
        name: What is drawn.
    """
    left, high, top = 12 + max(map(text_width, rows)), 24, 34
    texts = [*columns, *(cell.text for row in cells for cell in row)]
    wide = round(max(30, 10 + max(map(text_width, texts))))
    parts: list[str | _Square] = [
        _text(round(left + j * wide + wide / 2, 1), top - 8, column, "middle")
        for j, column in enumerate(columns)
    ]
    frames = []
    for i, row in enumerate(rows):
        y = top + i * high
        parts.append(_text(f"{left - 6:.1f}", y + 16, row, "end"))
        for j, cell in enumerate(cells[i]):
            x = round(left + j * wide, 1)
            box = _box(x, y, wide, high)
            parts.append(_Square(_lean(cell.value, middle, reach), box, escape(cell.title)))
            kind = "inside dark" if abs(cell.value - middle) > 0.75 * reach else "inside"
            parts.append(_text(x + wide / 2, y + 16, cell.text, "middle", kind))
            if cell.framed:
                frames.append(f'<rect class="framed" {box}/>')
    # Frames last, so that no neighbor covers them.
    return Drawing(round(left + wide * len(columns) + 4), top + high * len(rows) + 4, name, [*parts, *frames])


def pair_maps(
    blocks: Mapping[str, Sequence[Sequence[float]]], *, columns: int, middle: float, top: float, name: str
) -> Drawing:
    """Draw for each router which experts are chosen together: rows and columns are its experts.

    Args:
        blocks: ``[E][E]`` shares by the router's name; the diagonal is left blank.
        columns: Blocks side by side.
        middle: What the neutral color stands for: chance.
        top: Share at which the color above chance is full; below it that is 0.
        name: What is drawn.
    """
    cell, gap, head = 15, 30, 34
    experts = len(next(iter(blocks.values())))
    step, high = experts * cell + gap, experts * cell + head + 10
    parts: list[str | _Square] = []
    for number, (title, shares) in enumerate(blocks.items()):
        left, up = 20 + number % columns * step, number // columns * high + head
        parts.append(_text(left, up - 20, title))
        for i, row in enumerate(shares):
            center = i * cell + cell / 2
            parts.append(_text(left + center, up - 5, i, "middle", soft=True))
            parts.append(_text(left - 5, up + center + 4, i, "end", soft=True))
            for j, share in enumerate(row):
                box = _box(left + j * cell, up + i * cell, cell, cell)
                if i == j or share != share:  # NaN: the expert was never chosen
                    parts.append(f'<rect class="cell blank" {box}/>')
                    continue
                lean = _lean(share, middle, middle if share < middle else top - middle)
                parts.append(_Square(lean, box, f"{escape(title)}: {j} beside {i} {_percent(share)}"))
    return Drawing(
        20 + min(columns, len(blocks)) * step,
        -(-len(blocks) // columns) * high,
        f"{name}: a block per router, its rows and columns are experts",
        parts,
    )


def scatter(points: Sequence[tuple[float, float, str]], *, x: str, y: str, name: str) -> Drawing:
    """Draw points in a frame from the least to the largest x, and from 0 to the largest y.

    Args:
        points: x, y and the tooltip of each point.
        x: Name of the horizontal axis.
        y: Name of the vertical axis.
        name: What is drawn.
    """
    width, height, left, bottom = 420, 260, 48, 40
    low, right = min(point[0] for point in points), max(point[0] for point in points)
    most = max(point[1] for point in points)
    across = (width - left - 20) / max(1e-9, right - low)
    up = (height - bottom - 20) / max(1e-9, most)
    base = height - bottom
    few = len(points) <= _TITLED
    dots = "".join(
        _dot(f"{left + (a - low) * across:.1f}", f"{base - b * up:.1f}", 3, title if few else "")
        for a, b, title in points
    )
    parts = [
        f'<line class="axis" x1="{left}" y1="{base}" x2="{width - 10}" y2="{base}"/>',
        f'<line class="axis" x1="{left}" y1="10" x2="{left}" y2="{base}"/>',
        _text(left, base + 15, f"{low:.2f}", soft=True),
        _text(width - 10, base + 15, f"{right:.2f}", "end", soft=True),
        _text((left + width) / 2, base + 30, x, "middle", soft=True),
        _text(left - 6, base, 0, "end", soft=True),
        _text(left - 6, 24, f"{most:.1f}", "end", soft=True),
        _text(left + 8, 14, y, soft=True),
        f'<g class="k0" opacity="0.5">{dots}</g>',
    ]
    return Drawing(width, height, name, parts)


def reliability_diagram(bins: Iterable[Bin]) -> Drawing:
    """Draw accuracy against confidence, a dot per bin with its interval; large bins have large dots."""
    side = 220

    def x(value: float) -> float:
        return round(32 + value * (side - 44), 1)

    def y(value: float) -> float:
        return round(side - 30 - value * (side - 42), 1)

    filled = [one for one in bins if one.n]
    most = max(one.n for one in filled)
    parts = [
        f'<rect class="frame" x="{x(0)}" y="{y(1)}" width="{x(1) - x(0)}" height="{y(0) - y(1)}"/>',
        f'<line class="diagonal" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>',
    ]
    for tick in (0, 0.5, 1):
        parts.append(_text(x(tick), side - 16, f"{tick:g}", "middle", soft=True))
        parts.append(_text(28, y(tick) + 4, f"{tick:g}", "end", soft=True))
    parts.append(_text(x(0.5), side - 3, "confidence", "middle", soft=True))
    for one in filled:
        across = x(one.confidence)
        limits = f'y1="{y(one.accuracy_low)}" x2="{across}" y2="{y(one.accuracy_high)}"'
        title = (
            f"confidence {one.confidence:.2f}, accuracy {one.accuracy:.2f} "
            f"[{one.accuracy_low:.2f}, {one.accuracy_high:.2f}], {one.n} documents"
        )
        radius = round(2.5 + 4 * (one.n / most) ** 0.5, 1)
        parts.append(f'<line class="limits" x1="{across}" {limits}/>')
        parts.append(_dot(across, y(one.accuracy), radius, title))
    return Drawing(side, side, "Reliability diagram: accuracy against confidence", parts)


def text_width(text: str) -> float:
    """Width of a text in pixels, about; full-width characters take the room of two."""
    return 7.2 * sum(2 if ord(sign) > 0x2E7F else 1 for sign in text)


def _text(
    x: float | str, y: float | str, content: object, anchor: str = "", kind: str = "", *, soft: bool = False
) -> str:
    named = f' class="{"soft" if soft else kind}"' if soft or kind else ""
    anchored = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text{named} x="{x}" y="{y}"{anchored}>{escape(content)}</text>'


def _dot(x: float | str, y: float | str, radius: float, title: str) -> str:
    shown = f"<title>{escape(title)}</title>" if title else ""
    return f'<circle class="dot" cx="{x}" cy="{y}" r="{radius}">{shown}</circle>'


def _box(x: float, y: float, width: float, height: float) -> str:
    return f'x="{x}" y="{y}" width="{width}" height="{height}" rx="2"'


def _lean(value: float, middle: float, reach: float) -> float:
    """Where a value lies on the diverging scale, between -1 and 1."""
    return max(-1.0, min(1.0, (value - middle) / reach)) if reach > 0 else 0.0


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"
