"""Few-shot prompts, permuted options and rotations through runs, recomputed from the sample documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import medbench.data
import medbench.demo
from medbench.api import Evaluation, evaluate_with_outcome
from medbench.models import MedbenchLM, load_model, load_tokenizer

SAMPLES = Path(medbench.data.__file__).parent / "samples"
CHECKPOINT = Path(medbench.demo.__file__).parent / "checkpoint"


def documents(dataset: str, split: str) -> list[dict[str, Any]]:
    lines = (SAMPLES / f"{dataset}.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["split"] == split]


def run(results: Path, task: str, **options: Any) -> Evaluation:
    settings: dict[str, Any] = {"report": False, "quiet": True, "chat_template": False}
    return evaluate_with_outcome(tasks=[task], results=results, **(settings | options))


def samples(outcome: Evaluation) -> pd.DataFrame:
    return pd.read_parquet(outcome.directory / "samples.parquet").sort_values("doc_id")


def score(outcome: Evaluation, metric: str) -> pd.Series:
    scores = outcome.runs.scores()
    return scores[scores["metric"] == metric].iloc[0]


def letters_prompt(document: dict[str, Any], options: list[str], start: str = "Question: ") -> str:
    lines = [f"{letter}. {option}" for letter, option in zip(document["letters"], options, strict=True)]
    return "\n".join([start + document["question"], *lines, "Answer:"])


def mmlu_prompt(document: dict[str, Any]) -> str:
    return letters_prompt(document, document["options"], start="")


@pytest.mark.parametrize("shots", [1, 2])
def test_examples_stand_before_the_question_with_their_answers(tmp_path: Path, shots: int) -> None:
    outcome = run(tmp_path, "mmlu_medical_anatomy", num_fewshot=shots, limit=2)
    examples = documents("mmlu_anatomy", "dev")[:shots]
    before = "The following are multiple choice questions (with answers) about anatomy.\n\n"
    before += "".join(f"{mmlu_prompt(example)} {example['answer']}\n\n" for example in examples)
    asked = documents("mmlu_anatomy", "test")[:2]
    table = samples(outcome)
    assert list(table["prompt"]) == [before + mmlu_prompt(document) for document in asked]
    assert list(table["target"]) == [d["answer"] for d in asked]
    assert score(outcome, "acc")["num_fewshot"] == shots
    # What the model says of these very prompts, by a forward over each as a whole.
    model, tokenizer = load_model(CHECKPOINT), load_tokenizer(CHECKPOINT)
    right = []
    for document, prompt, found in zip(asked, table["prompt"], table["choice_logprobs"], strict=True):
        start = tokenizer(prompt)["input_ids"]
        said = []
        for letter in document["letters"]:
            whole = tokenizer(f"{prompt} {letter}")["input_ids"]
            with torch.no_grad():
                logprobs = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
            said.append(sum(float(logprobs[i - 1, whole[i]]) for i in range(len(start), len(whole))))
        assert list(found) == pytest.approx(said, abs=1e-3)
        right.append(document["letters"][said.index(max(said))] == document["answer"])
    assert score(outcome, "acc")["value"] == sum(right) / 2


def test_examples_go_with_the_chat_template_as_turns_of_their_own(tmp_path: Path) -> None:
    outcome = run(tmp_path, "mmlu_medical_anatomy", num_fewshot=1, limit=1, chat_template=True)
    [prompt] = samples(outcome)["prompt"]
    [example], [asked] = (documents("mmlu_anatomy", split)[:1] for split in ("dev", "test"))
    turns = prompt.split("<|im_start|>")[-4:]
    assert turns[0].startswith("user\n" + mmlu_prompt(example))
    assert turns[1].split("<|im_end|>")[0].removeprefix("assistant\n").strip() == example["answer"]
    assert turns[2].startswith("user\n" + mmlu_prompt(asked))
    assert turns[3].strip() == "assistant"


def test_examples_drawn_at_random_follow_the_seed_and_are_no_test_documents(tmp_path: Path) -> None:
    def examples(seed: int) -> list[str]:
        table = samples(run(tmp_path, "pubmedqa", num_fewshot=1, seed=seed))
        return [prompt.split("\n\nAbstract: ")[0] for prompt in table["prompt"]]

    dev = {
        f"Abstract: {d['context']}\nQuestion: {d['question']}\nAnswer: "
        f"{d['options'][d['letters'].index(d['answer'])]}"
        for d in documents("pubmedqa", "dev")
    }
    first = examples(1)
    assert set(first) <= dev
    assert len({tuple(examples(seed)) for seed in (1, 2, 3, 4)}) > 1
    assert examples(1) == first


def test_shuffled_options_keep_their_gold_and_differ_by_seed(tmp_path: Path) -> None:
    asked = documents("medqa_us", "test")[:6]
    orders = []
    for seed in (7, 8):
        outcome = run(tmp_path, "medqa_us", shuffle_options=seed, limit=6)
        table = samples(outcome)
        right, order = [], []
        for document, prompt, target, logprobs in zip(
            asked, table["prompt"], table["target"], table["choice_logprobs"], strict=True
        ):
            shown = [line.partition(". ")[2] for line in prompt.splitlines()[1:-1]]
            assert sorted(shown) == sorted(document["options"])
            assert prompt == letters_prompt(document, shown)
            gold = document["options"][document["letters"].index(document["answer"])]
            assert shown[document["letters"].index(target)] == gold
            right.append(document["letters"][max(range(4), key=lambda i: logprobs[i])] == target)
            order.append(tuple(shown))
        assert score(outcome, "acc")["value"] == sum(right) / 6
        orders.append(order)
    plain = [tuple(document["options"]) for document in asked]
    assert orders[0] != plain
    assert orders[0] != orders[1]


# Right in which rotations, by question: all, the first alone, none, all but the last, all but the second.
SCRIPT = [{0, 1, 2, 3}, {0}, set[int](), {0, 1, 2}, {0, 2, 3}, {0, 1, 2, 3}]


def test_a_question_is_right_under_circular_evaluation_only_in_all_rotations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = documents("medqa_us", "test")[:6]
    place = {document["id"]: number for number, document in enumerate(asked)}

    def scripted(self: MedbenchLM, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        found = []
        for request in requests:
            question, _, rotation = request.doc["id"].rpartition("@")
            knows = int(rotation) in SCRIPT[place[question]]
            is_gold = request.args[1].strip() == request.doc["answer"]
            found.append((-0.5 if is_gold is knows else -2.0, False))
        return found

    monkeypatch.setattr(MedbenchLM, "loglikelihood", scripted)
    outcome = run(tmp_path, "medqa_us", circular=True, limit=6)
    table = samples(outcome)
    prompts = [
        letters_prompt(d, d["options"][turn:] + d["options"][:turn]) for d in asked for turn in range(4)
    ]
    assert list(table["prompt"]) == prompts
    assert list(table["document"]) == [f"{d['id']}@{turn}" for d in asked for turn in range(4)]
    assert list(table["cluster"]) == [d["id"] for d in asked for _ in range(4)]
    for document, target in zip([d for d in asked for _ in range(4)], table["target"], strict=True):
        assert target in document["letters"]
    assert score(outcome, "acc")["value"] == sum(map(len, SCRIPT)) / 24
    circular = score(outcome, "acc_circular")
    assert (circular["value"], circular["n"]) == (2 / 6, 6)
    assert circular["low"] < 2 / 6 < circular["high"]
