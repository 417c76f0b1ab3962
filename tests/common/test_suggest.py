"""Suggestions name what was probably meant."""

from __future__ import annotations

from typing import Any

import pytest

from medbench.common.suggest import nearest, suggestion

KNOWN = ["ceval_med", "cmmlu_med", "medqa_zh", "medqa_en", "pubmedqa"]


@pytest.mark.parametrize(
    ("name", "n", "expected"),
    [
        ("ceval_me", 1, "ceval_med"),
        ("cevalmed", 1, "ceval_med"),
        ("CEVAL", 1, ""),
        ("medqa_", 2, ["medqa_en", "medqa_zh"]),
        ("medqa_z", 1, "medqa_zh"),
        ("pubmed_qa", 3, "pubmedqa"),
        ("pubmedqa", 1, "pubmedqa"),
        ("x", 3, ""),
        ("", 3, ""),
        ("cmmlu", 1, "cmmlu_med"),
    ],
)
def test_the_nearest_names_are_listed(name: str, n: int, expected: str | list[str]) -> None:
    found = nearest(name, KNOWN, n=n)
    assert found == expected if isinstance(expected, str) else sorted(found.split(" or ")) == expected


def test_nothing_is_near_where_nothing_is_known() -> None:
    assert nearest("medqa", []) == ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("acc_min", "did you mean 'acc_ming'?"),
        ("xyz", "there are acc, acc_ming"),
        (5, "there are acc, acc_ming"),
    ],
)
def test_a_suggestion_lists_all_where_none_is_near(name: Any, expected: str) -> None:
    assert suggestion(name, ["acc", "acc_ming"], "there are") == expected
