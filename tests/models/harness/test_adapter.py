"""The lm-eval adapter against lm-eval's own backend, its answer store, and the second pass."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM

from medbench.errors import ModelError
from medbench.models import Answer, MedbenchLM, MemoryStore, Response, RoutingCounts
from medbench.models.routing.traces import Traces
from tests.models.made_engines import tiny_model, tiny_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TOKENIZER = tiny_tokenizer()
_TEXTS = [
    "Question: which drug?" + " really?" * (i % 4) + (" 高血压" if i % 3 else " pain ") for i in range(9)
] + ["<|endoftext|>begun", "x" * 300]


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return tiny_model(vocabulary=len(_TOKENIZER))


@pytest.fixture(scope="module")
def reference(model: PreTrainedModel) -> Any:
    return HFLM(pretrained=model, tokenizer=_TOKENIZER, batch_size=3, max_length=256)


def _ask(kind: Any, arguments: Sequence[tuple[Any, ...]], task: str = "t", doc: Any = None) -> list[Instance]:
    return [
        Instance(kind, doc or {}, argument, 0, (task, number, 1)) for number, argument in enumerate(arguments)
    ]


def _lm(model: PreTrainedModel, **settings: Any) -> MedbenchLM:
    return MedbenchLM(model=model, tokenizer=_TOKENIZER, **settings)


def test_registered_beside_the_built_in_models() -> None:
    assert get_model("ming-moe") is get_model("molora") is MedbenchLM
    assert get_model("hf") is HFLM


def test_log_likelihoods_are_those_of_the_hf_backend(model: PreTrainedModel, reference: Any) -> None:
    requests = [
        Instance("loglikelihood", {}, (text, option), number, ("t", place, 1))
        for place, text in enumerate([*_TEXTS, ""])
        for number, option in enumerate([" A", " B", "高血压 drug", " the answer"])
    ]
    found = _lm(model).loglikelihood(requests)
    for (logprob, greedy), (expected, expected_greedy) in zip(
        found, reference.loglikelihood(requests, disable_tqdm=True), strict=True
    ):
        assert logprob == pytest.approx(expected, abs=1e-4)
        assert greedy == expected_greedy


def test_rolling_log_likelihoods_are_those_of_the_hf_backend(model: PreTrainedModel, reference: Any) -> None:
    requests = _ask("loglikelihood_rolling", [(text,) for text in _TEXTS[:4] + _TEXTS[-1:]])
    expected = reference.loglikelihood_rolling(requests, disable_tqdm=True)
    assert _lm(model).loglikelihood_rolling(requests) == pytest.approx(expected, abs=1e-3)


def test_generations_are_those_of_the_hf_backend(model: PreTrainedModel, reference: Any) -> None:
    for until in (["A", "er"], ["\n", "<|im_end|>"], []):
        settings = {"until": until, "max_gen_toks": 24, "do_sample": False}
        requests = _ask("generate_until", [(text, dict(settings)) for text in _TEXTS])
        expected = reference.generate_until(
            _ask("generate_until", [(text, dict(settings)) for text in _TEXTS]), disable_tqdm=True
        )
        assert _lm(model).generate_until(requests) == expected


def test_long_prompts_lose_their_beginning_and_it_is_said(
    model: PreTrainedModel, caplog: pytest.LogCaptureFixture
) -> None:
    _lm(model).loglikelihood(_ask("loglikelihood", [(_TEXTS[-1], " A"), ("short", " A")]))
    assert "t: 1 prompts were longer than 256 tokens" in caplog.text
    _lm(model).generate_until(_ask("generate_until", [("short", {"max_gen_toks": 1000})]))
    assert "t: 1 answers have less room" in caplog.text


class _Recording(MemoryStore):
    """Notes what is stored together."""

    def __init__(self, fail_after: int | None = None) -> None:
        super().__init__()
        self.batches: list[int] = []
        self._left = fail_after

    def put(
        self,
        answers: Mapping[str, Answer],
        routing: RoutingCounts | None = None,
        traces: Traces | None = None,
    ) -> None:
        if self._left is not None:
            if not self._left:
                raise KeyboardInterrupt
            self._left -= 1
        super().put(answers, routing, traces)
        self.batches.append(len(answers))

    def unlimited(self) -> _Recording:
        self._left = None
        return self


_SECOND = {
    "until": ["<|im_end|>"],
    "max_gen_toks": 6,
    "do_sample": False,
    "second_pass": {"suffix": "\n答案为", "when": "missing", "marker": "答案为", "letters": "letters"},
}
_DOC = {"letters": ["A", "B", "C"]}


@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling", "generate_until", "two passes"])
def test_a_run_that_breaks_off_goes_on_without_loss(model: PreTrainedModel, kind: str) -> None:
    method = "generate_until" if kind == "two passes" else kind
    argument: dict[str, Any] = {
        "loglikelihood": " A drug",
        "generate_until": {"max_gen_toks": 5},
        "two passes": _SECOND,
    }
    texts = _TEXTS[:9] * 2
    requests = _ask(
        method,
        [(text, *([argument[kind]] if kind in argument else [])) for text in texts],
        doc=_DOC,
    )
    whole = _Recording()
    settings: dict[str, Any] = {"max_batch_tokens": 80, "routing": "tokens"}
    expected = getattr(_lm(model, store=whole, **settings), method)(requests)
    assert len(whole.batches) > 1
    for broken_after in range(len(whole.batches)):
        store = _Recording(broken_after)
        with pytest.raises(KeyboardInterrupt):
            getattr(_lm(model, store=store, **settings), method)(requests)
        resumed = getattr(_lm(model, store=store.unlimited(), **settings), method)(requests)
        if method == "generate_until":
            assert resumed == expected
        else:
            flat = [r[0] if isinstance(r, tuple) else r for r in resumed]
            assert flat == pytest.approx([r[0] if isinstance(r, tuple) else r for r in expected], abs=1e-4)
        counts, reference = store.routing(), whole.routing()
        order = [counts.labels.index(label) for label in reference.labels]
        assert (counts.tokens[order] == reference.tokens).all()
        assert (counts.count[order] == reference.count).all()
        traced, once = (Traces.join(kept.traces()).ordered() for kept in (store, whole))
        assert traced.documents == once.documents
        assert traced.tokens.tolist() == once.tokens.tolist()
        assert traced.starts.tolist() == once.starts.tolist()


def test_known_answers_are_not_computed_again(model: PreTrainedModel) -> None:
    store = _Recording()
    requests = _ask("loglikelihood", [(text, " A") for text in _TEXTS])
    told: list[tuple[float, int]] = []
    lm = _lm(model, store=store, progress=lambda share, tokens: told.append((share, tokens)))
    first = lm.loglikelihood(requests)
    assert told[-1][0] == 1.0
    assert sum(tokens for _, tokens in told) == lm.engine.tokens > 0
    batches = list(store.batches)
    assert _lm(model, store=store).loglikelihood(requests) == first
    assert store.batches == batches
    _lm(model, store=store).loglikelihood(_ask("loglikelihood", [(_TEXTS[0], " B")]))
    assert len(store.batches) > len(batches)


def test_second_pass_appends_the_phrase_and_chooses_a_letter(model: PreTrainedModel) -> None:
    store = _Recording()
    lm = _lm(model, store=store)
    (response,) = lm.generate_until(_ask("generate_until", [(_TEXTS[0], _SECOND)], doc=_DOC))
    assert isinstance(response, Response)
    assert response.truncated
    assert response.second_pass in _DOC["letters"]
    assert response == f"{response.first_pass}\n答案为{response.second_pass}"
    plain = {key: value for key, value in _SECOND.items() if key != "second_pass"}
    (first,) = lm.generate_until(_ask("generate_until", [(_TEXTS[0], plain)]))
    assert response.first_pass == first
    # The letter is the likeliest continuation of prompt, first pass and phrase.
    scores = _lm(model).loglikelihood(
        [
            Instance("loglikelihood", {}, (f"{_TEXTS[0]}{first}\n答案为", letter), 0, ("t", n, 1))
            for n, letter in enumerate(_DOC["letters"])
        ]
    )
    best = max(range(3), key=lambda place: scores[place][0])
    assert _DOC["letters"][best] == response.second_pass


def test_second_pass_only_where_the_marker_is_missing(model: PreTrainedModel) -> None:
    settings = {**_SECOND, "second_pass": {**_SECOND["second_pass"], "marker": ""}}  # type: ignore[dict-item]
    (response,) = _lm(model).generate_until(_ask("generate_until", [(_TEXTS[0], settings)], doc=_DOC))
    assert isinstance(response, Response)
    assert response.second_pass is None
    assert response == response.first_pass
    always = {**_SECOND, "second_pass": {**settings["second_pass"], "when": "always"}}  # type: ignore[dict-item]
    (response,) = _lm(model).generate_until(_ask("generate_until", [(_TEXTS[0], always)], doc=_DOC))
    assert isinstance(response, Response)
    assert response.second_pass in _DOC["letters"]


def test_second_pass_counts_its_own_tokens_only(model: PreTrainedModel) -> None:
    store = _Recording()
    (response,) = _lm(model, store=store).generate_until(
        _ask("generate_until", [(_TEXTS[0], _SECOND)], doc=_DOC)
    )
    assert isinstance(response, Response)
    fed = _TOKENIZER.encode(f"{_TEXTS[0]}{response.first_pass}\n答案为")
    plain = len(_TOKENIZER.encode(_TEXTS[0]))
    total = int(store.routing().tokens.sum())
    # Tokens may be cut differently where the first pass ends; none is counted twice but for those.
    assert len(fed) <= total + 1
    assert total <= len(fed) + 6
    assert total > plain


@pytest.mark.parametrize("length", [30, 48, 64])
@pytest.mark.parametrize(
    ("limit", "suffix"), [(6, "\n答案为"), (20, "\n答案为"), (20, "!"), (40, "\nThe answer is ")]
)
@pytest.mark.parametrize("text", [_TEXTS[3] * 4, "x" * 300, "高血压 drug " * 20])
def test_two_passes_over_a_prompt_that_is_too_long_count_every_token_once(
    model: PreTrainedModel, text: str, limit: int, suffix: str, length: int
) -> None:
    second_pass = {"suffix": suffix, "when": "always", "letters": "letters"}
    settings = {**_SECOND, "max_gen_toks": limit, "second_pass": second_pass}
    store = _Recording()
    request = _ask("generate_until", [(text, settings)], doc=_DOC)
    (response,) = _lm(model, store=store, max_length=length).generate_until(request)
    assert isinstance(response, Response)
    context = _TOKENIZER.encode(text)
    assert len(context) > length
    [first] = [answer for key, answer in store.answers().items() if key.endswith("/first")]
    lost = len(context) - (length - min(limit, length // 2))
    seen = [*context[lost:], *(first.tokens or ())[:-1]]
    # The second pass goes on behind what the first saw, with room for one letter.
    second = _TOKENIZER.encode(f"{text}{response.first_pass}{suffix}")[lost:]
    known = next(
        (i for i, pair in enumerate(zip(second, seen, strict=False)) if len(set(pair)) > 1), len(seen)
    )
    cut = max(0, len(second) - (length - 1))
    assert int(store.routing().tokens.sum()) == len(seen) + len(second) - max(known, cut)


def test_constrained_answers_are_one_of_the_letters(model: PreTrainedModel) -> None:
    settings = {"until": ["A"], "constrain": "letters", "max_gen_toks": 1}
    responses = _lm(model).generate_until(
        _ask("generate_until", [(t, settings) for t in _TEXTS[:5]], doc=_DOC)
    )
    assert set(responses) <= set(_DOC["letters"])
    assert not any(response.truncated for response in responses if isinstance(response, Response))
    with pytest.raises(ModelError, match="no list 'letters'"):
        _lm(model).generate_until(_ask("generate_until", [("x", settings)], doc={"letters": []}))
    with pytest.raises(ModelError, match="not one token each: 'ABC'"):
        _lm(model).generate_until(_ask("generate_until", [("x", settings)], doc={"letters": ["ABC"]}))


def test_sampling_repeats_with_its_seed(model: PreTrainedModel) -> None:
    settings = {"do_sample": True, "temperature": 1.3, "max_gen_toks": 10}
    requests = _ask("generate_until", [(text, settings) for text in _TEXTS[:4]])
    first = _lm(model).generate_until(requests * 2)
    assert first[:4] != first[4:]  # repetitions of a request draw anew
    assert _lm(model, max_batch_tokens=30).generate_until(requests * 2) == first
    assert _lm(model, seed=5).generate_until(requests * 2) != first


def test_a_temperature_alone_draws(model: PreTrainedModel) -> None:
    requests = _ask(
        "generate_until", [(text, {"temperature": 1.3, "max_gen_toks": 10}) for text in _TEXTS[:4]]
    )
    greedy = _ask("generate_until", [(text, {"max_gen_toks": 10}) for text in _TEXTS[:4]])
    drawn = _lm(model).generate_until(requests * 2)
    assert drawn[:4] != drawn[4:]
    assert _lm(model, max_batch_tokens=20).generate_until(requests * 2) == drawn
    assert drawn[:4] != _lm(model).generate_until(greedy)


@pytest.mark.parametrize("penalty", [1.0, 1.2, 2.0])
def test_a_task_can_ask_for_a_penalty(model: PreTrainedModel, penalty: float) -> None:
    asked = _ask(
        "generate_until", [(t, {"repetition_penalty": penalty, "max_gen_toks": 12}) for t in _TEXTS[:4]]
    )
    plain = _ask("generate_until", [(t, {"max_gen_toks": 12}) for t in _TEXTS[:4]])
    same = _lm(model).generate_until(asked) == _lm(model).generate_until(plain)
    assert same is (penalty == 1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 4}, "does not carry out: num_beams"),
        ({"untill": ["x"]}, "does not carry out: untill"),
        ({"max_gen_toks": 0}, "positive whole number"),
        ({"second_pass": {"when": "missing"}}, "'suffix' under 'second_pass' is missing"),
        ({"second_pass": {"suffix": "x", "when": "never"}}, "expected one of missing, always"),
        ({"do_sample": True, "top_p": 3.0}, "top_p"),
    ],
)
def test_settings_it_cannot_carry_out_are_refused(
    model: PreTrainedModel, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        _lm(model).generate_until(_ask("generate_until", [("x", settings)]))


def test_chats(model: PreTrainedModel) -> None:
    chat = [{"role": "user", "content": "hello"}]
    lm = _lm(model, system_prompt="be kind")
    assert lm.apply_chat_template(chat) == (
        "<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert lm.chat_template(True) == _TOKENIZER.chat_template
    assert "system" not in _lm(model).apply_chat_template(chat)


def test_responses_travel() -> None:
    response = Response("ab", truncated=True, first_pass="a", second_pass="b")
    again = pickle.loads(pickle.dumps(response))
    assert again == "ab"
    assert (again.truncated, again.first_pass, again.second_pass) == (True, "a", "b")
    assert Response("x").first_pass == "x"
    answer = Answer(text="ab", truncated=True, first_pass="a", second_pass="b")
    assert Answer.from_json(answer.to_json()) == answer
    with pytest.raises(ModelError, match="unknown fields"):
        Answer.from_json({"logprobs": 1})


def test_needs_a_model_and_its_tokenizer(model: PreTrainedModel) -> None:
    with pytest.raises(ModelError, match="no model was given"):
        MedbenchLM()
    with pytest.raises(ModelError, match="needs its tokenizer"):
        MedbenchLM(model=model)
