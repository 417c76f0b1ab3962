"""Pictures as files of their own: what they say, in which colors, in both languages."""

from __future__ import annotations

import re
import struct
import sys
import zlib
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from medbench.analysis import load_runs
from medbench.analysis.routing.summary import coactivation
from medbench.cli import main
from medbench.errors import ReportError
from medbench.reports.charts.picture import Picture, Ramp, _wrapped, png, standalone, write_pictures
from medbench.reports.charts.svg import Drawing, pair_maps
from medbench.reports.report import routing_sections
from medbench.reports.sections.routing_pairs import routing_pairs
from tests.analysis.factory import FakeTask, write_routing, write_run

PICTURE = Picture(
    name="one",
    title="A <title> & more",
    caption="Of 4 experts.",
    reading="Chance is 33%.",
    reading_zh="随机水平为 33%。",
    drawing=pair_maps({"gate 0": [[1.0, 0.9], [0.1, 1.0]]}, columns=1, middle=0.5, top=1.0, name="n"),
    ramp=Ramp("0%", "chance", "100%"),
)


def test_a_file_needs_no_style_sheet() -> None:
    text = standalone(PICTURE)
    ET.fromstring(text)  # well-formed, whatever the title holds
    assert "var(" not in text
    assert "color-mix" not in text
    for part in ("A &lt;title&gt; &amp; more", "Of 4 experts.", "Chance is 33%.", "随机水平为 33%。"):
        assert part in text


def test_lines_are_cut_and_lose_nothing() -> None:
    text = "橙色的一对专家被同时选中的次数多于随机水平（14.3%），蓝色则更少。" * 3 + "and some words " * 9
    lines = list(_wrapped(text, 300))
    assert len(lines) > 5
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert not [line for line in lines if line[0] in "，。"]


def test_pairs_show_the_shares_of_the_frame(tmp_path: Path) -> None:
    table = write_routing(["a", "b"], experts=4, top_k=2, lean=2.0)
    runs = load_runs(write_run(tmp_path, "m", [FakeTask("a"), FakeTask("b")], routing=table))
    section = routing_pairs(runs, ["m"])
    assert section is not None
    (picture,) = section.pictures
    drawn = {
        (name, int(other), int(expert)): float(share)
        for name, other, expert, share in re.findall(
            r"<title>(\w+ \d): (\d) beside (\d) ([\d.]+)%</title>", picture.svg
        )
    }
    frame = coactivation(runs.routing(), ["layer", "projection"])
    assert len(drawn) == len(frame) == 9 * 12
    for row in frame.to_dict("records"):
        key = (f"{row['projection']} {row['layer']}", row["other"], row["expert"])
        assert drawn[key] == pytest.approx(100 * row["share"], abs=0.051)
    assert "chance (33.3%)" in picture.reading
    assert "随机水平（33.3%）" in picture.reading_zh
    best = frame.nlargest(1, "share").iloc[0]
    assert f"{100 * best['share']:.0f}% of the tokens of expert {best['expert']}" in picture.reading


@pytest.mark.parametrize("top_k", [1, 4])
def test_where_pairs_say_nothing_none_are_drawn(tmp_path: Path, top_k: int) -> None:
    table = write_routing(["a"], experts=4, top_k=top_k)
    assert routing_pairs(load_runs(write_run(tmp_path, "m", [FakeTask("a")], routing=table)), ["m"]) is None


def test_every_picture_is_read_in_both_languages_with_its_chance(tmp_path: Path) -> None:
    tasks = [FakeTask("a"), FakeTask("b", language="zh")]
    for seed, model in enumerate(("m", "n")):
        write_run(tmp_path, model, tasks, routing=write_routing(["a", "b"], documents=6, seed=seed))
    pictures = [picture for section in routing_sections(load_runs(tmp_path)) for picture in section.pictures]
    assert {picture.name.partition("-")[0] for picture in pictures} == {
        "load",
        "pairs",
        "kinds",
        "entropy",
        "similarity",
        "change",
        "verdicts",
    }
    for picture in pictures:
        assert re.search("chance|ignores its input|no change", picture.reading), picture.name
        assert re.search("[\u4e00-\u9fff]{4}", picture.reading_zh), picture.name
        assert re.findall(r"\d", picture.reading), picture.name
        ET.fromstring(standalone(picture))


def test_files_of_two_runs_do_not_overwrite_each_other(tmp_path: Path) -> None:
    pages = [PICTURE, PICTURE]
    written = write_pictures(pages, tmp_path / "new", "svg")
    assert [path.name for path in written] == ["one.svg", "one-2.svg"]
    with pytest.raises(ReportError, match="no routing to draw"):
        write_pictures([], tmp_path, "svg")
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="cannot be written"):
        write_pictures(pages, tmp_path / "file", "svg")


def test_without_the_library_a_png_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(ReportError, match="resvg-py") as caught:
        png(PICTURE)
    assert "medbench[plots]" in str(caught.value)


def test_a_png_is_as_large_as_its_picture_and_not_blank() -> None:
    pytest.importorskip("resvg_py")
    data = png(PICTURE, zoom=2.0)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = map(int, re.findall(r'(?:width|height)="(\d+)"', standalone(PICTURE))[:2])
    assert struct.unpack(">II", data[16:24]) == (2 * width, 2 * height)
    pixels, place = b"", 8
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        if kind == b"IDAT":
            pixels += data[place + 8 : place + 8 + length]
        place += 12 + length
    assert len(set(zlib.decompress(pixels))) > 50


def test_plain_drawings_stay_as_they_are() -> None:
    picture = Picture("p", "t", "c", "r", "读", Drawing(10, 10, "label", ["<g/>"]))
    assert "<g/>" in standalone(picture)
    assert "linearGradient" not in standalone(picture)


def test_the_command_writes_a_page_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, model in enumerate(("m", "n")):
        write_run(tmp_path, model, [FakeTask("a")], routing=write_routing(["a"], seed=seed))
    page, folder = tmp_path / "routing.html", tmp_path / "pictures"
    run = str(next((tmp_path / "m").iterdir()))
    assert main(["routing", "show", run, "--html", str(page), "--svg", str(folder)]) == 0
    assert "Routing" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert "Experts chosen together" in text
    assert 'lang="zh"' in text
    assert {path.stem for path in folder.iterdir()} >= {"load-m", "pairs-m", "entropy-m", "kinds-m"}
    other = str(next((tmp_path / "n").iterdir()))
    assert main(["routing", "compare", run, other, "--html", str(page), "--svg", str(folder)]) == 0
    assert (folder / "change-m-n.svg").exists()
    assert "Expert loads compared" in page.read_text(encoding="utf-8")
