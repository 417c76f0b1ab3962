"""The colors of reports, by day and by night, and mixtures of them."""

from __future__ import annotations

from functools import cache

import numpy as np

Palette = dict[str, str]

# Name, color by day, color by night. ``low``, ``middle`` and ``high`` make the diverging scale; ``k0`` to
# ``k7`` tell models apart, for color-blind readers too (after Okabe and Ito 2008).
_COLORS = [
    row.split()
    for row in """
    paper      #ffffff #12161c
    ink        #1b2330 #e7ebf0
    soft       #5b6675 #9aa6b4
    line       #d9dee6 #2d3642
    raised     #f5f7fa #1a2029
    accent     #0a6b8a #62c0e0
    warn-paper #fff1d6 #3b2a08
    warn-ink   #6b4200 #ffd991
    bad        #a8321f #ff8f7a
    good       #0b6e4f #62d3a8
    low        #2166ac #4f9de0
    high       #b35806 #f0913a
    middle     #f1f1ee #262c35
    k0         #0072b2 #4aa8e8
    k1         #d97f00 #f2a93b
    k2         #009e73 #2fc79a
    k3         #b8568f #e08cc0
    k4         #4aa3d8 #8fd0f5
    k5         #c74a00 #ff8a4c
    k6         #7a6a00 #d3c24a
    k7         #6b6f76 #a3a9b2
    """.strip().splitlines()
]
#: Colors by the names that the page's style sheet uses.
LIGHT: Palette = {name: day for name, day, _ in _COLORS}
DARK: Palette = {name: night for name, _, night in _COLORS}
#: How many series have a color of their own; more begin again.
SERIES = 8

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


def variables(palette: Palette) -> str:
    """The colors of a palette as declarations of CSS variables."""
    return " ".join(f"--{name}: {color};" for name, color in palette.items())


def shade(lean: float, palette: Palette = LIGHT) -> str:
    """The color of a place on the diverging scale.

    Args:
        lean: From -1 (``low``) over 0 (``middle``) to 1 (``high``).
        palette: Where the three colors come from.
    """
    return mix(palette[_end(lean)], palette["middle"], _percent(lean) / 100)


def mixed_by_browser(lean: float) -> str:
    """The same color as an expression of CSS, which follows the theme of the page."""
    return f"color-mix(in oklab, var(--{_end(lean)}) {_percent(lean)}%, var(--middle))"


@cache
def mix(first: str, second: str, share: float) -> str:
    """Two colors mixed in Oklab, as the ``color-mix`` of CSS Color 4 does.

    Args:
        first: The first color, as ``#rrggbb``.
        second: The other.
        share: Part of the first, between 0 and 1.
    """
    labs = []
    for color in (first, second):
        rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        labs.append(_LAB @ np.cbrt(_CONES @ linear))
    lab = share * labs[0] + (1 - share) * labs[1]
    linear = np.clip(np.linalg.solve(_CONES, np.linalg.solve(_LAB, lab) ** 3), 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * value):02x}" for value in np.clip(rgb, 0, 1))


def _end(lean: float) -> str:
    return "low" if lean < 0 else "high"


def _percent(lean: float) -> int:
    return round(100 * abs(lean))
