"""A run that broke off goes on with the time of its start, which its chat template says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import medbench.demo
from medbench.api import Evaluation, evaluate_with_outcome
from medbench.models.harness.answers import Answer
from medbench.runs import plan
from medbench.runs.store import ResponseStore

CHECKPOINT = Path(medbench.demo.__file__).parent / "checkpoint"
TURNS = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}A:"
START = datetime(2031, 5, 6, 12)


class Clock:
    """A checkpoint whose template asks for the time, runs of it, and the time at which they are planned."""

    def __init__(self, folder: Path, form: str, patched: pytest.MonkeyPatch) -> None:
        self._folder, self._patched = folder, patched
        shutil.copytree(CHECKPOINT, folder / "checkpoint")
        template = f"{{{{ strftime_now('{form}') }}}}\n{TURNS}" if form else TURNS
        (folder / "checkpoint" / "chat_template.jinja").write_text(template, encoding="utf-8")

    def at(self, moment: datetime) -> None:
        class Then(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Then:
                return cls(*moment.timetuple()[:6])

        self._patched.setattr(plan, "datetime", Then)

    def run(self, **options: Any) -> Evaluation:
        settings: dict[str, Any] = {"tasks": ["pubmedqa"], "limit": 3, "chat_template": True} | options
        return evaluate_with_outcome(
            model=str(self._folder / "checkpoint"),
            results=self._folder / "results",
            report=False,
            quiet=True,
            **settings,
        )

    def broken_off(self, **options: Any) -> None:
        """A run that is interrupted when its first answers are to be stored."""

        def breaking(self: ResponseStore, answers: Mapping[str, Answer], *what: Any) -> None:
            raise KeyboardInterrupt

        with self._patched.context() as patched:
            patched.setattr(ResponseStore, "put", breaking)
            with pytest.raises(KeyboardInterrupt):
                self.run(**options)

    def folders(self) -> list[Path]:
        return sorted(path.parent for path in (self._folder / "results").glob("*/*/run.json"))


def said(outcome: Evaluation) -> set[str]:
    """What the prompts of a run begin with."""
    prompts = pd.read_parquet(outcome.directory / "samples.parquet")["prompt"]
    return {str(prompt).partition("\n")[0] for prompt in prompts}


@pytest.mark.parametrize(
    ("form", "later"),
    [
        ("%d %b %Y", timedelta(days=1)),
        ("%d %b %Y", timedelta(days=400)),
        ("%H:%M", timedelta(minutes=1)),
        ("%Y", timedelta(days=365)),
        ("%B %Y", timedelta(days=30)),
        ("%d %b %Y", timedelta(minutes=5)),
    ],
)
def test_it_goes_on_as_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, later: timedelta
) -> None:
    clock = Clock(tmp_path, form, monkeypatch)
    clock.at(START)
    clock.broken_off()
    [begun] = clock.folders()
    clock.at(START + later)
    ended = clock.run()
    assert ended.directory == begun
    assert clock.folders() == [begun]
    assert said(ended) == {START.strftime(form)}
    manifest = json.loads((begun / "run.json").read_text(encoding="utf-8"))
    assert manifest["clock"] == {form: START.strftime(form)}
    assert manifest["status"] == "complete"
    again = (
        clock.run()
    )  # what is complete is not gone on with: today's run is another, if today says otherwise
    assert again.reused == (later < timedelta(hours=1) and form != "%H:%M")


@pytest.mark.parametrize(
    ("options", "other"),
    [
        ({}, {"fresh": True}),
        ({}, {"limit": 2}),
        ({}, {"chat_template": False}),
        ({}, {"system_prompt": "Be brief."}),
        ({"chat_template": False}, {}),
    ],
    ids=str,
)
def test_what_asks_otherwise_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], other: dict[str, Any]
) -> None:
    clock = Clock(tmp_path, "%d %b %Y", monkeypatch)
    clock.at(START)
    clock.broken_off(**options)
    [begun] = clock.folders()
    clock.at(START + timedelta(days=1))
    ended = clock.run(**other)
    assert ended.directory != begun
    if other.get("chat_template") is not False:
        assert said(ended) == {"07 May 2031"}


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"moment": 3}', '{"moment": "today"}', '{"status": 1}'])
def test_a_damaged_manifest_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    clock = Clock(tmp_path, "%d %b %Y", monkeypatch)
    clock.at(START)
    clock.broken_off()
    [begun] = clock.folders()
    (begun / "run.json").write_text(damage, encoding="utf-8")
    clock.at(START + timedelta(days=1))
    assert said(clock.run()) == {"07 May 2031"}


def test_without_a_clock_the_day_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(tmp_path, "", monkeypatch)
    clock.at(START)
    clock.broken_off()
    [begun] = clock.folders()
    clock.at(START + timedelta(days=1))
    assert clock.run().directory == begun
    assert clock.run().reused
