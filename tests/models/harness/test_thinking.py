"""Reasoning models are told to reason or not, stopped behind it, and asked when it ran out of room."""

# Templates are read more easily unbroken.
# ruff: noqa: E501

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from lm_eval.api.instance import Instance
from transformers import PreTrainedTokenizerFast

from medbench.errors import ModelError
from medbench.models import Answer, MemoryStore, Response
from medbench.models.checkpoints.chat import Thinking, render_chat, switches, switches_thinking
from medbench.models.engines.engine import Engine
from medbench.models.engines.native.generation_rows import Generation, GenerationRequest, Row, StopStrings
from medbench.models.harness.answers import first_pass_key, request_keys
from medbench.models.harness.encoding import Encoder
from medbench.models.harness.generating import Generator
from medbench.models.harness.generation_settings import GenerationSettings
from medbench.models.harness.stored import StoredLM
from tests.models.made_engines import tiny_tokenizer

_CHAT = [{"role": "user", "content": "?"}]
_DOC = {
    "letters": list("ABCD"),
    "options": ["Ampicillin", "Ceftriaxone", "Doxycycline", "Nitrofurantoin"],
    "question": "Which drug?",
    "answer": "C",
    "language": "en",
}
_TURN = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>"

TEMPLATES = {
    "enable_thinking": _TURN
    + "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
    "thinking": _TURN + "{% if thinking %}<think>{% else %}</think>{% endif %}{% endif %}",
    "reasoning": _TURN
    + "{% if reasoning is not defined or reasoning %}<r>{% else %}<n>{% endif %}{% endif %}",
    "thinking_budget": _TURN + "{%- if thinking_budget == 0 %}<none>{% endif %}{% endif %}",
}


def _tokenizer(template: str | None = None, special: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    tokenizer = copy.deepcopy(tiny_tokenizer())
    if template is not None:
        tokenizer.chat_template = template
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


class _Scripted:
    """An engine that writes what a script says, until its rows end as the real engine's do."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, script: Callable[[str], str]) -> None:
        self.model = SimpleNamespace(generation_config=None)
        self.decoding = SimpleNamespace(left_to_tasks={})
        self.prompts: list[str] = []
        self._tokenizer = tokenizer
        self._script = script

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: Sequence[int],
        eos_token_ids: Sequence[Sequence[int]],
        stop: Sequence[Sequence[str]],
        allowed_token_ids: Sequence[Sequence[int] | None],
        stops_count: Sequence[Callable[[str], bool]],
        on_batch: Callable[[Sequence[int], Sequence[Generation]], None],
        **_: Any,
    ) -> None:
        for index, prompt in enumerate(prompts):
            asked = str(self._tokenizer.decode(list(prompt)))
            self.prompts.append(asked)
            stops = StopStrings(self._tokenizer, stop[index], stops_count[index]) if stop[index] else None
            row = Row(
                index,
                GenerationRequest(
                    tuple(prompt), max_new_tokens[index], frozenset(eos_token_ids[index]), stops
                ),
            )
            tokens = [*self._tokenizer.encode(self._script(asked)), eos_token_ids[index][0]]
            allowed = allowed_token_ids[index]
            reason = None
            for token in tokens if allowed is None else [t for t in tokens if t in allowed]:
                row.new.append(token)
                reason = row.ends_with(token)
                if reason is not None:
                    break
            assert reason is not None
            on_batch([index], [Generation(row.new, reason)])


def _generate(
    script: Callable[[str], str],
    settings: dict[str, Any],
    *,
    prompt: str = "Which drug?",
    tokenizer: PreTrainedTokenizerFast | None = None,
    tags: Sequence[tuple[str, str]] = (),
) -> tuple[Response, list[str]]:
    tokenizer = tokenizer or _tokenizer()
    engine = _Scripted(tokenizer, script)
    generator = Generator(cast("Engine", engine), tokenizer, Encoder(tokenizer, 0, None), 4096, 64, tags)
    found: dict[int, Answer] = {}
    request = Instance("generate_until", _DOC, (prompt, settings), 0, ("t", 0, 1))
    generator.run([request], ["0" * 64], [("t", 0)], MemoryStore(), lambda done, _: found.update(done))
    return found[0].response(prompt, tags), engine.prompts


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_template_is_told(name: str) -> None:
    tokenizer = _tokenizer(TEMPLATES[name])
    assert switches_thinking(tokenizer)
    on, off, auto = (
        render_chat(tokenizer, _CHAT, add_generation_prompt=True, thinking=Thinking(mode))
        for mode in ("on", "off", "auto")
    )
    assert on != off
    assert auto in (on, off)
    assert auto == render_chat(tokenizer, _CHAT, add_generation_prompt=True)


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].content }}",
        "thinking {{ messages[0].content }}",
        "{{ 'enable_thinking' }}{{ messages[0].content }}",
        "{{ messages[0].thinking }}{{ messages[0].content }}",
        "{# enable_thinking #}{{ messages[0].content }}",
        "{{ my_thinking }}{{ messages[0].content }}",
    ],
)
def test_words_are_no_switch(template: str) -> None:
    assert switches(template) == ()
    assert not switches_thinking(_tokenizer(template))


def test_stop_strings_do_not_count_within_reasoning() -> None:
    text = "<think>\n\nQuestion: first\n\nsecond</think>\n\nThe answer is C.\n\nQuestion: another"
    response, _ = _generate(lambda _: text, {"until": ["\n\n"], "max_gen_toks": 400})
    assert response == "The answer is C."
    assert response.raw == "<think>\n\nQuestion: first\n\nsecond</think>\n\nThe answer is C."
    assert not response.truncated
    # … and do where there is no reasoning.
    response, _ = _generate(lambda _: "C\n\nQuestion: x", {"until": ["\n\n"], "max_gen_toks": 400})
    assert response.raw == "C"


def test_reasoning_that_the_prompt_opened_is_not_stopped_either() -> None:
    text = "first\n\nThe answer is A.\n\nno</think>\n\nC\n\nD"
    for prompt, answer in (("?<think>\n", "C"), ("?", "first")):
        response, _ = _generate(lambda _: text, {"until": ["\n\n"], "max_gen_toks": 400}, prompt=prompt)
        assert response == answer


@pytest.mark.parametrize(
    ("special", "text"),
    [
        (["<unused94>", "<unused95>"], "<unused94>thought\nA?<unused95>C"),
        (["<think>", "</think>"], "<think>A?</think>C"),
        (["<|START_THINKING|>", "<|END_THINKING|>"], "<|START_THINKING|>A?<|END_THINKING|>C"),
        (
            ["<|channel|>", "<|message|>", "<|end|>", "<|start|>"],
            "<|channel|>analysis<|message|>A?<|end|><|start|>assistant<|channel|>final<|message|>C",
        ),
    ],
)
def test_marks_that_are_special_tokens_are_not_lost(special: list[str], text: str) -> None:
    tokenizer = _tokenizer(special=[*special, "<|pad|>"])
    response, _ = _generate(lambda _: f"<|pad|>{text}<|pad|>", {"max_gen_toks": 400}, tokenizer=tokenizer)
    assert response == "C"
    assert response.raw == text
    plain, _ = _generate(lambda _: "C<|pad|>", {"max_gen_toks": 400}, tokenizer=tokenizer)
    assert plain.raw == "C"


def test_unfinished_reasoning_is_closed_on_demand() -> None:
    def script(prompt: str) -> str:
        return "The answer is C." if prompt.endswith("</think>\n\n") else "<think>Perhaps A, perhaps B" * 9

    limit: dict[str, Any] = {"max_gen_toks": 30}
    response, prompts = _generate(script, limit)
    assert (response.answered, response.closed, len(prompts)) == (False, False, 1)
    response, prompts = _generate(script, limit | {"close_thinking": True})
    assert prompts[1] == f"Which drug?{response.first_pass}\n</think>\n\n"
    assert (str(response), response.closed, response.truncated) == ("The answer is C.", True, True)
    assert response.raw == f"{response.first_pass}\n</think>\n\nThe answer is C."


def test_a_second_pass_asks_behind_the_closed_block() -> None:
    def script(prompt: str) -> str:
        return "C" if prompt.endswith("The answer is ") else "<think>The answer is A, perhaps. " * 9

    second = {"suffix": "\nThe answer is ", "when": "missing", "letters": "letters"}
    settings: dict[str, Any] = {"max_gen_toks": 30, "second_pass": second}
    for closing, between in ((False, ""), (True, "\n</think>\n\n")):
        response, prompts = _generate(script, settings | {"close_thinking": closing})
        assert prompts[1] == f"Which drug?{response.first_pass}{between}\nThe answer is "
        assert response.second_pass == "C"
        assert response.strip() == "The answer is C"
        assert response.closed is closing


def test_finished_reasoning_needs_no_closing() -> None:
    text = "<think>A?</think>The answer is C."
    response, prompts = _generate(lambda _: text, {"max_gen_toks": 400, "close_thinking": True})
    assert (response.raw, response.closed, len(prompts)) == (text, False, 1)


def test_marks_of_its_own() -> None:
    def script(prompt: str) -> str:
        return "C" if prompt.endswith("</a>\n\n") else "<a>\n\nPerhaps A" * 9

    settings: dict[str, Any] = {"max_gen_toks": 30, "close_thinking": True, "until": ["\n\n"]}
    response, _ = _generate(script, settings, tags=[("<a>", "</a>")])
    assert (str(response), response.closed) == ("C", True)


def test_a_letter_is_an_answer_also_where_the_prompt_opened_a_block() -> None:
    lm = StoredLM(_tokenizer(), store := MemoryStore(), seed=1)
    prompt = "?<think>\n"
    requests = [
        Instance("generate_until", _DOC, (prompt, kwargs), 0, ("t", number, 1))
        for number, kwargs in enumerate(({"constrain": "letters"}, {"max_gen_toks": 5}))
    ]
    keys = request_keys("generate_until", requests, 1)
    store.put({key: Answer(text="C", first_pass="C") for key in keys})
    assert lm.generate_until(requests) == ["C", ""]


def test_a_first_pass_that_needs_no_second_after_all_is_the_answer() -> None:
    tokenizer = _tokenizer()
    engine = _Scripted(tokenizer, lambda _: "C")
    generator = Generator(cast("Engine", engine), tokenizer, Encoder(tokenizer, 0, None), 4096, 64)
    second = {"suffix": "\nThe answer is ", "when": "missing", "letters": "letters"}
    requests = [
        Instance("generate_until", _DOC, (f"{number}?", {"second_pass": second}), 0, ("t", number, 1))
        for number in range(2)
    ]
    keys, found, store = ["0" * 64, "1" * 64], dict[int, Answer](), MemoryStore()
    kept = {keys[0]: "The answer is B.", keys[1]: "Hard to say."}
    store.put(
        {first_pass_key(key): Answer(text=text, first_pass=text, tokens=(5, 6)) for key, text in kept.items()}
    )
    generator.run(requests, keys, [("t", 0)] * 2, store, lambda done, _: found.update(done))
    assert [found[number].text for number in range(2)] == [
        "The answer is B.",
        "Hard to say.\nThe answer is C",
    ]


_COMMITTED = [
    "The answer is C.",
    "Reasoning.\nThe answer is (C)",
    "Answer: C",
    "C",
    "**C. Doxycycline**",
    "<think>The answer is A.</think>\nThe answer is C.",
    "I would choose C.",
    "\\boxed{C}",
    "因此，答案为C。",
    "故选C。",
    "答案：C",
    "【答案】C",
    "C\n\nQuestion: Which vitamin?\nAnswer: A",
]
_UNCOMMITTED = [
    "",
    "I must end with: The answer is {answer}.",
    "The answer is not obvious, since both fit.",
    "If the answer is A, the patient would not cough.",
    "Is the answer C? Perhaps.",
    "The answer is not C.",
    "The answer is",
    "Many students choose C.",
    "The answer is A or C.",
    "Doxycycline is used for tick bites.",
    "<think>The answer is C.",
    "<think>The answer is C.</think>",
    "如果答案为A，则患者不会咳嗽。",
    "请在回答的最后用以下格式回答：答案为{answer}。",
    "答案为",
    "答案是C吗？",
    "很多考生误认为答案是C。",
    "答案不是C。",
    "Question: Something else?\nThe answer is C.",
]


@pytest.mark.parametrize("text", _COMMITTED)
def test_a_committed_answer_is_not_asked_for_again(text: str) -> None:
    assert _following(text) is None


@pytest.mark.parametrize("text", _UNCOMMITTED)
def test_the_phrase_alone_is_no_answer(text: str) -> None:
    assert _following(text) == "\nThe answer is "


def _following(text: str) -> str | None:
    second = {"suffix": "\nThe answer is ", "when": "missing", "letters": "letters"}
    settings = GenerationSettings.parse({"second_pass": second}, max_gen_toks=5, where="t")
    following = settings.following("prompt", text, _DOC, ())
    return None if following is None else following.suffix


def test_documents_without_options_are_looked_through_for_the_marker() -> None:
    second = {"suffix": "\nScore: ", "when": "missing", "marker": "Score:"}
    settings = GenerationSettings.parse({"second_pass": second}, max_gen_toks=5, where="t")
    assert settings.following("p", "Score: 3", {"text": "x"}, ()) is None
    assert settings.following("p", "Three.", {"text": "x"}, ()) is not None
    assert settings.following("p", "<think>Score: 3", {"text": "x"}, ()) is not None
    with pytest.raises(ModelError, match=r"close_thinking.*expected true or false"):
        GenerationSettings.parse({"close_thinking": "yes"}, max_gen_toks=5, where="t")


def test_stored_answers_are_cut_and_their_reasoning_counted() -> None:
    tokenizer = _tokenizer()
    store = MemoryStore()
    lm = StoredLM(tokenizer, store, seed=1, thinking=Thinking(tags=(("<a>", "</a>"),)))
    texts = ["<think>one two</think>C", "C", "<a>one two three</a>C", "<think>one"]
    requests = [
        Instance("generate_until", {}, ("?", {}), 0, ("t", number, 1)) for number, _ in enumerate(texts)
    ]
    keys = request_keys("generate_until", requests, 1)
    store.put({key: Answer(text=text, first_pass=text) for key, text in zip(keys, texts, strict=True)})
    responses = lm.generate_until(requests)
    assert responses == ["C", "C", "C", ""]
    assert [response.answered for response in responses] == [True, True, True, False]
    counts = [len(tokenizer.encode(text)) for text in ("one two", "", "one two three", "one")]
    assert [response.thinking_tokens for response in responses] == counts
