"""Classes and vocabulary of experts against counting token by token."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.analysis.routing.token_classes import (
    class_specialization,
    token_class,
    vocabulary_specialization,
)
from medbench.errors import AnalysisError
from tests.analysis.routing.token_factory import make_traces

WORDS = {0: "药", 1: " the", 2: "7", 3: "，", 4: "\n\n", 5: "<|im_end|>", 6: "\N{REPLACEMENT CHARACTER}"}
KIND = {0: "han", 1: "latin", 2: "digit", 3: "punctuation", 4: "space", 5: "special", 6: "other"}
_TEXTS = st.lists(
    st.tuples(
        st.tuples(st.sampled_from("ab"), st.integers(0, 3)),
        st.integers(0, 1),
        st.just(0),
        st.lists(st.integers(0, 6), min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("阿司匹林", "han"),
        ("㐂", "han"),
        ("𠀀", "han"),
        ("。", "punctuation"),
        ("mg", "latin"),
        (" été", "latin"),
        ("Ａ", "latin"),
        ("β", "other"),
        ("あ", "other"),
        ("12", "digit"),
        ("Ⅳ", "digit"),
        ("+", "punctuation"),
        ("(a", "punctuation"),
        ("的a", "han"),
        ("", "space"),
        ("\u3000", "space"),
        ("\N{REPLACEMENT CHARACTER}", "other"),
        ("\x00", "other"),
    ],
)
def test_a_token_has_the_class_of_its_first_character(text: str, kind: str) -> None:
    assert token_class(text) == kind
    assert token_class(text, special=True) == "special"


@settings(max_examples=40, deadline=None)
@given(_TEXTS, st.integers(0, 999), st.sampled_from([None, "prompt", "generated"]))
def test_classes_are_counted_token_by_token(
    texts: list[tuple[tuple[str, int], int, int, list[int]]], seed: int, phase: str | None
) -> None:
    traces = make_traces(texts, seed=seed, words=WORDS, special=[5])
    kept = [
        (t, token, label)
        for t, (token, part, label) in enumerate(
            (token, part, label) for label, part, _, ids in texts for token in ids
        )
        if phase is None or part == ("prompt", "generated").index(phase)
    ]
    if not kept:
        with pytest.raises(AnalysisError, match="no such tokens"):
            class_specialization(traces, phase=phase)
        return
    found = class_specialization(traces, phase=phase, draws=20)
    present = {KIND[token] for _, token, _ in kept}
    assert len(found) == 2 * 4 * len(present)
    for row in found.to_dict("records"):
        m = ("gate", "up").index(row["projection"])
        mine = [t for t, token, _ in kept if KIND[token] == row["class"]]
        served = sum(row["expert"] in traces.choice[m, t] for t in mine)
        overall = sum(row["expert"] in traces.choice[m, t] for t, _, _ in kept) / len(kept)
        assert row["tokens"] == len(mine)
        assert row["documents"] == len({label for _, token, label in kept if KIND[token] == row["class"]})
        assert row["rate"] == pytest.approx(served / len(mine))
        assert row["chance"] == 0.5
        if overall:
            assert row["lift"] == pytest.approx(served / len(mine) / overall)
        else:
            assert np.isnan(row["lift"])


@settings(max_examples=30, deadline=None)
@given(_TEXTS, st.integers(0, 999), st.integers(1, 3), st.integers(1, 4), st.integers(1, 2))
def test_vocabulary_is_ranked_by_a_slow_count(
    texts: list[tuple[tuple[str, int], int, int, list[int]]],
    seed: int,
    top: int,
    least: int,
    least_documents: int,
) -> None:
    traces = make_traces(texts, seed=seed, words=WORDS, special=[5])
    found = vocabulary_specialization(traces, top=top, least=least, least_documents=least_documents, draws=10)
    every = [(token, label) for label, _, _, ids in texts for token in ids]
    for m, projection in enumerate(("gate", "up")):
        for expert in range(4):
            chosen = [expert in traces.choice[m, t] for t in range(len(every))]
            ranked = []
            for token in WORDS:
                places = [t for t, (other, _) in enumerate(every) if other == token]
                owners = {every[t][1] for t in places}
                if len(places) < least or len(owners) < least_documents or not any(chosen):
                    continue
                served = sum(chosen[t] for t in places)
                lift = served / len(places) / (sum(chosen) / len(every))
                ranked.append((-lift, -len(places), token, served, len(owners)))
            ranked.sort()
            mine = found[(found["projection"] == projection) & (found["expert"] == expert)]
            assert mine["lift"].tolist() == pytest.approx([-row[0] for row in ranked[:top]])
            assert mine["tokens"].tolist() == [-row[1] for row in ranked[:top]]
            assert mine["rank"].tolist() == list(range(1, len(mine) + 1))
            facts = {token: (served, owners) for _, _, token, served, owners in ranked}
            for row in mine.to_dict("records"):
                assert facts[row["token"]] == (row["count"], row["documents"])
                assert row["text"] == WORDS[row["token"]]


def test_choices_at_random_have_no_lift() -> None:
    rng = np.random.default_rng(0)
    texts = [(("t", d), 0, 0, rng.integers(0, 7, 60).tolist()) for d in range(120)]
    found = class_specialization(make_traces(texts, experts=8, words=WORDS, special=[5]), draws=200)
    assert found["lift"].tolist() == pytest.approx([1.0] * len(found), abs=0.25)
    assert found["rate"].tolist() == pytest.approx([0.25] * len(found), abs=0.06)
    covered = (found["lift_low"] <= 1) & (found["lift_high"] >= 1)
    assert covered.mean() > 0.9


def test_one_expert_for_everything_has_lift_one() -> None:
    texts = [(("t", d), 0, 0, [0, 1, 2]) for d in range(4)]
    choice = np.broadcast_to([2, 0], (12, 2))
    found = class_specialization(make_traces(texts, choice=choice, words=WORDS))
    busy = found[found["expert"].isin([0, 2])]
    assert (busy["lift"] == 1).all()
    assert (busy["rate"] == 1).all()
    idle = found[found["expert"].isin([1, 3])]
    assert (idle["rate"] == 0).all()
    assert idle["lift"].isna().all()
    assert set(vocabulary_specialization(make_traces(texts, choice=choice), least=1)["expert"]) <= {0, 2}


def test_two_disjoint_groups_are_found_beyond_doubt() -> None:
    texts = [(("t", d), 0, 0, [0, 1] * 5) for d in range(20)]
    choice = np.array([[0, 1] if t % 2 == 0 else [2, 3] for t in range(200)])
    traces = make_traces(texts, choice=choice, words=WORDS)
    found = class_specialization(traces).set_index(["projection", "expert", "class"])
    for expert in range(4):
        own, other = ("han", "latin") if expert < 2 else ("latin", "han")
        for kind, figures in ((own, [1, 2, 2, 2]), (other, [0, 0, 0, 0])):
            names = ("rate", "lift", "lift_low", "lift_high")
            assert [found[name].to_dict()["gate", expert, kind] for name in names] == figures
    words = vocabulary_specialization(traces, top=1).set_index(["projection", "expert"])
    assert [words.loc[("up", expert), "text"] for expert in range(4)] == ["药", "药", " the", " the"]


def test_rare_items_are_left_out_and_one_document_has_no_interval() -> None:
    texts = [(("t", 0), 0, 0, [0] * 30 + [1])]
    traces = make_traces(texts, words=WORDS)
    assert vocabulary_specialization(traces).empty  # one document is no support
    found = vocabulary_specialization(traces, least_documents=1)
    assert set(found["text"]) == {"药"}
    assert found[["low", "high", "lift_low", "lift_high"]].isna().all(axis=None)


def test_what_is_unknown_is_refused() -> None:
    traces = make_traces([(("t", 0), 0, 0, [0, 1])], words={0: "药"})
    with pytest.raises(AnalysisError, match="texts of 1 tokens are unknown"):
        class_specialization(traces)
    with pytest.raises(AnalysisError, match="no phase 'answer'"):
        class_specialization(replace(traces, texts=WORDS), phase="answer")
