"""Reasoning is cut before anything is scored, whoever wrote it and however it is marked."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from medbench.models import Answer, Response
from medbench.scoring import promptcblue
from medbench.scoring.exams import read_answer, score_generated, score_rationale
from medbench.scoring.reasoning import closing_mark, is_open, parts, split
from tests.tasks.oracles import gold_text

TASKS = Path(__file__).resolve().parents[2] / "tasks"

# What opens and what closes a block; the draft inside names another option, and is many lines long.
MARKS = {
    "think": ("<think>\n", "\n</think>\n\n"),
    "thinking": ("<thinking>", "</thinking>\n"),
    "thought": ("<Thought>\n", "\n</Thought>\n"),
    "reasoning": ("<reasoning>", "</reasoning>\n"),
    "attributes": ('<think type="deep">', "</think>"),
    "spaces": ("< think >\n", "\n< /think >\n"),
    "seed": ("<seed:think>", "</seed:think>"),
    "kimi": ("◁think▷", "◁/think▷"),
    "medgemma": ("<unused94>thought\n", "<unused95>"),
    "openthinker": ("<|begin_of_thought|>\n\n", "\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n"),
    "command": ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    "magistral": ("[THINK]", "[/THINK]"),
    "budget forced": ("<|im_start|>think\n", "\n<|im_start|>answer\n"),
    "gpt-oss": (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    "gpt-oss, tokens skipped": ("analysisWe need it. ", "assistantfinal"),
    "HuatuoGPT-o1": ("## Thinking\n\n", "\n\n## Final Response\n\n"),
    "Chinese tags": ("<思考>\n", "\n</思考>\n"),
    "nested": ("<think>First <think>", "</think> and then</think>\n"),
    "doubled mark": ("<think>\n<think>\n", "\n</think>\n"),
    "two blocks": ("<think>Short.</think>\n<think>", "</think>\n"),
    "closed twice": ("<think>", "</think>\n</think>\n"),
    "opened by the prompt": ("", "\n</think>\n\n"),
    "mixed names": ("<thinking>", "</think>\n"),
}
EMPTY = ("<think>\n\n</think>\n\n", "<think></think>", "<think/>\n", "<|channel|>final<|message|>")
DRAFT = "The answer is A. 答案为A。不是。\n上述句子中的实体包含：\n疾病实体：肺炎\nAlso, 主诉：咳嗽。\nSo: 无"


def _generate_tasks() -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=[TASKS], include_defaults=False, metadata={"data_source": "samples"})
    loaded = {name: manager.load(name)["tasks"][name] for name in manager.all_subtasks}
    return {name: task for name, task in loaded.items() if task.OUTPUT_TYPE == "generate_until"}


@pytest.fixture(scope="module")
def tasks() -> dict[str, Any]:
    return _generate_tasks()


def test_every_generating_task_scores_alike_behind_reasoning(tasks: dict[str, Any]) -> None:
    assert len(tasks) >= 60
    assert {f"promptcblue_{name}" for name in ("chip_sts", "kuake_qic", "imcs_v2_mrg", "meddg")} <= set(tasks)
    for name, task in tasks.items():
        for number, doc in enumerate(list(task.eval_docs)[:3]):
            gold = doc["rationale"] if name.endswith("_rationale") else gold_text(doc)
            plain = task.process_results(doc, [gold])
            marks = list(MARKS.values())
            for opening, closing in marks[number::3] if number else marks:
                assert task.process_results(doc, [opening + DRAFT + closing + gold]) == plain, (name, opening)
            for empty in EMPTY:
                assert task.process_results(doc, [empty + gold]) == plain, (name, empty)


def test_no_task_credits_unfinished_reasoning(tasks: dict[str, Any]) -> None:
    for name, task in tasks.items():
        doc = task.eval_docs[0]
        gold = doc["rationale"] if name.endswith("_rationale") else gold_text(doc)
        for opening, closing in (MARKS["think"], MARKS["gpt-oss"], MARKS["kimi"], MARKS["HuatuoGPT-o1"]):
            for text in (opening + gold, opening + gold + closing, opening):
                for metric, value in task.process_results(doc, [text]).items():
                    if isinstance(value, float):
                        assert value == 0.0, (name, metric, text)
                    elif len(value) == 3:
                        assert value[0] == 0, (name, metric, text)
                    else:
                        assert value[1] == "", (name, metric, text)


@pytest.mark.parametrize("name", MARKS)
def test_marks(name: str) -> None:
    opening, closing = MARKS[name]
    found = split(f"{opening}The answer is A.{closing}The answer is C.")
    assert found.answer == "The answer is C."
    assert "The answer is A." in str(found.thinking)
    assert (found.unfinished, found.lost) == (False, False)


@pytest.mark.parametrize("name", [name for name in MARKS if name != "opened by the prompt"])
def test_unfinished_reasoning_is_never_read(name: str) -> None:
    opening, closing = MARKS[name]
    doc = {"letters": list("ABCD"), "options": list("wxyz"), "question": "", "answer": "B", "language": "en"}
    for text in (
        f"{opening}The answer is B. But wait, the potassium is low",
        f"{opening}Option A is digoxin. Option B is warfarin, which",
        f"{opening}我觉得答案是B。不过再想一下",
        f"{opening}B",
        opening,
        f"{opening}The answer is B.{closing}",
        f"{opening}The answer is B.{closing}\n\n",
    ):
        assert read_answer(doc, text) == ""
        assert score_generated(doc, [text]) == {
            "acc": 0.0, "extracted": 0.0, "truncated": 0.0
        }  # fmt: skip
        assert parts(text).lost


@pytest.mark.parametrize(
    "text",
    [
        "The answer is B.",
        "",
        "pO2 < 60 and pCO2 > 50",
        "Here is my thought process: it is B.",
        "I think the answer is B.",
        "analysis of the case: B",
        "Analysis: B",
        "【思考】本题考查…\n【答案】B",
        "<answer>B</answer>",
        "<b>B</b>",
        "I am thinking of <5 mg>",
        "## Analysis\nB",
        "[Reasoning] x\n[Answer] B",
        " B\n",
    ],
)
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert split(text) == (None, text, False, 0)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("C\n<think>Or is it B", "C\n"),
        ("<think>A</think>\nC\n<think>B</think>", "C\n"),
        ("<think>A</think>\nC</think>", "C"),
        ("<think>A</think> or B </think> C", "C"),
        ("<think>A <think>B</think> no close", ""),
        ("<think>A</think>\n<answer>\nC\n</answer>", "C"),
        (
            "<|channel|>commentary<|message|>B<|end|><|start|>assistant<|channel|>final<|message|>C<|return|>",
            "C",
        ),
        ("<|channel|>final<|message|>A<|end|><|channel|>final<|message|>C", "C"),
        ("<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>commentary<|message|>B", ""),
    ],
)
def test_what_stands_outside_is_the_answer(text: str, answer: str) -> None:
    assert split(text).answer == answer


def test_a_prompt_may_open_the_block() -> None:
    prompt = "<|im_start|>assistant\n<think>\n"
    assert is_open(prompt)
    assert not is_open("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert not is_open("What does <think> mean?")
    assert split("The answer is B. But", opened=True).lost
    assert split("<think>\nB</think>C", opened=True).answer == "C"
    given = Answer(text="The answer is B. But", first_pass="The answer is B. But", truncated=True)
    assert given.response().parts.thinking is None
    response = given.response(prompt)
    assert (str(response), response.raw, response.parts.lost) == ("", "The answer is B. But", True)


def test_a_model_may_have_marks_of_its_own() -> None:
    tags = [("<a>", "</a>")]
    assert split("<a>B</a>C", tags).answer == "C"
    assert split("<a>B</a>C").answer == "<a>B</a>C"
    assert split("<a>B", tags).lost
    assert closing_mark("<a>B", tags=tags) == "\n</a>\n\n"
    assert str(Answer(text="<a>B</a>C").response(tags=tags)) == "C"


@pytest.mark.parametrize("name", [name for name in MARKS if name != "opened by the prompt"])
def test_what_closes_a_block_closes_it(name: str) -> None:
    text = f"{MARKS[name][0]}The answer is A"
    mark = closing_mark(text)
    assert mark is not None
    for _ in range(2):  # a nested block needs one for each
        text += closing_mark(text) or ""
    assert split(f"{text}C")[1:3] == ("C", False)
    assert closing_mark("The answer is A") is None
    assert closing_mark(f"{text}C") is None


def test_a_response_is_its_answer_and_keeps_the_rest() -> None:
    raw = "<think>A</think>\nThe answer is C."
    response = Response(raw, truncated=True)
    assert response == "The answer is C."
    assert response.raw == response.first_pass == raw
    copy = pickle.loads(pickle.dumps(response))
    assert (copy, copy.raw, copy.parts, copy.truncated) == (response, raw, response.parts, True)
    assert parts(response) is response.parts


def test_a_second_pass_answers_for_reasoning_that_did_not_end() -> None:
    first = "<think>Perhaps A, perhaps"
    response = Response(f"{first}\nThe answer is C", first_pass=first, second_pass="C")
    assert response == "The answer is C"
    assert not response.parts.lost
    assert response.parts.thinking == "Perhaps A, perhaps"


def test_labels_and_texts_of_unanswered_rows() -> None:
    row = {"target": "是的", "answer_choices": ["是的", "不是"], "task_dataset": "CHIP-STS"}
    # Officially an empty answer is the first label; reasoning without an answer is none.
    assert promptcblue.score_chip_sts(row, [""]) == {"weighted_f1": ("是的", "是的")}
    assert promptcblue.score_chip_sts(row, ["<think>是的"]) == {"weighted_f1": ("是的", "")}
    report = {"target": "上述问诊对话的诊疗报告如下：\n既往史：无。", "answer_choices": []}
    assert set(promptcblue.score_imcs_v2_mrg(report, ["<think>既往史：无。"]).values()) == {0.0}
    doc = {"language": "zh", "rationale": "无。"}
    assert set(score_rationale(doc, ["<think>无。"]).values()) == {0.0}


@pytest.mark.parametrize(
    "unit", ["<think>", "</think>", "<think>a</think>", "<", "[THINK]", "◁think▷ ", "<a ", "analysis"]
)
def test_a_megabyte_is_cut(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    found = split(text)
    assert len(found.answer) + len(found.thinking or "") <= len(text)
