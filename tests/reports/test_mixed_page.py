"""The report of a folder with several evaluations of a model: a column per system, and all of it true."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from medbench.analysis import load_runs, systems
from medbench.analysis.speaking import speaking
from medbench.reports import render_report
from tests.analysis.factory import FakeTask, write_routing, write_run

NAMES = ("ward", "dose")


def _run(folder: Path, model: str, day: int, n: int = 40, source: str = "folder", **settings: Any) -> None:
    write_run(
        folder,
        model,
        [FakeTask(name, n=n, skill=0.5 + day / 10, data_source=source) for name in NAMES],
        run=f"2026010{day}-000000-r",
        seed=day,
        groups={"suite": NAMES},
        routing=write_routing(NAMES, seed=day, documents=4),
        manifest={"settings": {"limit": None, **settings}, "started": f"2026-01-0{day}T00:00:00+00:00"},
    )


def _table(text: str, section: str) -> list[list[str]]:
    """Cells of the first table of a section, as plain text."""
    body = (
        text.split(f'<section id="{section}"')[1]
        .split("</section>")[0]
        .split("<table")[1]
        .split("</table>")[0]
    )
    rows = re.findall(r"<tr.*?</tr>", body, flags=re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL) for row in rows]
    return [[" ".join(unescape(re.sub(r"<[^>]*>", " ", cell)).split()) for cell in row] for row in cells]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two evaluations of demo, one of early; a smoke test and a run on samples of demo."""
    folder = tmp_path_factory.mktemp("results")
    _run(folder, "demo", 1)
    _run(folder, "demo", 2)
    _run(folder, "early", 1)
    _run(folder, "demo", 3, n=2, limit=2)
    _run(folder, "demo", 4, n=12, source="samples")
    return render_report(load_runs(folder))


def test_one_column_per_system(text: str) -> None:
    head, suite, ward, _ = _table(text, "overview")
    assert head[5:] == ["demo", "demo · source samples", "demo · limit 2", "early"]
    assert suite[0] == "suite"
    assert ward[:5] == ["ward", "acc", "en", "exam", "differs"]
    # Every score says of how many documents it is, and where they came from if others came from elsewhere.
    assert [re.sub(r"[\d.]+ \[.*\] ?", "", cell) for cell in ward[5:]] == [
        "n = 40",
        "n = 12 samples",
        "n = 2",
        "n = 40",
    ]


def test_the_banner_is_true_of_every_score(text: str) -> None:
    banner = text.split('<div class="banner"')[1].split("</div>")[0]
    assert "Every score" not in banner
    assert "all of demo · source samples; all other scores come from elsewhere" in " ".join(banner.split())


def test_every_number_is_of_the_run_that_speaks(text: str) -> None:
    # The second evaluation of demo replaces the first, and nothing else does.
    card = r"<summary><strong>(.*?)</strong>.*?<dt>answers for</dt><dd>(.*?)</dd>"
    cards = re.findall(card, text, flags=re.DOTALL)
    assert dict(cards) == {
        "demo · 20260101-000000-r": "nothing: newer or larger runs under the same conditions do",
        "demo · 20260102-000000-r": "demo (2 tasks)",
        "demo · 20260103-000000-r": "demo · limit 2 (2 tasks)",
        "demo · 20260104-000000-r": "demo · source samples (2 tasks)",
        "early": "early (2 tasks)",
    }
    assert (
        "<dd>chat template unknown · float32 · 0-shot · limit 2 · source folder · engine native</dd>" in text
    )


def test_models_are_compared_under_the_conditions_they_share(text: str) -> None:
    section = text.split('<section id="differences"')[1].split("</section>")[0]
    assert re.findall(r"<h3>(.*?)</h3>", section) == ["early − demo"]
    assert "early beside demo, 2 tasks: " in section
    assert "All under: chat template unknown" in section
    rows = _table(text, "differences")
    assert rows[0][4:6] == ["p", "p adjusted"]
    sizes = [abs(float(row[1].split()[0].replace("−", "-"))) for row in rows[2:]]
    assert sizes == sorted(sizes, reverse=True)
    assert [row[6] for row in rows[1:]] == ["80", "40", "40"]


def test_what_was_not_asked_is_not_missing(tmp_path: Path) -> None:
    _run(tmp_path, "demo", 1)
    write_run(tmp_path, "demo", [FakeTask("ward", n=2)], run="b", manifest={"settings": {"limit": 2}})
    write_run(tmp_path, "early", [FakeTask("ward")])
    head, _, _, dose = _table(render_report(load_runs(tmp_path)), "overview")
    assert dict(zip(head[6:], dose[6:], strict=True)) == {"demo · limit 2": "–", "early": "missing"}


def test_conditions_of_a_single_model_are_compared_where_the_questions_agree(tmp_path: Path) -> None:
    _run(tmp_path, "demo", 1)
    _run(tmp_path, "demo", 2, quantization="nf4")
    section = render_report(load_runs(tmp_path)).split('<section id="differences"')[1]
    assert "<h3>demo · nf4 − demo</h3>" in section
    assert "not evaluated alike" in section
    assert "nf4 against not quantized" in section


def test_runs_that_answer_together_are_one(tmp_path: Path) -> None:
    for day, name in enumerate(NAMES, 1):
        write_run(
            tmp_path,
            "m",
            [FakeTask(name, n=10 * day)],
            run=f"2026010{day}-000000-r",
            routing=write_routing(NAMES, seed=day),
        )
    loaded = load_runs(tmp_path)
    (one,) = speaking(loaded)
    assert (one.model, one.run) == ("m", "20260101-000000-r, 20260102-000000-r")
    assert one.samples(["task"])["task"].value_counts().to_dict() == {"dose": 20, "ward": 10}
    assert one.samples(["task"], tasks=["dose"])["task"].unique().tolist() == ["dose"]
    assert one.samples(["task"], tasks=["zzz"]).empty
    assert set(one.tables.scores().column("task").to_pylist()) == set(NAMES)
    # The routing of a task is that of the run that answers for it, though both have some.
    mine = {task: run.routing(tasks=[task]) for task, run in systems(loaded)[0].runs.items()}
    routing = one.routing()
    for task, frame in mine.items():
        assert routing.loc[routing["task"] == task, "count"].tolist() == frame["count"].tolist()
    text = render_report(loaded)
    assert _table(text, "overview")[0][5:] == ["m"]
    assert 'class="missing"' not in text
