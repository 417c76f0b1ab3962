"""The report as text: complete, inert, repeatable, small."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from medbench.analysis import Runs, load_runs
from medbench.errors import AnalysisError, ReportError
from medbench.reports import render_report, write_report
from medbench.reports.sections.documents import documents
from tests.analysis.factory import FakeTask, write_run
from tests.reports.conftest import NASTY


class _Tags(HTMLParser):
    """Collects tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def _tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(text)
    return parser.tags


def _payload(text: str, name: str) -> Any:
    found = re.search(rf'<script type="application/octet-stream" id="{name}">([^<]*)</script>', text)
    assert found
    return _unpack(found.group(1))


def _unpack(packed: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def test_all_sections_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    ids = [attributes.get("id") for tag, attributes in _tags(text) if tag == "section"]
    assert ids == [
        "overview",
        "bars",
        "published",
        "differences",
        "answers",
        "calibration",
        "confusion",
        "documents",
        "routing",
        "routing-pairs",
        "routing-kinds",
        "routing-tasks",
        "provenance",
    ]


def test_nothing_is_fetched_and_only_the_own_script_may_run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for tag, attributes in _tags(text):
        assert tag not in ("link", "img", "iframe", "object", "base")
        for name in ("src", "href", "action"):
            value = attributes.get(name) or "#"
            assert value.startswith("#"), (tag, name, value)
        assert not [name for name in attributes if name.startswith("on")]
    policy = next(a["content"] for t, a in _tags(text) if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_hostile_texts_stay_texts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    scripts = [attributes for tag, attributes in _tags(text) if tag == "script"]
    assert [attributes.get("type") for attributes in scripts] == ["application/octet-stream"] * 2 + [None]
    assert not [tag for tag, _ in _tags(text) if tag == "i" and "late" in text.split("<i>")[-1][:10]]
    assert "<i>late" not in text
    assert "<b>不相关" not in text
    assert "onerror=alert(1)>" not in text
    assert "49" not in re.findall(r"onerror=alert\(1\)&gt;(.*?)\u2028", text)
    answers = _payload(text, "documents-data")["answers"]
    assert NASTY in answers[0]["response"]


def test_bundled_samples_are_said_loudly(page: Path, runs: Runs, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "Bundled samples, not a benchmark score." in text
    assert "cmeee_v2" in text.split("Bundled samples, not a benchmark score.")[1][:200]
    write_run(tmp_path, "m", [FakeTask("t")])
    assert "not a benchmark score" not in render_report(load_runs(tmp_path))


def test_the_same_runs_give_the_same_bytes(page: Path, runs: Runs, tmp_path: Path) -> None:
    again = write_report(runs, tmp_path / "again.html")
    assert again.read_bytes() == page.read_bytes()


def test_chinese_is_written_as_it_is(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "相关" in text
    assert '<meta charset="utf-8">' in text


def test_routing_data_add_up(page: Path) -> None:
    for run in _payload(page.read_text(encoding="utf-8"), "routing-data"):
        assert run["chance"] == 0.25
        for loads in run["loads"].values():
            assert len(loads) == 3 * 3 * 4
            for start in range(0, len(loads), 4):
                assert sum(loads[start : start + 4]) == pytest.approx(10_000, abs=3)


def test_a_single_plain_run_has_no_empty_sections(tmp_path: Path) -> None:
    write_run(tmp_path, "m", [FakeTask("t")])
    text = render_report(load_runs(tmp_path), title="A title & more")
    ids = [attributes.get("id") for tag, attributes in _tags(text) if tag == "section"]
    assert ids == ["overview", "bars", "calibration", "documents", "provenance"]
    assert "A title &amp; more" in text


def test_missing_scores_are_called_missing(tmp_path: Path) -> None:
    write_run(tmp_path, "a", [FakeTask("t"), FakeTask("u")])
    write_run(tmp_path, "b", [FakeTask("t")])
    assert render_report(load_runs(tmp_path)).count('<span class="missing">missing</span>') >= 1


def test_problems_of_loading_are_shown(tmp_path: Path) -> None:
    write_run(tmp_path, "a", [FakeTask("t")], manifest={"failures": {"u": "<script>"}})
    text = render_report(load_runs(tmp_path))
    assert "u failed and is missing: &lt;script&gt;" in text


def test_documents_keep_to_their_budget(tmp_path: Path) -> None:
    write_run(tmp_path, "a", [FakeTask("small", n=5), FakeTask("large", n=400), FakeTask("middle", n=60)])
    loaded = load_runs(tmp_path)
    section = documents(loaded, ["a"], most=100)
    assert section is not None
    assert section.data["n"] <= 100
    assert "of 465" in section.lead
    content = _unpack(section.payloads["documents-data"])
    per_task = [content["task"].count(i) for i in range(3)]
    assert per_task[0] == 5
    assert min(per_task[1:]) >= 45
    tiny = documents(loaded, ["a"], budget=2_500)
    assert tiny is not None
    assert tiny.data["n"] < 465


def test_long_texts_are_shortened_and_said_so(tmp_path: Path) -> None:
    write_run(tmp_path, "a", [FakeTask("t", n=3, prompt="长" * 9_000 + "{i}")])
    section = documents(load_runs(tmp_path), ["a"])
    assert section is not None
    prompt = _unpack(section.payloads["documents-data"])["prompt"][0]
    assert len(prompt) < 3_100
    assert "characters left out" in prompt


def test_a_report_that_cannot_be_written_says_so(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="cannot be written"):
        write_report(runs, tmp_path / "file" / "report.html")
    with pytest.raises(AnalysisError, match="nobody"):
        write_report(runs, tmp_path / "report.html", baseline="nobody")


def test_incomparable_runs_are_reported_not_raised(tmp_path: Path) -> None:
    write_run(tmp_path, "a", [FakeTask("t")])
    write_run(tmp_path, "b", [FakeTask("t", prompt="{name} other {i}")])
    text = render_report(load_runs(tmp_path))
    assert "40 prompts differ" in text
