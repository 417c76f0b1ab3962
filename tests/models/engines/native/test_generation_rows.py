"""Stop strings, and which tokens of a row are counted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.models import Engine
from medbench.models.engines.native.generation_rows import StopStrings, cut_at
from tests.models.made_engines import VOCABULARY, tiny_model, tiny_tokenizer

_TOKENIZER = tiny_tokenizer()


def _first_stop(tokens: list[int], stops: list[str]) -> int | None:
    """The number of tokens after which a stop string is in the text, by decoding everything each time."""
    for count in range(1, len(tokens) + 1):
        text = str(_TOKENIZER.decode(tokens[:count], skip_special_tokens=False))
        if not text.endswith("\ufffd") and any(stop in text for stop in stops):
            return count
    return None


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.text(alphabet="aA答案为 \n高.,is", max_size=30),
    st.lists(st.text(alphabet="aA答案为 \n高.,is", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_found_as_soon_as_it_is_in_the_text(text: str, stops: list[str]) -> None:
    tokens = _TOKENIZER.encode(text)
    watch = StopStrings(_TOKENIZER, stops)
    found = next((count for count, token in enumerate(tokens, 1) if watch.add(token)), None)
    assert found == _first_stop(tokens, stops)


def test_special_tokens_and_borders() -> None:
    watch = StopStrings(_TOKENIZER, ["<|im_end|>"])
    assert [watch.add(token) for token in _TOKENIZER.encode("ab<|im_end|>")][-1]
    watch = StopStrings(_TOKENIZER, ["", "b\n\nc"])
    assert [watch.add(token) for token in _TOKENIZER.encode("ab\n\ncd")].count(True) >= 1
    assert not any(StopStrings(_TOKENIZER, [""]).add(token) for token in (5, 6))


@pytest.mark.parametrize(
    ("text", "stops", "kept"),
    [("a stop b", ["stop"], "a "), ("abc", ["c", "b"], "a"), ("abc", ["x", ""], "abc"), ("abc", [], "abc")],
)
def test_cut(text: str, stops: list[str], kept: str) -> None:
    assert cut_at(text, stops) == kept


def test_rows_stop_by_themselves() -> None:
    model = tiny_model(vocabulary=len(_TOKENIZER))
    prompts = [_TOKENIZER.encode(text) for text in ("Question", "which drug", "A", "答案")]
    free = Engine(model, _TOKENIZER).generate(prompts, 30)
    texts = [str(_TOKENIZER.decode(generation.token_ids)) for generation in free]
    # Each row's own stop string: two characters out of the middle of what it says.
    stops = [[text[len(text) // 2 : len(text) // 2 + 2]] for text in texts]
    stopped = Engine(model, _TOKENIZER, max_rows=2).generate(prompts, 30, stop=stops)
    for generation, whole, stop in zip(stopped, free, stops, strict=True):
        if "\ufffd" in stop[0]:
            continue
        count = _first_stop(whole.token_ids, stop)
        assert generation.finish_reason == "stop"
        assert generation.token_ids == whole.token_ids[:count]


@pytest.mark.parametrize("limit", [1, 4])
@pytest.mark.parametrize("counted", [0, 1, 15, 30, 39, 40, 41, 42, 43, 44, 45])
def test_tokens_counted_before_do_not_count_with_a_shared_prefix(counted: int, limit: int) -> None:
    stem = [11 * i % VOCABULARY for i in range(40)]
    prompts = [[*stem, 50 + i, i, 7, 8, 9] for i in range(5)]
    known = [counted, 0, counted, 0, 45]
    labels = [("writing", i) for i in range(5)]
    model = tiny_model()
    shared, apart = (Engine(model, routing="documents", share_prefixes=share) for share in (True, False))
    texts = [
        [answer.token_ids for answer in engine.generate(prompts, limit, labels=labels, counted=known)]
        for engine in (shared, apart)
    ]
    assert texts[0] == texts[1]
    assert shared.tokens < apart.tokens
    found, expected = shared.routing(), apart.routing()
    assert sorted(found.labels) == sorted(expected.labels)
    order = [found.labels.index(label) for label in expected.labels]
    assert found.tokens[order].tolist() == expected.tokens.tolist()
    assert (found.count[order] == expected.count).all()
    prompt_tokens = sum(
        n for n, (_, phase) in zip(found.tokens, found.labels, strict=True) if phase == "prompt"
    )
    assert prompt_tokens == sum(45 - number for number in known)
