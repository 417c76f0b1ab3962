"""Whatever can change a score makes a run of its own, with the right score; what cannot, does not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import medbench.demo
from medbench.api import Evaluation, evaluate_with_outcome
from medbench.catalog.models import ModelDefinition
from medbench.common.files import sha256_of
from medbench.models.checkpoints import chat
from medbench.runs import plan
from medbench.runs.plan import RunPlan, code_digest, make_plan, scoring_sources
from medbench.runs.settings import RunSettings

CHECKPOINT = Path(medbench.demo.__file__).parent / "checkpoint"
ROWS = [{"question": f"Which letter is number {i}?", "answer": "ABCD"[i % 4]} for i in range(6)]
TASK = """task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}\\nAnswer:"
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: answer
metric_list: [{metric: acc}]
metadata: {version: 1.0}
"""


class Setting:
    """A task of the user's on documents of the user's, and the command that runs it."""

    def __init__(self, folder: Path) -> None:
        self.tasks, self.data, self.results = folder / "tasks", folder / "test.jsonl", folder / "results"
        self.tasks.mkdir()
        self.yaml = self.tasks / "mine.yaml"
        self.yaml.write_text(TASK.replace("DATA", str(self.data)), encoding="utf-8")
        self.gold("ABCDAB")

    def gold(self, letters: str) -> None:
        rows = [row | {"answer": letter} for row, letter in zip(ROWS, letters, strict=True)]
        self.data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def run(self, **options: Any) -> Evaluation:
        settings: dict[str, Any] = {"model": "demo", "report": False, "quiet": True, "allow_code": True}
        return evaluate_with_outcome(
            tasks=["mine"], task_folders=[self.tasks], results=self.results, **(settings | options)
        )


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def accuracy(outcome: Evaluation) -> float:
    scores = outcome.runs.scores()
    return float(scores.loc[scores["metric"] == "acc", "value"].iloc[0])


def chosen(outcome: Evaluation) -> list[str]:
    return list(pd.read_parquet(outcome.directory / "samples.parquet").sort_values("doc_id")["answer"])


def test_edited_data_are_scored_and_touched_ones_are_not(setting: Setting) -> None:
    first = setting.run()
    letters = chosen(first)
    assert accuracy(first) == sum(a == b for a, b in zip(letters, "ABCDAB", strict=True)) / 6
    os.utime(setting.data)
    again = setting.run()
    assert again.reused
    assert again.directory == first.directory
    setting.gold("".join(letters))
    right = setting.run()
    assert not right.reused
    assert right.directory != first.directory
    assert accuracy(right) == 1.0
    status = setting.data.stat()
    setting.gold("".join("ABCD"["ABCD".index(letter) - 1] for letter in letters))
    os.utime(setting.data, ns=(status.st_atime_ns, status.st_mtime_ns))  # as an archive may
    wrong = setting.run()
    assert not wrong.reused
    assert accuracy(wrong) == 0.0
    assert setting.run(rescore=True).directory != wrong.directory


def test_rescoring_fewer_documents_leaves_their_routing_out(setting: Setting) -> None:
    """The stored counts are of all documents then asked."""
    first = setting.run()
    assert (first.directory / "routing.parquet").exists()
    whole = setting.run(rescore=True)
    assert pd.read_parquet(whole.directory / "routing.parquet").equals(
        pd.read_parquet(first.directory / "routing.parquet")
    )
    lines = setting.data.read_text(encoding="utf-8").splitlines(keepends=True)
    setting.data.write_text("".join(lines[:4]), encoding="utf-8")
    fewer = setting.run(rescore=True)
    assert len(chosen(fewer)) == 4
    assert not (fewer.directory / "routing.parquet").exists()
    assert [text for text in fewer.warnings if "routing is left out" in text]


# Python of a task whose rule lies in a helper module or a file: how the rule is written, and own.py.
SCORE = "def score(doc, results):\n    return {'acc': float(rule(doc, results))}\n"
CODE = {
    "a helper that is imported": (
        "helper.py",
        "def rule(doc, results):\n    return VALUE\n",
        "from helper import rule\n",
    ),
    "a file beside": (
        "rule.txt",
        "VALUE",
        "from pathlib import Path\n"
        "def rule(doc, results):\n    return Path(__file__).with_name('rule.txt').read_text()\n",
    ),
    "a file with a computed name": (
        "sub/rule.txt",
        "VALUE",
        "import os\nNAME = ''.join(['ru', 'le'])\n"
        "def rule(doc, results):\n    here = os.path.dirname(__file__)\n"
        "    return [open(os.path.join(at, f)).read() for at, _, fs in os.walk(here) for f in fs "
        "if f.startswith(NAME)][0]\n",
    ),
}


@pytest.mark.parametrize("case", CODE)
def test_an_edited_rule_is_applied_within_one_process(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    name, text, head = CODE[case]
    monkeypatch.syspath_prepend(str(setting.tasks))
    file = setting.tasks / name
    file.parent.mkdir(exist_ok=True)
    (setting.tasks / "own.py").write_text(head + SCORE, encoding="utf-8")
    with setting.yaml.open("a", encoding="utf-8") as lines:
        lines.write("process_results: !function own.score\n")
    found: list[Evaluation] = []
    for value in ("1.0", "0.25", "1.0"):
        file.write_text(text.replace("VALUE", value), encoding="utf-8")
        os.utime(file, ns=(10**18 + len(found) * 10**10,) * 2)  # Python knows modules by the second
        found.append(setting.run())
    assert [accuracy(outcome) for outcome in found] == [1.0, 0.25, 1.0]
    assert [outcome.reused for outcome in found] == [False, False, True]


def test_documents_that_a_helper_processed_are_processed_anew(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`datasets` caches what a mapped function gave, and looks at that function alone."""
    monkeypatch.syspath_prepend(str(setting.tasks))
    (setting.tasks / "own.py").write_text(
        "import helper_of_map\n"
        "def one(row):\n    return row | {'answer': helper_of_map.gold(row)}\n"
        "def process(dataset):\n    return dataset.map(one)\n",
        encoding="utf-8",
    )
    with setting.yaml.open("a", encoding="utf-8") as lines:
        lines.write("process_docs: !function own.process\n")
    targets = []
    for number, letter in enumerate("AB"):
        helper = setting.tasks / "helper_of_map.py"
        helper.write_text(f"def gold(row):\n    return {letter!r}\n", encoding="utf-8")
        os.utime(helper, ns=(10**18 + number * 10**10,) * 2)
        table = pd.read_parquet(setting.run().directory / "samples.parquet")
        targets.append(set(table["target"]))
    assert targets == [{"A"}, {"B"}]


def test_an_edited_template_makes_a_run(setting: Setting) -> None:
    template = setting.tasks / "_base"
    setting.yaml.rename(template)
    text = template.read_text(encoding="utf-8").replace("task: mine\n", "")
    template.write_text(text, encoding="utf-8")
    setting.yaml.write_text("include: _base\ntask: mine\n", encoding="utf-8")
    first = setting.run()
    template.write_text(text.replace("Answer:", "Reply:"), encoding="utf-8")
    second = setting.run()
    assert second.directory != first.directory
    assert pd.read_parquet(second.directory / "samples.parquet")["prompt"].str.contains("Reply:").all()


def the_plan(**changes: Any) -> RunPlan:
    definition = ModelDefinition(model="m", path=str(CHECKPOINT), device="cpu", dtype="float32")
    settings = RunSettings(**changes.pop("settings", {}))
    return make_plan(
        replace(definition, **changes), ["pubmedqa", "medqa_us"], task_folders=[], settings=settings
    )


MATTERS: dict[str, dict[str, Any]] = {
    "system prompt of the definition": {"system_prompt": "Be brief."},
    "another one": {"system_prompt": "Be brief!"},
    "system prompt of the run": {"settings": {"system_prompt": "Be long."}},
    "no chat template": {"chat_template": False},
    "number format": {"dtype": "bfloat16"},
    "quantization": {"quantization": "int8"},
    "deterministic": {"deterministic": True},
    "limit": {"settings": {"limit": 3}},
    "few-shot": {"settings": {"num_fewshot": 2}},
    "seed": {"settings": {"seed": 5}},
    "shuffled": {"settings": {"shuffle_options": 5}},
    "circular": {"settings": {"circular": True}},
    "routing": {"settings": {"routing": "off"}},
}
NO_MATTER: dict[str, dict[str, Any]] = {
    "description": {"description": "Another."},
    "batches": {"settings": {"max_batch_tokens": 512}},
    "engine": {"engine": {"max_batch_tokens": 512}},
    "source": {"settings": {"data_source": "samples"}},
}


def test_settings_that_matter_make_plans_of_their_own() -> None:
    hashes = {name: the_plan(**changes).plan_hash for name, changes in MATTERS.items()}
    hashes["as it is"] = the_plan().plan_hash
    assert len(set(hashes.values())) == len(hashes)
    for name, changes in NO_MATTER.items():
        assert the_plan(**changes).plan_hash == hashes["as it is"], name


def test_a_system_prompt_of_the_models_definition_makes_a_run(tmp_path: Path) -> None:
    definition = {"model": "mine", "path": str(CHECKPOINT), "system_prompt": "Be brief."}
    prompts = []
    for text in ("Be brief.", "Answer like a physician."):
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(definition | {"system_prompt": text, "chat_template": True}), "utf-8")
        outcome = evaluate_with_outcome(
            model=str(path), tasks=["pubmedqa"], limit=1, results=tmp_path / "r", report=False, quiet=True
        )
        assert not outcome.reused
        prompts.append(pd.read_parquet(outcome.directory / "samples.parquet")["prompt"].iloc[0])
    assert "Be brief." in prompts[0]
    assert "Answer like a physician." in prompts[1]


def test_a_changed_group_or_reading_of_the_data_makes_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    before = the_plan()
    known = plan._reading
    monkeypatch.setattr(plan, "_reading", lambda entry: known(entry) | {"subject": "another"})
    assert the_plan().plan_hash != before.plan_hash
    group = plan_with_group()
    other = replace(group, groups=tuple(replace(g, macro=not g.macro) for g in group.groups))
    assert group.groups
    assert other.plan_hash != group.plan_hash


def plan_with_group() -> RunPlan:
    definition = ModelDefinition(model="m", path=str(CHECKPOINT), device="cpu", dtype="float32")
    return make_plan(definition, ["mmlu_health"], task_folders=[], settings=RunSettings())


def test_medbenchs_own_sources_that_score_are_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {path.relative_to(plan._PACKAGE).as_posix() for path in scoring_sources()}
    assert {
        "scoring/exams.py",
        "scoring/extraction/answer.py",
        "data/loading.py",
        "models/engines/engine.py",
        "models/checkpoints/chat.py",
        "runs/scores.py",
        "runs/harness.py",
        "runs/execution.py",
        "statistics/intervals.py",
    } <= names
    assert not {name for name in names if name.startswith(("reports/", "cli/", "analysis/"))}
    assert plan._WITHOUT_EFFECT.isdisjoint(names)
    assert all((plan._PACKAGE / name).is_file() for name in plan._WITHOUT_EFFECT)
    before, known = the_plan().plan_hash, sha256_of

    def edited(path: Path) -> str:
        return "edited" if path.name == "answer.py" else known(path)

    monkeypatch.setattr(plan, "sha256_of", edited)
    code_digest.cache_clear()
    try:
        assert the_plan().plan_hash != before
    finally:
        code_digest.cache_clear()


CLOCK = "{{ strftime_now('%d %b %Y') }}\n{% for m in messages %}{{ m['content'] }}\n{% endfor %}A:"


@pytest.fixture
def dated(tmp_path: Path) -> Path:
    """A checkpoint whose chat template says the date."""
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(CHECKPOINT, checkpoint)
    (checkpoint / "chat_template.jinja").write_text(CLOCK, encoding="utf-8")
    return checkpoint


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int, int], None]:
    """Sets the date that plans are made on."""

    def choose(year: int, month: int, day: int) -> None:
        class Then(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Then:
                return cls(year, month, day, 12)

        monkeypatch.setattr(plan, "datetime", Then)

    return choose


def test_the_date_that_a_chat_template_says_is_part_of_it(
    tmp_path: Path, dated: Path, today: Callable[[int, int, int], None]
) -> None:
    def run(**options: Any) -> Evaluation:
        return evaluate_with_outcome(
            model=str(dated),
            tasks=["pubmedqa"],
            limit=2,
            results=tmp_path / "r",
            report=False,
            quiet=True,
            **({"chat_template": True} | options),
        )

    def dates(outcome: Evaluation) -> set[str]:
        return set(pd.read_parquet(outcome.directory / "samples.parquet")["prompt"].str[:11])

    today(2031, 5, 6)
    first = run()
    assert dates(first) == {"06 May 2031"}
    assert run().reused
    plain = run(chat_template=False)
    today(2031, 5, 7)
    second = run()
    assert not second.reused
    assert dates(second) == {"07 May 2031"}
    assert run(chat_template=False).directory == plain.directory
    rescored = run(rescore=True)  # asks as the run did whose answers it scores
    assert dates(rescored) == {"07 May 2031"}
    today(2031, 5, 8)
    assert dates(run(rescore=True)) == {"07 May 2031"}
    manifest = json.loads((first.directory / "run.json").read_text(encoding="utf-8"))
    assert manifest["clock"] == {"%d %b %Y": "06 May 2031"}


@pytest.mark.parametrize(
    ("template", "formats"),
    [
        ("{{ strftime_now('%d %b %Y') }}", ["%d %b %Y"]),
        ('{{strftime_now ( "%Y" )}}{{ strftime_now("%H:%M") }}', ["%H:%M", "%Y"]),
        ("{% set f = '%Y' %}{{ strftime_now(f) }}", ["%Y-%m-%d"]),
        ("{% if strftime_now is defined %}{{ strftime_now('%B') }}{% endif %}", ["%B", "%Y-%m-%d"]),
        ("{{ messages }}", []),
        ("", []),
    ],
)
def test_formats_of_the_clock_are_read_off_the_template(template: str, formats: list[str]) -> None:
    assert chat.clock_formats(template) == formats
