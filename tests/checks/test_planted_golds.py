"""Wrong golds, options and prompts, planted in sound exam tasks, are found; ordinary wordings are not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from medbench.checks import Finding, check_tasks
from tests.checks.exam_planting import (
    OPTIONS,
    Plant,
    added,
    choices,
    copies,
    document,
    each,
    every,
    listed,
    target,
    text,
)

# What is planted where, and the code under which it is found.
GOLDS = [
    ("choose", target("0"), "constant-template"),
    ("choose", target("2"), "constant-template"),
    ("choose", target('"{{letters[0]}}"'), "wrong-gold"),
    ("choose", target('"{{letters[-1]}}"'), "wrong-gold"),
    ("choose", target("A"), "constant-template"),
    ("choose", target("[0, 1]"), "constant-template"),
    ("choose", target("no"), "constant-template"),
    ("choose", target('"{{(letters.index(answer) + 1) % 4}}"'), "wrong-gold"),
    ("choose", target('"{{letters.index(answer) + 1}}"'), "wrong-gold"),
    ("choose", target('"{{letters.index(answer) - 1}}"'), "wrong-gold"),
    ("choose", target('"{{letters[3 - letters.index(answer)]}}"'), "wrong-gold"),
    ("choose", target('"{{answer | lower}}"'), "wrong-gold"),
    ("choose", target('"{{answer}} "'), "wrong-gold"),
    ("choose", target('"{{answer}}."'), "wrong-gold"),
    ("choose", target('"({{answer}})"'), "wrong-gold"),
    ("choose", target('"{{options[letters.index(answer)]}}"'), "wrong-gold"),
    ("choose", target("question"), "wrong-gold"),
    ("choose", target("id"), "wrong-gold"),
    ("choose", target("subject"), "wrong-gold"),
    ("choose", target('"{{answer}}{{letters[0]}}"'), "wrong-gold"),
    ("choose", target('"[{{letters.index(answer)}}, 0]"'), "wrong-gold"),
    ("words", target('"{{options[0]}}"'), "wrong-gold"),
    ("words", target("answer"), "wrong-gold"),
    ("words", target('"{{options[letters.index(answer)]}}"'), "misread-target"),
    ("words", target('"{{2 - letters.index(answer)}}"'), "wrong-gold"),
    ("words", target("1"), "constant-template"),
    ("direct", target('"{{letters[1]}}"'), "wrong-gold"),
    ("direct", target('"{{options[0]}}"'), "wrong-gold"),
    ("direct", target("language"), "wrong-gold"),
    ("direct", target("3"), "constant-template"),
    ("reason", target('"答案为{{letters[0]}}"'), "wrong-gold"),
    ("reason", target("question"), "wrong-gold"),
    ("several", target('"{{answer[:1]}}"'), "wrong-gold"),
    ("several", target('"{{letters | join}}"'), "wrong-gold"),
    ("explain", target('"{{letters[0]}}"'), "wrong-gold"),
    ("choose", document(2, answer="AB"), "any-of-gold"),
    ("choose", document(1, answer="b."), "faulty-documents"),
    ("choose", document(1, answer=None), "unscored-document"),
    ("choose", document(0, rationale="Answer: A. Because."), "faulty-documents"),
]

CHOICES = [
    ("choose", choices('"{{letters[:-1]}}"'), "wrong-gold"),
    ("choose", choices('["A", "B", "C", "D", "E"]'), "choices-mismatch"),
    ("choose", choices('["B", "C", "D"]'), "wrong-gold"),
    ("choose", choices('[" A", " B", " C", " D"]'), "wrong-gold"),
    ("choose", choices("[no, yes, on, off]"), "truth-value"),
    ("choose", choices("question"), "wrong-gold"),
    ("words", text("doc_to_choice: options", 'doc_to_choice: "{{options[::-1]}}"'), "wrong-gold"),
    ("words", text("doc_to_choice: options", 'doc_to_choice: "{{options[:2]}}"'), "wrong-gold"),
    ("choose", document(3, options=["x", "y", "x", "z"], answer="B"), "repeated-option"),
    ("direct", document(0, options=["Iron", "zinc", "iron ", "gold"], answer="B"), "repeated-option"),
    ("choose", document(0, options=["a", "b", None, "d"]), "faulty-documents"),
    ("choose", document(3, options=["ABC 1", "ＡＢＣ １", "c", "d"], answer="C"), "repeated-option"),
    (
        "choose",
        every(lambda row: {"options": [f"{a}. {b}" for a, b in zip("ABCD", row["options"], strict=True)]}),  # type: ignore[call-overload]
        "lettered-options",
    ),
]

PROMPTS = [
    (
        "choose",
        listed("{% for option in options | reverse %}{{letters[loop.index0]}}. {{option}}\\n{% endfor %}"),
        "option-letter",
    ),
    (
        "choose",
        listed("{% for option in options | sort %}{{letters[loop.index0]}}. {{option}}\\n{% endfor %}"),
        "option-letter",
    ),
    ("choose", listed(""), "option-missing"),
    ("choose", listed("{{options[:3] | join(', ')}}\\n"), "option-missing"),
    (
        "choose",
        listed("{% for option in options[1:] %}{{letters[loop.index0]}}. {{option}}\\n{% endfor %}"),
        "option-missing",
    ),
    (
        "choose",
        each("{{letters[loop.index0]}}. {{option[:6]}}\\n"),
        "option-missing",
    ),
    ("choose", each("- {{option}}\\n"), "option-letter"),
    ("choose", each("A. {{option}}\\n"), "option-letter"),
    (
        "choose",
        each("{{loop.index}}. {{option}}\\n"),
        "option-letter",
    ),
    ("choose", listed("{{letters | join(' ')}}\\n{{options | join('; ')}}\\n"), "option-letter"),
    (
        "choose",
        listed(
            "{% for option in options | reverse %}{{letters[3 - loop.index0]}}. {{option}}\\n{% endfor %}"
        ),
        "option-order",
    ),
    ("choose", listed(before="Choose."), "question-missing"),
    ("choose", listed(before="{question}"), "question-missing"),
    ("choose", listed(before="{{question[:40]}}"), "question-missing"),
    ("words", text("Abstract: {{context}}\n", "Abstract:\n"), "context-missing"),
    ("choose", listed(end="Answer: {{answer}}"), "answer-in-prompt"),
    ("choose", listed(end="Hint: {{options[letters.index(answer)]}}\\nAnswer:"), "answer-in-prompt"),
    ("choose", listed(end="{{rationale}}\\nAnswer:"), "answer-in-prompt"),
    (
        "choose",
        each("{{letters[loop.index0]}}. {{option}}{{ '*' if letters[loop.index0] in answer else '' }}\\n"),
        "answer-in-prompt",
    ),
    ("direct", listed(end="The answer is not {{ 'A' if answer != 'A' else 'B' }}."), "answer-in-prompt"),
    ("several", listed(end="正确选项：{{answer[0]}}……"), "answer-in-prompt"),
    ("explain", listed(end="Explain: {{rationale[:50]}}"), "answer-in-prompt"),
    ("choose", added('description: "Answer {{answer}}. "'), "answer-in-prompt"),
    ("direct", added('gen_prefix: "{{answer}}"'), "answer-in-prompt"),
    ("choose", choices('"{{ [answer] + letters[1:] }}"'), "answer-in-prompt"),
    ("choose", document(0, question="Which drug first? Answer: C"), "answer-in-prompt"),
    ("reason", document(0, question="测量血压时，袖带过窄会使测得的血压值（答案：A）"), "answer-in-prompt"),
    ("choose", listed(end="Answer: "), "trailing-blank"),
    ("choose", listed(end="Answer:\\t"), "trailing-blank"),
    ("several", listed(end="答案：\u3000"), "trailing-blank"),
    ("direct", listed(""), "option-missing"),
    (
        "reason",
        each("{{letters[-loop.index]}}. {{option}}\\n", end="答案为"),
        "option-letter",
    ),
    ("several", listed("{{options | join('；')}}", end="答案："), "option-letter"),
    ("several", listed(end="共{{answer | length}}个正确。答案："), "answer-in-prompt"),
    ("several", listed(end="{% if answer | length > 3 %}多选{% endif %}答案："), "answer-in-prompt"),
    (
        "choose",
        listed(OPTIONS + OPTIONS.replace("in options", "in options | reverse")),
        "option-letter",
    ),
]

FAULTS = {
    f"{kind}_{number}": case
    for kind, cases in (("gold", GOLDS), ("choice", CHOICES), ("prompt", PROMPTS))
    for number, case in enumerate(cases)
}
ORDINARY: dict[str, tuple[str, Plant]] = {}
for number, case in enumerate(
    [
        ("choose", listed()),
        ("choose", target('"{{letters.index(answer)}}"')),
        ("choose", target('"{{answer}}"')),
        ("choose", choices('["A", "B", "C", "D"]')),
        ("choose", choices('"{{letters}}"')),
        ("choose", each("({{letters[loop.index0]}}) {{option}} ")),
        (
            "choose",
            each("{{letters[loop.index0]}}: {{option | trim}}; "),
        ),
        ("choose", each("{{option}} ({{letters[loop.index0]}})\\n")),
        (
            "choose",
            each("| {{letters[loop.index0]}} | {{option}} |\\n"),
        ),
        (
            "choose",
            each("Option {{letters[loop.index0]}}\\n{{option}}\\n"),
        ),
        (
            "choose",
            listed(
                "{% for o in options %}{{letters[loop.index0]}}. {{o[:1] | upper}}{{o[1:]}}\\n{% endfor %}"
            ),
        ),
        ("choose", listed(before="{{question | upper}}")),
        (
            "choose",
            listed(before="({{subject}}, {{options | length}} options) {{ question }}"),
        ),
        ("choose", listed(before="{% if answer | length > 1 %}Several. {% endif %}{{question}}")),
        ("choose", listed(end="Answer:\\n")),
        ("choose", listed(f"{OPTIONS}{{{{options | join(' / ')}}}}\\n")),
        ("several", listed(before="{% if answer | length > 1 %}多选。{% endif %}{{question}}", end="答案：")),
        ("choose", added('description: "You are a physician.\\n\\n"')),
        ("choose", added("fewshot_split: dev\nfewshot_config: {sampler: first_n}")),
        ("words", text("Abstract: {{context}}\n", "{{context.strip()}}\n")),
        ("words", target('"{{ [letters.index(answer)] | first }}"')),
        ("direct", target('"The answer is {{answer}}."')),
        ("direct", target('"{{options[letters.index(answer)]}}"')),
        ("reason", target('"答案为{{answer}}。"')),
        (
            "several",
            each("{{letters[loop.index0]}}、{{option}}\\n", end="答案："),
        ),
        ("several", target("\"{{answer | list | join('、')}}\"")),
    ]
):
    ORDINARY[f"ordinary_{number}"] = case


# A few of each kind are tried always, all of them where there is time.
FEW = [name for name in (*FAULTS, *ORDINARY) if name.endswith(("_0", "_12", "_23"))]


def check(folder: Path, names: Iterable[str]) -> dict[str, list[Finding]]:
    """What is found in copies of sound tasks with something planted, all checked at once."""
    every = {name: (like, plant) for name, (like, plant, _) in FAULTS.items()} | ORDINARY
    planted = copies(folder, {name: every[name] for name in names})
    report = check_tasks([planted])
    assert set(names) <= set(report.checked)
    found: dict[str, list[Finding]] = defaultdict(list)
    for finding in report.findings:
        found[finding.file.relative_to(planted).parts[0]].append(finding)
    return found


def judge(name: str, found: list[Finding]) -> None:
    if name in ORDINARY:
        assert found == []
    else:
        assert FAULTS[name][2] in {finding.code for finding in found}, "\n".join(map(str, found))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Finding]]:
    return check(tmp_path_factory.mktemp("few"), FEW)


@pytest.fixture(scope="module")
def all_of_them(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Finding]]:
    return check(tmp_path_factory.mktemp("all"), (*FAULTS, *ORDINARY))


@pytest.mark.parametrize("name", FEW)
def test_a_few_faults_are_found_and_wordings_are_not(name: str, few: dict[str, list[Finding]]) -> None:
    judge(name, few[name])


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_found(name: str, all_of_them: dict[str, list[Finding]]) -> None:
    judge(name, all_of_them[name])


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("name", ORDINARY)
def test_no_ordinary_wording_is_a_fault(name: str, all_of_them: dict[str, list[Finding]]) -> None:
    judge(name, all_of_them[name])
