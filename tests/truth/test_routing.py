"""What the routing commands print, from the traces of single tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.truth import routing, tables, token_figures, token_groups, verdicts
from tests.truth.ledger import rows_shown
from tests.truth.runs import Made, run, said_json
from tests.truth.traces import Owner, Trace


def kinds_of(made: Made) -> Any:
    """The kind of a document's task."""

    def kind(owner: Owner) -> str:
        row = made.main[owner[0]]
        known = [row[name] for name in ("language", "family")]
        return "-".join(name or "other" for name in known) if any(known) else "other"

    return kind


def test_kinds_of_a_few_documents(own_tasks: Path, tmp_path: Path) -> None:
    words = ["--tasks", "pubmedqa,cmexam,own_words", "--tasks-dir", own_tasks, "--limit", 2]
    (made,) = run(tmp_path, *words, "--routing", "tokens")
    trace = Trace(made.folder)
    assert trace.hold() > 1_000
    rows = said_json("routing", "kinds", made.folder)
    assert {row["kind"] for row in rows} == {"en-exam", "zh-exam", "other"}
    routing.check_kinds(trace, kinds_of(made), rows, rows_shown("kinds", rows, "kind", "expert"))


@pytest.mark.slow
@pytest.mark.ci
class TestRouting:
    """On tasks of every kind."""

    def test_recorded_sums(self, traced: list[tuple[Made, Trace]]) -> None:
        for _, trace in traced:
            assert trace.hold() > 100_000

    @pytest.mark.parametrize("phase", [None, "prompt", "generated"])
    def test_kinds(self, traced: list[tuple[Made, Trace]], phase: str | None) -> None:
        for made, trace in traced:
            rows = said_json("routing", "kinds", made.folder, *(["--phase", phase] if phase else []))
            shown = rows_shown("kinds", rows, "kind", "expert")
            routing.check_kinds(trace, kinds_of(made), rows, shown, phase=phase)
            words = ["routing", "kinds", made.folder, *(["--phase", phase] if phase else [])]
            tables.check_rest(words, rows, tables.KINDS, "kind")

    def test_kinds_of_template_and_content(self, traced: list[tuple[Made, Trace]]) -> None:
        made, trace = traced[0]
        counts = token_groups.counts_of_parts(trace)
        for part in ("template", "content"):
            rows = said_json("routing", "kinds", made.folder, "--phase", part)
            shown = rows_shown("kinds", rows, "kind", "expert")
            mine = token_groups.documents_of_part(trace, counts, part)
            routing.check_kinds(trace, kinds_of(made), rows, shown, counts=mine)

    def test_figures_of_tasks(self, traced: list[tuple[Made, Trace]]) -> None:
        for made, trace in traced:
            rows = said_json("routing", "show", made.folder)
            routing.check_summary(trace, rows, rows_shown("show", rows, "task", "metric"))
            tables.check_rest(["routing", "show", made.folder], rows, tables.FIGURES, "task", "metric")

    def test_similarity(self, traced: list[tuple[Made, Trace]]) -> None:
        made, trace = traced[0]
        rows = said_json("routing", "similarity", made.folder)
        routing.check_similarities(trace, rows, rows_shown("similarity", rows, "task", "other"))
        pairs = sorted(
            (row for row in rows if row["task"] != row["other"]), key=lambda row: -row["similarity"]
        )
        words = ["routing", "similarity", made.folder, "--top", 0]
        tables.check_rest(words, pairs, tables.SIMILARITY, "task", "other")

    def test_changes(self, traced: list[tuple[Made, Trace]]) -> None:
        (demo, one), (early, two) = traced
        rows = said_json("routing", "compare", demo.folder, early.folder)
        shown = rows_shown("compare", rows, "task", "layer", "projection", "expert")
        routing.check_changes(one, two, rows, shown)
        rows.sort(key=lambda row: -abs(row["difference"]))
        words = ["routing", "compare", demo.folder, early.folder, "--top", 0]
        tables.check_rest(words, rows, tables.CHANGES, "task", "projection")

    def test_verdicts_and_gains(self, traced: list[tuple[Made, Trace]]) -> None:
        (demo, one), (early, two) = traced
        found = said_json("routing", "scores", demo.folder, early.folder)
        verdicts.check_verdicts(demo, one, found)
        verdicts.check_gains(demo, early, one, found["gains"])
        verdicts.check_verdicts(early, two, said_json("routing", "scores", early.folder))

    def test_classes_and_words(self, traced: list[tuple[Made, Trace]]) -> None:
        made, trace = traced[0]
        token_figures.check_classes(trace, said_json("routing", "tokens", made.folder))
        rows = said_json("routing", "tokens", made.folder, "--show", "vocabulary")
        token_groups.check_vocabulary(trace, rows)

    def test_repetition_and_parts(self, traced: list[tuple[Made, Trace]]) -> None:
        made, trace = traced[0]
        rows = said_json("routing", "tokens", made.folder, "--show", "repetition")
        token_figures.check_repetition(trace, rows)
        found = said_json("routing", "tokens", made.folder, "--show", "parts")
        token_groups.check_parts(trace, found)

    def test_agreement(self, traced: list[tuple[Made, Trace]]) -> None:
        (demo, one), (early, two) = traced
        rows = said_json("routing", "agree", demo.folder, early.folder)
        token_figures.check_agreement(one, two, rows)
        words = ["routing", "agree", demo.folder, early.folder]
        tables.check_rest(words, rows, tables.AGREEMENT, "projection")
