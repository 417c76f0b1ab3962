"""Permuted and rotated options keep the right answer right."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medbench.data import load
from medbench.data.robustness import (
    circular_documents,
    permute_options,
    right_in_every_rotation,
    rotations,
    shuffle_documents,
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    n = draw(st.integers(2, 8))
    options = [f"option {index}" for index in range(n)]
    letters = list("ABCDEFGH"[:n])
    answer = "".join(sorted(draw(st.sets(st.sampled_from(letters), min_size=1))))
    return {
        "id": draw(st.text(max_size=5)),
        "letters": letters,
        "options": options,
        "answer": answer,
        "question": "?",
    }


def gold(document: dict[str, Any]) -> set[str]:
    return {document["options"][document["letters"].index(letter)] for letter in document["answer"]}


@given(document=documents(), seed=st.integers(0, 2**32))
def test_shuffling_moves_the_answer_along(document: dict[str, Any], seed: int) -> None:
    (shuffled,) = shuffle_documents([document], seed)
    assert gold(shuffled) == gold(document)
    assert sorted(shuffled["options"]) == sorted(document["options"])
    assert shuffled["answer"] == "".join(sorted(shuffled["answer"]))
    assert next(shuffle_documents([document], seed)) == shuffled


@given(document=documents())
def test_rotations_put_every_option_everywhere(document: dict[str, Any]) -> None:
    turned = list(rotations(document))
    n = len(document["options"])
    assert len(turned) == n
    assert turned[0]["options"] == document["options"]
    for position in range(n):
        assert {one["options"][position] for one in turned} == set(document["options"])
    assert all(gold(one) == gold(document) and one["origin"] == document["id"] for one in turned)
    assert len({one["id"] for one in turned}) == n


def test_shuffling_depends_on_document_and_seed_not_on_position() -> None:
    rows = [
        {"id": str(i), "letters": list("ABCDE"), "options": list("vwxyz"), "answer": "A", "question": "?"}
        for i in range(400)
    ]
    whole = {row["id"]: row for row in shuffle_documents(rows, 7)}
    assert {row["id"]: row for row in shuffle_documents(rows[100:200], 7)}.items() <= whole.items()
    assert list(shuffle_documents(rows, 8)) != list(whole.values())
    counts = Counter(row["answer"] for row in whole.values())
    # 400 draws among five letters: 80 each, standard deviation 8.
    assert all(48 <= counts[letter] <= 112 for letter in "ABCDE")


def test_only_permutations_are_accepted() -> None:
    with pytest.raises(ValueError, match="not a permutation"):
        permute_options({"letters": ["A", "B"], "options": ["a", "b"], "answer": "A"}, [0, 0])


def _rotated(name: str, n: int) -> list[dict[str, Any]]:
    return list(
        rotations({"id": name, "letters": list("ABCDE")[:n], "options": list("vwxyz")[:n], "answer": "A"})
    )


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1.0, 1.0, 1.0], True),
        ([1.0, 1.0, 0.0], False),
        ([0.0, 1.0, 1.0], False),
        ([0.0, 0.0, 0.0], False),
        ([1.0, None, 1.0], False),
        ([None, None, None], False),
        ([float("nan"), 1.0, 1.0], False),
        ([1.0, 1.0, 0.5], False),
        ([True, True, True], True),
        ([1, 1, 1], True),
    ],
)
def test_a_question_counts_only_when_every_rotation_is_right(
    scores: list[float | None], expected: bool
) -> None:
    assert right_in_every_rotation(_rotated("a", 3), scores) == {"a": expected}
    # Another question beside it changes nothing, in whatever order the rotations come.
    documents, all_scores = [*_rotated("a", 3), *_rotated("b@x", 2)], [*scores, 1.0, 1.0]
    for order in ([0, 3, 1, 4, 2], [4, 3, 2, 1, 0]):
        found = right_in_every_rotation([documents[i] for i in order], [all_scores[i] for i in order])
        assert found == {"a": expected, "b@x": True}


def test_a_question_of_which_a_rotation_is_lacking_is_left_out() -> None:
    documents = [*_rotated("a", 4)[:3], *_rotated("b", 2)]
    assert right_in_every_rotation(documents, [1.0] * 5) == {"b": True}
    assert right_in_every_rotation([{"id": "c", "options": ["x"]}], [1.0]) == {}
    assert right_in_every_rotation([], []) == {}


def test_modes_reach_exams_and_leave_the_rest_alone() -> None:
    plain = load(dataset="medqa_us", data_source="samples")
    circular = load(dataset="medqa_us", data_source="samples", circular=True)
    assert len(circular["test"]) == sum(len(options) for options in plain["test"]["options"])
    assert circular["dev"]["id"] == plain["dev"]["id"]
    shuffled = load(dataset="medqa_us", data_source="samples", shuffle_options=3)
    assert shuffled["test"]["options"] != plain["test"]["options"]
    extraction = load(dataset="promptcblue_cmeie", data_source="samples")
    changed = load(dataset="promptcblue_cmeie", data_source="samples", circular=True, shuffle_options=3)
    assert changed["test"].to_list() == extraction["test"].to_list()


def test_circular_documents_keep_their_order() -> None:
    rows = [
        {"id": name, "letters": ["A", "B"], "options": ["x", "y"], "answer": "B", "question": "?"}
        for name in "pq"
    ]
    assert [row["id"] for row in circular_documents(rows)] == ["p@0", "p@1", "q@0", "q@1"]
