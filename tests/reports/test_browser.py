"""The report in a real browser: drawn, sorted, filtered, browsed by keyboard, without console errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from medbench.reports.columns import count, points, text
from medbench.reports.page import render_sections
from medbench.reports.section import table_section
from medbench.reports.tables import text_table
from tests.reports.browser import visit


def test_sorting(page: Path, tmp_path: Path) -> None:
    script = """
        const table = document.querySelector("#overview table");
        const rows = () => [...table.tBodies[0].rows];
        const names = () => rows().map((row) => row.cells[0].firstChild.textContent.trim());
        const click = (column) => table.tHead.rows[0].cells[column].querySelector("button").click();
        const start = names();
        click(0); const up = names();
        click(0); const down = names();
        click(5); const scores = rows().slice(1).map((row) => Number(row.cells[5].dataset.sort));
        return {start, up, down, scores, sort: table.tHead.rows[0].cells[5].getAttribute("aria-sort")};
    """
    seen, console = visit(page, script, tmp_path)
    assert console == []
    assert seen["start"] == ["suite", "cmexam", "medqa_us", "cmeee_v2", "kuake_ir"]
    assert seen["up"] == ["suite", "cmeee_v2", "cmexam", "kuake_ir", "medqa_us"]
    assert seen["down"] == ["suite", "medqa_us", "kuake_ir", "cmexam", "cmeee_v2"]
    assert seen["scores"] == sorted(seen["scores"], reverse=True)
    assert seen["sort"] == "descending"


def test_documents_are_filtered_searched_and_shown(page: Path, tmp_path: Path) -> None:
    script = """
        const set = async (id, value) => {
          const control = document.getElementById(id);
          control.value = value;
          control.dispatchEvent(new Event("input"));
          await wait(400);
          return document.getElementById("found").textContent;
        };
        document.getElementById("documents").scrollIntoView({behavior: "instant"});
        await set("by-verdict", "");
        await wait(2000);
        const all = document.getElementById("found").textContent;
        const drawn = document.querySelectorAll("#rows .doc").length;
        const wrong = await set("by-verdict", "wrong");
        const right = await set("by-verdict", "right");
        await set("by-verdict", "");
        const flips = await set("by-other", "1");
        await set("by-other", "");
        const task = await set("by-task", "0");
        const word = await set("find", "患者7岁");
        const list = document.getElementById("list");
        list.focus();
        const key = (name) => list.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles: true}));
        key("ArrowDown");
        const first = document.getElementById("detail").textContent;
        const marks = document.querySelectorAll("#detail mark").length;
        await set("find", ""); await set("by-task", "1");
        key("End"); await wait(200);
        return {all, drawn, wrong, right, flips, task, word, first, marks, title: document.title,
          last: list.getAttribute("aria-activedescendant"), scrolled: list.scrollTop > 0,
          nasty: document.getElementById("detail").textContent.includes("<script>document.title"),
          images: document.querySelectorAll("img").length};
    """
    seen, console = visit(page, script, tmp_path)
    assert console == []
    assert seen["all"] == "275 documents"
    assert 5 < seen["drawn"] < 40
    assert int(seen["wrong"].split()[0]) + int(seen["right"].split()[0]) == 275
    assert 0 < int(seen["flips"].split()[0]) < 275
    assert seen["task"] == "120 documents"
    assert seen["word"] == "1 documents"
    assert "患者7岁" in seen["first"]
    assert seen["marks"] == 1
    assert seen["last"] == "doc-59"
    assert seen["scrolled"]
    assert seen["nasty"]
    assert seen["images"] == 0
    assert "owned" not in seen["title"]


def test_routing_is_drawn_and_changes_with_the_task(page: Path, tmp_path: Path) -> None:
    script = """
        await wait(500);
        const figure = document.querySelector("[data-routing]");
        const cells = [...figure.querySelectorAll(".cell")];
        const colors = () => cells.map((cell) => getComputedStyle(cell).fill).join();
        const before = colors();
        const choose = figure.querySelector("[data-choose=task]");
        choose.selectedIndex = 2;
        choose.dispatchEvent(new Event("change"));
        return {cells: cells.length, changed: before !== colors(), title: cells[0].textContent};
    """
    seen, console = visit(page, script, tmp_path)
    assert console == []
    assert seen["cells"] == 36
    assert seen["changed"]
    assert "(chance 25.0%)" in seen["title"]


@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_fits_its_window_in_both_themes(page: Path, tmp_path: Path, width: int) -> None:
    script = """
        const paper = () => getComputedStyle(document.body).backgroundColor;
        const light = paper();
        document.getElementById("theme").click();
        return {light, dark: paper(), wide: document.documentElement.scrollWidth, window: innerWidth};
    """
    seen, console = visit(page, script, tmp_path, width=width)
    assert console == []
    assert seen["light"] != seen["dark"]
    assert seen["wide"] <= seen["window"]


def test_numbers_of_plain_tables_are_sorted_as_numbers(tmp_path: Path) -> None:
    rows = [{"name": f"r{n}", "n": n, "change": n / 1000 - 0.5} for n in (900, 12_345, 15, 1_200, 7)]
    table = text_table(rows, [text("name"), count("n"), points("change")])
    page = tmp_path / "page.html"
    page.write_text(render_sections([table_section("x", "X", "", table)], title="t"), encoding="utf-8")
    script = """
        const table = document.querySelector("table");
        const click = (column) => table.tHead.rows[0].cells[column].querySelector("button").click();
        const names = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
        click(1); const down = names();
        click(1); const up = names();
        click(2); return {down, up, change: names()};
    """
    seen, console = visit(page, script, tmp_path)
    assert console == []
    assert seen["down"] == ["r12345", "r1200", "r900", "r15", "r7"]
    assert seen["up"] == seen["down"][::-1]
    assert seen["change"] == seen["down"]


def test_a_telephone_shows_names_and_scores_side_by_side(page: Path, tmp_path: Path) -> None:
    script = """
        const row = document.querySelector("#overview tbody tr");
        const first = row.querySelector("td.number[title]").getBoundingClientRect();
        return {right: first.right, name: row.cells[0].getBoundingClientRect().right, left: first.left,
          wide: document.documentElement.scrollWidth, window: innerWidth};
    """
    seen, console = visit(page, script, tmp_path, width=500)
    assert console == []
    assert seen["name"] <= seen["left"] < seen["right"] <= seen["window"]
    assert seen["wide"] <= seen["window"]


def test_what_is_folded_is_open_on_paper(page: Path, tmp_path: Path) -> None:
    script = """
        const parts = [...document.querySelectorAll("details")];
        const before = parts.filter((part) => part.open).length;
        dispatchEvent(new Event("beforeprint"));
        return {before, after: parts.filter((part) => part.open).length, all: parts.length};
    """
    seen, console = visit(page, script, tmp_path)
    assert console == []
    assert seen["before"] < seen["after"] == seen["all"]
