"""Pictures of specialization and ablation, in the report and by themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medbench.analysis import load_runs
from medbench.reports import render_report, write_report
from medbench.reports.page import render_sections, write_page
from medbench.reports.sections.routing_worth import ablation_section, specialized
from tests.analysis.factory import FakeTask, write_routing, write_run
from tests.reports.browser import visit
from tests.reports.conftest import NASTY


def _ablation(model_folder: Path, name: str = "ablation.0123456789", identity: str = "x") -> Path:
    folder = model_folder / name
    folder.mkdir(parents=True)
    parts = []
    for variant, lost in (("intact", 0), ("expert:0", 20), (NASTY, 0)):
        for family, right in (("exam", 40), ("<b>抽取</b>", 40)):
            wrong = lost if family == "exam" else 0
            parts.append(
                pd.DataFrame(
                    {
                        "variant": variant,
                        "task": f"t-{family}",
                        "language": "zh",
                        "family": family,
                        "metric": "acc",
                        "aggregation": "mean",
                        "higher_is_better": True,
                        "document": [str(i) for i in range(right)],
                        "cluster": [str(i) for i in range(right)],
                        "value": [0.0] * wrong + [1.0] * (right - wrong),
                        "counts": None,
                        "labels": None,
                    }
                )
            )
    pd.concat(parts).to_parquet(folder / "documents.parquet")
    (folder / "ablation.json").write_text(json.dumps({"answer_identity": identity}), encoding="utf-8")
    return folder


def test_only_the_ablation_of_the_very_weights_is_drawn(tmp_path: Path) -> None:
    run = write_run(tmp_path, "m", [FakeTask("a")], manifest={"answer_identity": "x"})
    assert "What experts are worth" not in render_report(load_runs(tmp_path))
    _ablation(run.parent, "ablation.other", identity="y")
    (run.parent / "ablation.broken").mkdir()
    (run.parent / "ablation.broken" / "ablation.json").write_text("{", encoding="utf-8")
    assert "What experts are worth" not in render_report(load_runs(tmp_path))
    _ablation(run.parent)
    assert "What experts are worth" in render_report(load_runs(tmp_path))


def test_losses_are_framed_and_texts_stay_texts(tmp_path: Path) -> None:
    page = write_page(
        render_sections([ablation_section([_ablation(tmp_path / "m")])], title="An ablation"),
        tmp_path / "page.html",
    )
    script = """
        const cells = [...document.querySelectorAll("svg .cell")];
        const frames = [...document.querySelectorAll("svg .framed")];
        const at = (shape) => [shape.getAttribute("x"), shape.getAttribute("y")].join();
        const framed = cells.filter((cell) => frames.some((frame) => at(frame) === at(cell)));
        return {
            texts: [...document.querySelectorAll("svg .inside")].map((text) => text.textContent),
            framed: framed.map((cell) => cell.textContent),
            fills: cells.map((cell) => getComputedStyle(cell).fill),
            images: document.images.length,
            title: document.title,
        };
    """
    seen, console = visit(page, script, tmp_path)
    assert console == []
    assert seen["title"] == "An ablation"
    assert seen["images"] == 0
    assert sorted(seen["texts"]) == ["+0.0", "+0.0", "+0.0", "−50.0"]
    assert len(seen["framed"]) == 1
    assert seen["framed"][0].startswith("expert:0, zh-exam: −50.0; others +0.0; contrast −50.0 [")
    assert len(set(seen["fills"])) == 2


def test_kinds_are_drawn_in_the_report(tmp_path: Path) -> None:
    tasks = [FakeTask("a"), FakeTask("b", language="zh", family="抽取")]
    write_run(tmp_path, "m", tasks, routing=write_routing(["a", "b"], lean=6.0, documents=8))
    page = write_report(load_runs(tmp_path), tmp_path / "page.html")
    script = """
        const section = document.getElementById("routing-kinds");
        return {
            texts: [...section.querySelectorAll(".inside")].map((text) => text.textContent),
            frames: section.querySelectorAll(".framed").length,
            caption: section.querySelector("figcaption").textContent,
            inside: section.querySelector("svg").getBoundingClientRect().width > 100,
        };
    """
    seen, console = visit(page, script, tmp_path)
    assert console == []
    assert seen["inside"]
    assert "Chance: 50% of the tokens" in seen["caption"]
    assert len(seen["texts"]) == 2 * (4 + 1)
    # Experts of 9 routers lean on 3 of the 4 in turn: each expert is above chance in some routers.
    beyond = [text for text in seen["texts"] if "/36" in text]
    assert len(beyond) == 2
    assert all(int(text.partition("/")[0]) >= 9 for text in beyond)


@pytest.mark.parametrize("routing", [None, write_routing(["a"])])
def test_without_documents_nothing_is_framed(tmp_path: Path, routing: Any) -> None:
    runs = load_runs(write_run(tmp_path, "m", [FakeTask("a")], routing=routing))
    section = specialized(runs, ["m"])
    if routing is None:
        assert section is None
    else:
        assert section is not None
        assert "framed" not in section.data["figures"][0].svg
