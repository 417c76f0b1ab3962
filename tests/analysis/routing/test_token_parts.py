"""Template and content against comparing prompts token by token, and their counts against the tokens'."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medbench.analysis.routing.summary import expert_load, router_summary, task_similarity
from medbench.analysis.routing.token_metrics import repetition
from medbench.analysis.routing.token_parts import PARTS, part_routing, token_parts
from medbench.errors import AnalysisError
from tests.analysis.routing.token_factory import make_traces

_IDS = st.lists(st.integers(0, 2), max_size=5)
_PROMPTS = st.lists(
    st.tuples(st.tuples(st.sampled_from("ab"), st.integers(0, 2)), st.lists(st.integers(0, 2), max_size=6)),
    min_size=1,
    max_size=6,
)


def _slow_parts(prompts: list[list[int]]) -> list[list[str]]:
    """The parts of the prompts of one task: a border moves on while all prompts agree."""
    start = 0
    while all(start < len(prompt) and prompt[start] == prompts[0][start] for prompt in prompts):
        start += 1
    end = 0
    while all(end < len(prompt) - start and prompt[-1 - end] == prompts[0][-1 - end] for prompt in prompts):
        end += 1
    return [
        ["template" if t < start or t >= len(prompt) - end else "content" for t in range(len(prompt))]
        for prompt in prompts
    ]


@settings(max_examples=80, deadline=None)
@given(_PROMPTS, _IDS, _IDS, st.integers(0, 99))
def test_borders_and_counts_follow_from_comparing_prompts(
    bodies: list[tuple[tuple[str, int], list[int]]], head: list[int], tail: list[int], seed: int
) -> None:
    texts = [(label, 0, 0, [*head, *body, *tail, 9]) for label, body in bodies]
    texts += [(label, 1, 7, [1, 2]) for label, _ in bodies]
    traces = make_traces(texts, seed=seed)
    expected: list[str | None] = []
    of_task: dict[str, list[int]] = defaultdict(list)
    for place, (label, _) in enumerate(bodies):
        of_task[label[0]].append(place)
    parts: dict[int, list[str]] = {}
    for places in of_task.values():
        if len({bodies[place][0] for place in places}) > 1:
            slow = _slow_parts([list(texts[place][3]) for place in places])
            parts |= dict(zip(places, slow, strict=True))
    for place in range(len(bodies)):
        expected += parts.get(place) or [None] * len(texts[place][3])
    expected += ["generated"] * (2 * len(bodies))
    found = token_parts(traces)
    assert [PARTS[code] if code >= 0 else None for code in found.tolist()] == expected
    frame = part_routing(traces)
    owner = np.repeat(np.arange(len(texts)), np.diff(traces.offsets)).tolist()
    for row in frame.to_dict("records"):
        m, expert = ("gate", "up").index(row["projection"]), row["expert"]
        mine = [
            t
            for t, part in enumerate(expected)
            if part == row["phase"] and traces.documents[owner[t]] == (row["task"], row["document"])
        ]
        sets = [traces.choice[m, t].tolist() for t in mine]
        assert row["tokens"] == len(mine) > 0
        assert row["count"] == sum(expert in chosen for chosen in sets)
        assert row["top1"] == sum(expert == chosen[0] for chosen in sets)
        assert list(row["coactive"]) == [
            sum(expert in chosen and other in chosen for chosen in sets) for other in range(4)
        ]
        gates = [
            gate / 255
            for t, chosen in zip(mine, sets, strict=True)
            for one, gate in zip(chosen, traces.gate[m, t].tolist(), strict=True)
            if one == expert
        ]
        assert row["mass"] == pytest.approx(sum(gates))
    assert frame["tokens"].sum() == 8 * sum(part is not None for part in expected)


def test_template_and_content_of_two_groups_of_experts() -> None:
    # Three tokens of template choose experts 0 and 1, three of content 2 and 3.
    texts = [(("t", d), 0, 0, [10, 11, 20 + d, 40 + d, 60 + d, 12]) for d in range(8)]
    choice = np.tile([[0, 1], [0, 1], [2, 3], [2, 3], [2, 3], [0, 1]], (8, 1))
    frame = part_routing(make_traces(texts, choice=choice)).assign(model="m", run="")
    load = expert_load(frame, ["phase"]).set_index(["phase", "expert"])["rate"]
    assert load.loc["template"].tolist() == [1, 1, 0, 0]
    assert load.loc["content"].tolist() == [0, 0, 1, 1]
    summary = router_summary(frame, ["phase"]).set_index(["phase", "metric"])
    assert summary.loc[("content", "effective_experts"), "value"] == pytest.approx(2)
    assert summary.loc[("content", "dead_experts"), "value"] == 2
    assert summary["value"].isna().loc[("content", "token_entropy")]
    alike = task_similarity(frame.assign(task=frame["phase"]))
    pair = alike[alike["task"] != alike["other"]].iloc[0]
    assert pair["similarity"] == pytest.approx(0)
    assert pair["split_half"] == pytest.approx(1)


def test_one_document_says_nothing() -> None:
    with pytest.raises(AnalysisError, match="cannot be told apart"):
        part_routing(make_traces([(("t", 0), 0, 0, [1, 2, 3])]))


def test_what_a_second_pass_appends_is_template() -> None:
    texts = [(("t", d), 0, 0, [1, 5 + d, 2]) for d in range(2)]
    texts += [(("t", d), 0, 40, [7, 8]) for d in range(2)]
    assert token_parts(make_traces(texts)).tolist() == [0, 1, 0, 0, 1, 0, 0, 0, 0, 0]


def test_repetition_keeps_phases_and_pieces_apart() -> None:
    texts = [(("t", 0), 0, 0, [1, 2]), (("t", 0), 1, 2, [3, 4, 5]), (("t", 0), 1, 2, [6])]
    choice = [[0, 1], [2, 3], [2, 3], [2, 3], [3, 2], [3, 2]]
    found = repetition(make_traces(texts, choice=choice)).set_index(["phase", "projection", "metric"])
    values, pairs = found["value"].to_dict(), found["pairs"].to_dict()
    assert (values["prompt", "gate", "any"], pairs["prompt", "gate", "any"]) == (0, 1)
    # The option of one token has no neighbor; neither has the first generated token.
    assert (values["generated", "gate", "any"], pairs["generated", "gate", "any"]) == (1, 2)
    assert values["generated", "up", "top1"] == 0.5
    assert found["chance"].to_dict()["generated", "up", "top1"] == 0.25
