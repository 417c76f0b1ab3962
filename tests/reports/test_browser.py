"""The report in a real browser: drawn, sorted, filtered, browsed by keyboard, without console errors."""

from __future__ import annotations

from pathlib import Path

import pytest

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
        const colours = () => cells.map((cell) => getComputedStyle(cell).fill).join();
        const before = colours();
        const choose = figure.querySelector("[data-choose=task]");
        choose.selectedIndex = 2;
        choose.dispatchEvent(new Event("change"));
        return {cells: cells.length, changed: before !== colours(), title: cells[0].textContent};
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
