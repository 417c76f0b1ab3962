"""Colors computed here are those that a browser mixes, in both themes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medbench.reports.charts.colors import DARK, LIGHT, Palette, mix, mixed_by_browser, shade
from medbench.reports.page import render_sections
from tests.reports.browser import visit

LEANS = [-1.0, -0.83, -0.5, -0.26, -0.04, 0.0, 0.004, 0.11, 0.37, 0.5, 0.72, 0.99, 1.0]


@pytest.mark.parametrize(("palette", "theme"), [(LIGHT, "light"), (DARK, "dark")])
def test_a_browser_mixes_the_same(palette: Palette, theme: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(render_sections([], title="t"), encoding="utf-8")
    script = f"""
        document.documentElement.dataset.theme = "{theme}";
        const shape = document.createElement("div");
        document.body.append(shape);
        const canvas = document.createElement("canvas").getContext("2d", {{willReadFrequently: true}});
        return {[mixed_by_browser(lean) for lean in LEANS]}.map((mixture) => {{
            shape.style.color = mixture;
            canvas.fillStyle = getComputedStyle(shape).color;
            canvas.fillRect(0, 0, 1, 1);
            return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
        }});
    """
    seen, console = visit(page, script, tmp_path)
    assert console == []
    for lean, rgb in zip(LEANS, seen, strict=True):
        mine = [int(shade(lean, palette)[i : i + 2], 16) for i in (1, 3, 5)]
        assert all(abs(a - b) <= 1 for a, b in zip(mine, rgb, strict=True)), (lean, mine, rgb)


def test_known_mixtures() -> None:
    # Red and blue, black and white: halfway in Oklab as CSS Color 4 has it.
    assert mix("#2166ac", "#f1f1ee", 1.0) == "#2166ac"
    assert mix("#2166ac", "#f1f1ee", 0.0) == "#f1f1ee"
    assert mix("#ff0000", "#0000ff", 0.5) == "#8c53a2"
    assert mix("#000000", "#ffffff", 0.5) == "#636363"


def test_the_ends_of_the_scale_are_the_colors_of_the_palette() -> None:
    for palette in (LIGHT, DARK):
        assert [shade(lean, palette) for lean in (-1, 0, 1)] == [
            palette[n] for n in ("low", "middle", "high")
        ]
    assert set(LIGHT) == set(DARK)


def test_a_page_declares_both_palettes_and_prints_the_light_one() -> None:
    style = render_sections([], title="t").partition("<style>")[2].partition("</style>")[0]
    for palette in (LIGHT, DARK):
        for name, color in palette.items():
            assert f"--{name}: {color};" in style
    # Whatever sets a dark color is for screens alone.
    rules = re.split(r"(?=@media|:root \{)", style)
    dark = [rule for rule in rules if f"--paper: {DARK['paper']}" in rule]
    assert len(dark) == 2
    assert all(rule.startswith("@media screen") for rule in dark)
    # The style sheet itself knows colors by name only.
    assert not re.findall(r"#[0-9a-f]{3,6}\b", style.rpartition("/* Colors are variables")[2])
