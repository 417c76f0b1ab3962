"""A gold that lm-eval would count as wrong for every model is refused before any model is asked."""

from __future__ import annotations

from typing import Any

import pytest

from medbench.runs.golds import GoldError, letters_of_choices
from tests.runs.building import ABCD, EXAM, exam, make, settle


def lm_eval_accuracy(task: Any, doc: dict[str, Any], chosen: int) -> float:
    """What lm-eval scores where a model finds a choice the likeliest."""
    results = [(0.0 if index == chosen else -9.0, False) for index in range(len(task.doc_to_choice(doc)))]
    return float(task.process_results(doc, results)["acc"])


OWN: dict[str, Any] = {"doc_to_choice": "choices"}
RENDERED = {"doc_to_choice": "choices", "doc_to_target": "{{answer}}"}
LABEL: dict[str, Any] = {"doc_to_target": "label"}
# What is wrong, the values of the row, the keys of the task, and which choice the row means.
SILENT: list[tuple[str, dict[str, Any], dict[str, Any], int]] = [
    ("lower case", {"answer": "b"}, {}, 1),
    ("trailing blank", {"answer": "B "}, {}, 1),
    ("leading blank", {"answer": " B"}, {}, 1),
    ("in brackets", {"answer": "(B)"}, {}, 1),
    ("with a stop", {"answer": "B."}, {}, 1),
    ("full width", {"answer": "\uff22"}, {}, 1),
    ("Cyrillic", {"answer": "\u0412"}, {}, 1),
    ("several letters", {"answer": "AB"}, {}, 0),
    ("empty", {"answer": ""}, {}, 0),
    ("text of the option", {"answer": "beta"}, {}, 1),
    ("outside the letters", {"answer": "E"}, {}, 3),
    ("counted from 1", {"label": 4}, LABEL, 3),
    ("minus one", {"label": -1}, LABEL, 3),
    ("digits rendered", {"answer": "2", "choices": ["1", "2", "3"]}, RENDERED, 1),
    ("digits rendered, moved", {"answer": "0", "choices": ["1", "0"]}, RENDERED, 1),
    ("digits beyond the choices", {"answer": "20", "choices": ["10", "20"]}, RENDERED, 1),
]


@pytest.mark.parametrize(
    ("values", "config", "meant"), [case[1:] for case in SILENT], ids=[case[0] for case in SILENT]
)
def test_a_gold_for_which_lm_eval_scores_zero_is_refused(
    values: dict[str, Any], config: dict[str, Any], meant: int
) -> None:
    sound = {"id": "sound", "question": "q", "answer": "A", "label": 0, "choices": ABCD}
    task = make([sound, {**sound, "id": "row 7", **values}], **config)
    doc = list(task.eval_docs)[1]
    assert lm_eval_accuracy(task, doc, meant) == 0.0
    with pytest.raises(
        GoldError, match=r"the gold of 1 of 2 documents cannot be scored: 'row 7': "
    ) as caught:
        settle(task)
    assert (caught.value.exit_status, caught.value.where) == (2, "own")


LOUD = [
    ({"answer": None}, {}, "its gold is null"),
    ({"label": None}, LABEL, "its gold is null"),
    ({"answer": None}, {"doc_to_target": "{{answer}}"}, "'None' is none of the choices"),
    ({}, {"doc_to_target": "{{anwser}}"}, "UndefinedError"),
    ({}, {"doc_to_target": "{{choices[9]}}"}, "UndefinedError"),
    ({}, {"doc_to_choice": [False, True, "C", "D"], "doc_to_target": 2}, "YAML reads no, yes"),
    ({"label": 1.5}, LABEL, "its gold 1.5 is neither a choice nor"),
    ({"label": 1.0}, LABEL, "its gold 1.0 is neither a choice nor"),
    ({"answer": "[1]", "choices": ["[1]", "[0]"]}, RENDERED, "a list unlike that of the first"),
    ({"choices": []}, OWN | LABEL, "expected a list of texts"),
    ({"choices": ["", "x"]}, OWN | LABEL, "its choice 1 is ''"),
    ({"golds": ["A"]}, {"doc_to_target": "golds"}, "a list unlike that of the first"),
    ({"answer": None}, {"output_type": "loglikelihood", "doc_to_choice": None}, "its gold is null"),
    (
        {"answer": None},
        {
            "output_type": "generate_until",
            "doc_to_choice": None,
            "doc_to_target": "{{answer}}",
            "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        },
        "its gold is null",
    ),
    (
        {},
        {
            "output_type": "generate_until",
            "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        },
        "lm-eval needs a position",
    ),
    ({"question": "12"}, {"doc_to_text": "{{question}}"}, "its prompt is a number"),
]


@pytest.mark.parametrize(("values", "config", "message"), LOUD)
def test_a_gold_for_which_lm_eval_fails_after_all_the_work_is_refused_before_it(
    values: dict[str, Any], config: dict[str, Any], message: str
) -> None:
    sound = {"id": "1", "question": "q", "answer": "A", "label": 0, "choices": ABCD, "golds": []}
    task = make([sound, {**sound, **values, "id": "2"}])
    for key, value in config.items():
        setattr(task.config, key, value)
    task.OUTPUT_TYPE = task.config.output_type
    with pytest.raises(GoldError) as caught:
        settle(task)
    assert message in caught.value.what
    assert "'2': " in caught.value.what


SOUND: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"answer": "D"}, {}),
    ({"label": 3}, LABEL),
    ({"label": True, "choices": ["no", "yes"]}, OWN | LABEL),
    ({"label": 2}, {"doc_to_target": "{{label}}"}),
    ({"label": 2}, {"doc_to_target": 2}),
    ({"answer": "2", "choices": ["1", "2", "3"]}, OWN),
    ({"answer": "1", "choices": ["0", "1"]}, RENDERED),
    ({"answer": "1", "choices": ["no", "yes"]}, RENDERED),
    ({"answer": "[1]", "choices": ["[1]", "[0]"]}, OWN),
    ({"answer": "y", "choices": ["x", "y", "y"]}, OWN),
    ({"golds": [0, 2]}, {"doc_to_target": "golds"}),
    ({"answer": "A"}, {"doc_to_text": "{{question}}", "question": "q1"}),
    ({"answer": None}, {"doc_to_target": "{{ 'B' if answer is none else answer }}"}),
]


@pytest.mark.parametrize(("values", "config"), SOUND)
def test_golds_that_can_be_scored_are_left_alone(values: dict[str, Any], config: dict[str, Any]) -> None:
    sound = {"question": "q", "answer": "A", "label": 0, "choices": ABCD, "golds": [0]}
    rows = [sound, {**sound, **values}]
    if config.get("doc_to_choice") == "choices":
        rows[0] = {**rows[1]}
    task = make(rows, **{key: value for key, value in config.items() if key != "question"})
    assert len(settle(task)) == 2


def test_lists_of_right_choices_are_positions_throughout() -> None:
    def golds(*rows: Any) -> Any:
        return make([{"question": "q", "golds": row} for row in rows], doc_to_target="golds")

    assert len(settle(golds([0], [1, 3]))) == 2
    for rows, message in (
        (([0], []), "an empty list"),
        (([0], [4]), "position 4"),
        ((["A"], ["B"]), "no positions"),
    ):
        with pytest.raises(GoldError, match=message):
            settle(golds(*rows))
    task = golds([0], [1])
    task.config.doc_to_target = 1
    with pytest.raises(GoldError, match="no list unlike that of the first"):
        settle(task)


def test_the_second_of_two_choices_alike_is_never_the_likeliest() -> None:
    rows = [{"question": "q", "label": label, "choices": ["x", "y", "y"]} for label in (1, 2)]
    task = make(rows, **OWN, **LABEL)
    assert task.process_results(rows[1], [(-9.0, False), (0.0, True), (0.0, True)])["acc"] == 0.0
    with pytest.raises(GoldError, match=r"of 1 of 2 documents .*an earlier choice is the same"):
        settle(task)


def test_all_faulty_documents_are_counted_and_the_first_are_named() -> None:
    rows = [{"id": f"r{n}", "question": "q", "answer": "A" if n % 2 else "a"} for n in range(20)]
    with pytest.raises(GoldError) as caught:
        settle(make(rows))
    assert "the gold of 10 of 20 documents" in caught.value.what
    assert "'r0': " in caught.value.what
    assert "'r8': " in caught.value.what
    assert caught.value.what.endswith("; and 5 more")


def test_documents_beyond_the_limit_are_not_looked_at() -> None:
    rows = [{"id": f"r{n}", "question": "q", "answer": "A" if n < 5 else "a"} for n in range(20)]
    assert len(settle(make(rows), limit=5)) == 20
    with pytest.raises(GoldError, match="'r5'"):
        settle(make(rows), limit=6)


def test_a_task_that_scores_by_itself_is_left_alone() -> None:
    def own(doc: dict[str, Any], results: Any) -> dict[str, float]:
        return {"acc": 1.0}

    task = make([{"question": "q", "answer": "AB"}] * 2, process_results=own)
    assert len(settle(task)) == 2


CONTRADICTORY = [
    EXAM | {"doc_to_target": 0},
    EXAM | {"doc_to_target": "{{letters[0]}}"},
    EXAM | {"doc_to_target": "{{(letters.index(answer) + 1) % 4}}"},
    EXAM | {"doc_to_target": "{{letters.index(answer) + 1}}"},
    EXAM | {"doc_to_target": "{{letters[3 - letters.index(answer)]}}"},
    EXAM | {"doc_to_target": "{{options[letters.index(answer)]}}"},
    EXAM | {"doc_to_target": "{{answer | lower}}"},
    {"doc_to_choice": "{{letters[::-1]}}", "doc_to_target": "{{letters.index(answer)}}"},
    {"doc_to_choice": ["(a)", "(b)", "(c)", "(d)"], "doc_to_target": 0},
    {"doc_to_choice": "options", "doc_to_target": 0},
    {"doc_to_choice": "options", "doc_to_target": "{{options[0]}}"},
    {"doc_to_choice": "{{options | sort}}", "doc_to_target": "{{letters.index(answer)}}"},
    {
        "doc_to_choice": "{{ ['A. ' ~ options[0], '(B) ' ~ options[1], options[2], 'D) ' ~ options[3]] }}",
        "doc_to_target": 0,
    },
]


@pytest.mark.parametrize("config", CONTRADICTORY)
def test_what_an_exam_question_calls_right_is_what_a_task_takes_for_right(config: dict[str, Any]) -> None:
    rows = [exam(n, answer, "delta", "beta", "gamma", "alpha") for n, answer in enumerate("ACDB")]
    with pytest.raises(GoldError, match=r"but the document says|is none of the choices|but there are 4"):
        settle(make(rows, **config))


@pytest.mark.parametrize(
    "config",
    [
        EXAM,
        EXAM | {"doc_to_target": "{{answer}}"},
        EXAM | {"doc_to_target": "{{letters.index(answer)}}"},
        {"doc_to_choice": "{{letters[::-1]}}"},
        {"doc_to_choice": ["a", "b", "c", "d"], "doc_to_target": "{{answer | lower}}"},
        {"doc_to_choice": "options", "doc_to_target": "{{letters.index(answer)}}"},
        {"doc_to_choice": "{{options | sort}}", "doc_to_target": "{{options[letters.index(answer)]}}"},
        {"doc_to_choice": ["w", "x", "y", "z"], "doc_to_target": 1},
    ],
)
def test_targets_that_follow_the_answer_are_accepted(config: dict[str, Any]) -> None:
    rows = [exam(n, answer, "delta", "beta", "gamma", "alpha") for n, answer in enumerate("ACDB")]
    assert len(settle(make(rows, **config))) == 4


@pytest.mark.parametrize(
    "options", [list("1234"), list("3210"), ["10", "20", "30", "40"], ["[1]", "[2]", "[3]", "[0]"]]
)
@pytest.mark.parametrize("answer", ABCD)
def test_options_of_digits_are_scored_by_position(options: list[str], answer: str) -> None:
    task = make(
        [exam(0, "A"), exam(1, answer, *options)],
        doc_to_choice="options",
        doc_to_target="{{letters.index(answer)}}",
    )
    (_, doc) = settle(task)
    right = ABCD.index(answer)
    assert [lm_eval_accuracy(task, doc, chosen) for chosen in range(4)] == [
        float(c == right) for c in range(4)
    ]


@pytest.mark.parametrize(
    ("choices", "letters"),
    [
        (["A", "B"], ["A", "B"]),
        (["(a)", "(b)"], ["A", "B"]),
        (["B.", "A."], ["B", "A"]),
        (["yes", "no"], ["A", "B"]),
        (["no", "Yes"], ["B", "A"]),
        (["A. yes", "B. no"], ["A", "B"]),
        (["(A) no", "(B) yes"], ["B", "A"]),
        (["yes", "maybe"], None),
        (["A", "A"], None),
        (["1", "2"], None),
    ],
)
def test_letters_of_choices(choices: list[str], letters: list[str] | None) -> None:
    assert letters_of_choices(exam(0, "A", "yes", "no"), choices) == letters


def test_options_alike_stand_for_each_other() -> None:
    assert letters_of_choices(exam(0, "A", "x", "y", "x"), ["x", "y", "x"]) == ["AC", "B", "AC"]
