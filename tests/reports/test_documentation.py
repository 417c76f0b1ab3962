"""The worked example of docs/reports.md runs as it is printed there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.analysis.factory import FakeTask, write_routing, write_run

DOCS = Path(__file__).parents[2] / "docs"


def test_the_worked_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, (model, skill) in enumerate([("early", 0.5), ("late", 0.9)]):
        tasks = [FakeTask("cmexam", n=120, skill=skill), FakeTask("cmeee_v2", "extraction", 60, skill)]
        routing = write_routing(["cmexam", "cmeee_v2"], seed=seed)
        write_run(
            tmp_path, model, tasks, seed=seed, groups={"suite": ["cmexam", "cmeee_v2"]}, routing=routing
        )
    text = (DOCS / "reports.md").read_text(encoding="utf-8").partition("## A worked example")[2]
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 1
    exec(compile(blocks[0], "docs/reports.md", "exec"), {"folder": tmp_path})
    said = capsys.readouterr().out
    assert "better" in said
    assert "Question" in said
    assert (tmp_path / "report.html").exists()


def test_planning_runs() -> None:
    text = (DOCS / "results.md").read_text(encoding="utf-8").partition("## Planning")[2]
    block = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    names: dict[str, object] = {}
    exec(compile(block, "docs/results.md", "exec"), names)
    assert "documents_needed" in names
