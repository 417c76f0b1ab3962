"""What an output shows, number by number, and which of them have been accounted for."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

Key: TypeAlias = tuple[Hashable, ...]

# Of what was computed again in another way: rounding of sums.
_ROUNDING = 1e-9

NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


class Truth(NamedTuple):
    """The range in which a number must lie; both ends are equal unless it was drawn at random."""

    least: float
    most: float

    def __mul__(self, factor: object) -> Truth:
        assert isinstance(factor, (int, float))
        return Truth(*sorted((self.least * factor, self.most * factor)))

    @property
    def known(self) -> bool:
        """Whether there is a number at all."""
        return not math.isnan(self.least)


def exactly(value: float) -> Truth:
    """A number that chance has no part in."""
    return Truth(float(value), float(value))


UNKNOWN = exactly(math.nan)


@dataclass
class Shown:
    """The cells of an output by their place, each of which must be taken once.

    Attributes:
        name: What showed them.
        cells: Texts, or numbers as JSON has them.
        taken: Places that were compared.
        numbers: How many numbers were compared.
    """

    name: str
    cells: dict[Key, Any]
    taken: set[Key] = field(default_factory=set)
    numbers: int = 0

    def take(self, key: Key) -> Any:
        """The cell of a place, which now counts as seen."""
        assert key in self.cells, f"{self.name} does not show {key}; it has {list(self.cells)[:20]}"
        self.taken.add(key)
        return self.cells[key]

    def text(self, key: Key, expected: str) -> None:
        """Compare words."""
        found = self.take(key)
        assert found == expected, f"{self.name}, {key}: {found!r}, expected {expected!r}"

    def number(self, key: Key, truth: Truth | float, *, digits: int | None = None) -> None:
        """Compare one number with what it must be.

        Args:
            key: Its place.
            truth: What it must be, in the unit in which it is shown.
            digits: Significant digits of texts that leave out trailing zeros.
        """
        found = self.take(key)
        self.close(f"{self.name}, {key}", found, truth, digits)
        self.numbers += 1

    def several(self, key: Key, *truths: Truth | float, digits: int | None = None) -> None:
        """Compare the numbers of a text such as ``[1.0, 2.0]``; a dash stands for none."""
        text = self.take(key)
        wanted = [truth if isinstance(truth, Truth) else exactly(truth) for truth in truths]
        if not all(truth.known for truth in wanted):
            assert plain(text) in ("–", "", "-"), f"{self.name}, {key}: {text!r} where nothing is known"
            return
        parts = NUMBER.findall(plain(text))
        assert len(parts) == len(wanted), f"{self.name}, {key}: {text!r} does not hold {len(wanted)} numbers"
        for part, truth in zip(parts, wanted, strict=True):
            self.close(f"{self.name}, {key}", part, truth, digits)
            self.numbers += 1

    def close(self, where: str, found: Any, truth: Truth | float, digits: int | None = None) -> None:
        """Fail unless a number lies where it must, to within what rounding takes from it."""
        truth = truth if isinstance(truth, Truth) else exactly(truth)
        if not truth.known:
            assert found in (None, "–", "", "missing"), f"{where}: {found!r} where nothing is known"
            return
        assert isinstance(found, (str, int, float)), f"{where}: nothing, expected {truth}"
        value, slack = _read(found, digits)
        assert truth.least - slack <= value <= truth.most + slack, f"{where}: {found!r}, expected {truth}"

    def left(self) -> dict[Key, Any]:
        """Cells with numbers that nobody has accounted for."""
        return {
            key: cell
            for key, cell in self.cells.items()
            if key not in self.taken and (NUMBER.search(cell) if isinstance(cell, str) else cell is not None)
        }

    def closed(self, *explained: str) -> int:
        """Fail if a number was left out, and return how many were compared.

        Args:
            explained: Last parts of places whose numbers are no results, such as times and identifiers.
        """
        left = {key: cell for key, cell in self.left().items() if key[-1] not in explained}
        assert not left, f"{self.name} shows numbers that nothing explains: {dict(list(left.items())[:10])}"
        assert self.numbers, f"{self.name} shows no number"
        return self.numbers


def plain(text: str) -> str:
    """A text with the signs of a keyboard."""
    return text.replace("−", "-").strip()


def _read(found: Any, digits: int | None) -> tuple[float, float]:
    """A number, and by how much it may be off because it was rounded."""
    if not isinstance(found, str):
        return float(found), _ROUNDING * max(1.0, abs(float(found)))
    text = plain(found).replace(",", "").removeprefix("+").removesuffix("%")
    value = float(text)
    if digits is not None:
        unit = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1) if value else 0.0
    else:
        unit = 10.0 ** -len(text.partition(".")[2])
    return value, 0.5 * unit * (1 + 1e-6) + _ROUNDING


def json_numbers(value: Any, place: Key = ()) -> Iterator[tuple[Key, Any]]:
    """The numbers of a JSON value by place, with null for what is missing among them."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from json_numbers(item, (*place, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from json_numbers(item, (*place, number))
    elif value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        yield place, value


def rows_shown(name: str, rows: list[dict[str, Any]], *by: str) -> Shown:
    """The numbers of a list of rows, by the columns that tell the rows apart."""
    cells: dict[Key, Any] = {}
    for row in rows:
        place = tuple(row[column] for column in by)
        found = dict(json_numbers({key: item for key, item in row.items() if key not in by}, place))
        assert not cells.keys() & found.keys(), f"{name} shows {place} twice"
        cells |= found
    return Shown(name, cells)


def text_rows(text: str) -> list[dict[str, str]]:
    """The rows of every table that a terminal was shown, each as texts by heading."""
    rows: list[dict[str, str]] = []
    headings: list[str] = []
    for line in text.splitlines():
        if "┃" in line:
            headings = [part.strip() for part in line.split("┃")]
        elif "│" in line and headings:
            parts = [part.strip() for part in line.split("│")]
            assert len(parts) == len(headings), f"a cell too many or too few in {line!r}"
            rows.append(dict(zip(headings, parts, strict=True)))
    return rows
