"""The authors' two passes through the adapter: second prompts and scored texts byte for byte."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance

from medbench.errors import ModelError
from medbench.models import MedbenchLM, Response
from medbench.models.engines.engine import Engine
from medbench.models.engines.native.generation_rows import Generation
from medbench.models.harness.generation_settings import GenerationSettings
from tests.models.made_engines import tiny_model, tiny_tokenizer

_TOKENIZER = tiny_tokenizer()
_PHRASES = {"en": "\nThe answer is ", "zh": "\n答案为"}
_PROMPTS = {
    "en": "Which organism?\nA. E. coli\nD. yeast\n\nPlease end with: The answer is {answer}.",
    "zh": "哪项正确？\nA. 甲\nD. 丁\n\n请在回答的最后用以下格式回答：答案为{answer}。",
}


class _Script:
    """Stands in for the engine: continues each prompt as written, and keeps what it was asked."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str | None, int]] = []

    def __call__(self, _: Engine, prompts: Sequence[list[int]], **options: Any) -> None:
        done = []
        for number, prompt in enumerate(prompts):
            text = str(_TOKENIZER.decode(prompt))
            allowed = options["allowed_token_ids"][number]
            letters = None if allowed is None else "".join(map(str, map(_TOKENIZER.decode, allowed)))
            self.asked.append((text, letters, options["max_new_tokens"][number]))
            tokens = _TOKENIZER.encode(self.answers[text], add_special_tokens=False)
            done.append(Generation([*tokens, _TOKENIZER.eos_token_id], "eos"))
        options["on_batch"](list(range(len(prompts))), done)


def _respond(
    monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, str], prompt: str, second_pass: Mapping[str, Any]
) -> tuple[Response, list[tuple[str, str | None, int]]]:
    script = _Script(answers)
    monkeypatch.setattr(
        Engine, "generate", lambda engine, prompts, **options: script(engine, prompts, **options)
    )
    lm = MedbenchLM(model=tiny_model(vocabulary=len(_TOKENIZER)), tokenizer=_TOKENIZER, max_length=100_000)
    settings = {"until": ["<|im_end|>"], "max_gen_toks": 1024, "second_pass": second_pass}
    (response,) = lm.generate_until([Instance("generate_until", {}, (prompt, settings), 0, ("t", 0, 1))])
    assert isinstance(response, Response)
    return response, script.asked


def _second_pass(language: str, letters: bool) -> dict[str, Any]:
    """As the shipped templates say it."""
    choice = {"letters_of": "prompt", "max_gen_toks": 1} if letters else {"max_gen_toks": 50}
    return {"when": "always", "join": "sentence", "suffix": _PHRASES[language], **choice}


def test_every_golden_transcript_is_met(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shared / "golden" / "protocols" / "two_pass.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    # One by one, the first pass is stripped, and of a batch the first prompt picks the letters: not ours.
    kept = [
        row
        for row in rows
        if row["second_pass"] is not None
        and not any(kind in row["repository"] for kind in ("one by one", "second of its batch"))
    ]
    assert len(kept) > 130
    for row in kept:
        # The tokenizer of this test writes no special tokens but its own.
        prompt, first = row["first_prompt"], row["first_pass"]
        second_prompt = f"{prompt}{first}{row['second_prompt_suffix']}"
        response, asked = _respond(
            monkeypatch,
            {prompt: first, second_prompt: row["second_pass"]},
            prompt,
            _second_pass(row["lang"], row["letters"] is not None),
        )
        assert asked[1] == (second_prompt, row["letters"], row["max_new_tokens"]), row
        assert response.raw == str(response) == row["final_text_given_second_pass"], row


@pytest.mark.parametrize(
    ("language", "first", "between", "letters"),
    [
        ("en", "It is A.", " \nThe answer is ", "ABCDE"),
        ("en", "It is A", ". \nThe answer is ", "ABCDE"),
        ("en", "The answer is B.\n", " \nThe answer is ", "ABCDE"),
        ("zh", "答案为B。", ". \n答案为", "ABCD"),
        ("zh", "", ". \n答案为", "ABCD"),
        ("zh", "一\n\n\n二", ". \n答案为", "ABCD"),
    ],
)
def test_the_second_pass_always_runs_behind_the_joiner(
    monkeypatch: pytest.MonkeyPatch, language: str, first: str, between: str, letters: str
) -> None:
    prompt = _PROMPTS[language]
    answers = {prompt: first, prompt + first + between: "C"}
    response, asked = _respond(monkeypatch, answers, prompt, _second_pass(language, letters=True))
    assert asked[1] == (prompt + first + between, letters, 1)
    assert (response.first_pass, response.second_pass) == (first, "C")
    assert str(response) == f"{first}{between}C"


def test_a_free_second_pass_has_room_for_fifty_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = _PROMPTS["zh"]
    answers = {prompt: "甲和丁都对", f"{prompt}甲和丁都对. \n答案为": "AD。"}
    response, asked = _respond(monkeypatch, answers, prompt, _second_pass("zh", letters=False))
    assert asked[1][1:] == (None, 50)
    assert str(response) == "甲和丁都对. \n答案为AD。"


@pytest.mark.parametrize(
    "second_pass",
    [
        {"suffix": "x", "join": "comma"},
        {"suffix": "x", "letters_of": "document"},
        {"suffix": "x", "letters_of": "prompt", "letters": "letters"},
    ],
)
def test_unknown_ways_are_refused(second_pass: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="second_pass"):
        GenerationSettings.parse({"second_pass": second_pass}, max_gen_toks=8, where="t")
