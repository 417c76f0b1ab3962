"""The authors' protocols as tasks: prompts, passes, rules, and the documents behind published tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from medbench.catalog import resolve_tasks
from medbench.scoring.authors import exams, rules
from tests.tasks.oracles import OracleLM, evaluate

TASKS = Path(__file__).resolve().parents[2] / "tasks"
SUFFIXES = {
    "zh": "\n\n请在回答的最后用以下格式回答：答案为{answer}。",
    "en": "\n\nPlease format the final answer at the end of the response as: The answer is {answer}.",
}
PHRASES = {"zh": "\n答案为", "en": "\nThe answer is "}
FREE = {"cmexam_medcare", "ple_pharmacy_medcare", "ple_tcm_medcare"}
# Documents of the sets behind MedCare's tables (arXiv 2406.17484).
PUBLISHED = {
    "medcare_medqa_us": 1_273,
    "medcare_medqa_mainland": 3_426,
    "medcare_mmedbench_zh": 3_426,
    "medcare_medmcqa": 4_183,
    "medcare_mmlu": 1_561,
    "medcare_cmmlu": 1_354,
    "medcare_ceval": 41,
    "medcare_cmb": 11_200,
    "medcare_cmexam": 6_811,
    "medcare_ple_pharmacy": 480,
    "medcare_ple_tcm": 480,
}
# What the pinned files hold of them.
PINNED = {"medcare_mmedbench_zh": 685, "medcare_cmb": 2_000, "medcare_cmexam": 6_807}


def _names(kind: str) -> list[str]:
    names = []
    for path in sorted(TASKS.glob(f"*/*_{kind}.yaml")):
        found = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("task: ")]
        names += [line.removeprefix("task: ") for line in found]
    return names


MING, MEDCARE = _names("ming"), _names("medcare")
AUTHORS = (*MING, *MEDCARE)
AUTHORS_GROUPS = (
    *("mmlu_medical_ming", "cmmlu_medical_ming", "ceval_medical_ming", "ming_moe_ming"),
    *("medcare", *PUBLISHED),
)


@pytest.fixture(scope="module")
def loaded() -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=[TASKS], include_defaults=False, metadata={"data_source": "samples"})
    return {name: manager.load([name])["tasks"][name] for name in (*MING, *MEDCARE)}


def test_there_are_as_many_as_there_are_exams() -> None:
    # Agronomy belongs to a published set only, and MING's scorer has no key for MedQA of Mainland China.
    assert len(MING) == 28
    assert {name.removesuffix("_medcare") for name in MEDCARE} - {
        name.removesuffix("_ming") for name in MING
    } == {"cmmlu_medical_agronomy", "medqa_mainland"}


@pytest.mark.parametrize("name", [*MING, *MEDCARE])
def test_the_prompt_and_the_passes(loaded: dict[str, Any], name: str) -> None:
    task = loaded[name]
    doc = next(iter(task.eval_docs))
    language = task.config.metadata["language"]
    options = "".join(
        f"\n{letter}. {text}" for letter, text in zip(doc["letters"], doc["options"], strict=True)
    )
    assert task.doc_to_text(doc) == f"{doc['question']}{options}{SUFFIXES[language]}"
    settings = task.config.generation_kwargs
    assert (settings["max_gen_toks"], settings["do_sample"], settings["until"]) == (
        1024,
        False,
        ["<|im_end|>"],
    )
    if name in MING:
        assert "second_pass" not in settings
        return
    second: dict[str, Any] = {"when": "always", "join": "sentence", "suffix": PHRASES[language]}
    second |= {"max_gen_toks": 50} if name in FREE else {"letters_of": "prompt", "max_gen_toks": 1}
    assert settings["second_pass"] == second


@pytest.mark.parametrize("name", [*MING, *MEDCARE])
def test_no_document_is_left_out(loaded: dict[str, Any], name: str) -> None:
    """The scripts score the whole file, questions with several answers as well."""
    task = loaded[name]
    assert len(task.eval_docs) == len(task.dataset["test"])


RULES = {
    "mmlu": (rules.english_dot, rules.english_bare),
    "medqa_us": (rules.english_dot, rules.english_bare),
    "medmcqa": (rules.english_dot, rules.english_bare),
    "mmedbench_en": (rules.mmedbench_english, rules.mmedbench_english),
    "mmedbench_zh": (rules.mmedbench_chinese, rules.chinese_cut),
    "medqa_mainland": (None, rules.chinese_cut),
}
TEXTS = [
    *("The answer is B.", "The answer is B", "the answer is B.", "The answer is A.B.", "Answer: B"),
    *("答案为B", "答案为AB", "答案为B\n\n\n答案为C", "B错，为本题正确答案", "B对", "答案为A.B."),
]


@pytest.mark.parametrize("name", [*MING, *MEDCARE])
def test_each_dataset_is_judged_by_its_own_rule(loaded: dict[str, Any], name: str) -> None:
    task = loaded[name]
    base = next((key for key in RULES if name.startswith(key)), None)
    may, medcare = RULES[base] if base else (rules.chinese, rules.chinese_cut)
    april = rules.chinese_april if may is rules.chinese else may
    doc = dict(next(iter(task.eval_docs))) | {"answer": "B"}
    for text in TEXTS:
        scores = task.process_results(doc, [text])
        if name in MING:
            assert (scores["acc_ming"], scores["acc_ming_april"]) == (may(text, "B"), april(text, "B"))  # type: ignore[misc]
        else:
            assert scores["acc_medcare"] == medcare(text, "B")
        assert {"acc", "extracted", "truncated"} < set(scores)


def test_one_pass_is_judged_without_its_margin() -> None:
    doc = {"letters": list("ABCD"), "options": list("wxyz"), "question": "", "answer": "B", "language": "en"}
    score = exams.ming_medqa
    assert score(doc, ["The answer is B.\n\n"])["acc_ming"] == 1.0
    assert score(doc, [" The answer is B.<|im_end|>\n"])["acc_ming"] == 1.0
    # Two passes are judged as they are.
    assert exams.medcare_medqa(doc, ["The answer is B\n\n"])["acc_medcare"] == 0.0


def test_reasoning_is_cut_before_the_rules_read() -> None:
    doc = {"letters": list("ABCD"), "options": list("wxyz"), "question": "", "answer": "B", "language": "en"}
    for score, metric in ((exams.ming_medqa, "acc_ming"), (exams.medcare_medqa, "acc_medcare")):
        assert score(doc, ["<think>\nThe answer is C.\n</think>\n\nThe answer is B."])[metric] == 1.0
        assert score(doc, ["<think>\nThe answer is B."])[metric] == 0.0


def test_gold_answers_reach_the_maximum(loaded: dict[str, Any]) -> None:
    from lm_eval.tasks import TaskManager

    def answer(doc: Any) -> str:
        if doc["language"] == "zh":
            return f"答案为{doc['answer']}"
        return "The answer is " + "".join(f"{letter}." for letter in doc["answer"])

    manager = TaskManager(include_path=[TASKS], include_defaults=False, metadata={"data_source": "samples"})
    results = evaluate(OracleLM(answer, lambda *_: 0.0), [*MING, *MEDCARE], manager)["results"]
    for name in (*MING, *MEDCARE):
        scores = results[name]
        for metric in ("acc_ming", "acc_ming_april") if name in MING else ("acc_medcare",):
            assert scores[f"{metric},none"] == 1.0, (name, metric)
        assert scores["acc,none"] == scores["extracted,none"] == 1.0, name


def test_the_published_document_sets() -> None:
    register = yaml.safe_load((TASKS.parent / "medbench/data/sources.yaml").read_text(encoding="utf-8"))
    benchmarks = register["benchmarks"].values()
    counts = {name: facts.get("n") for entry in benchmarks for name, facts in entry["datasets"].items()}
    groups = {group.name: group for group in resolve_tasks(["medcare"]).groups}
    datasets = {task.name: task.dataset for task in resolve_tasks(["medcare"]).tasks}
    assert set(groups) == {"medcare", *PUBLISHED}
    for name, published in PUBLISHED.items():
        assert not groups[name].macro, name
        held = [counts[str(datasets[member])] for member in groups[name].members]
        if None not in held:
            assert sum(held) == PINNED.get(name, published), name
