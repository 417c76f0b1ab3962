"""Templates from outside reach their document only, do bounded work, and else render as in lm-eval."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import jinja2
import pytest

from medbench.catalog import budget, sandbox
from medbench.catalog.sandbox import TemplateSandbox, template_fault
from medbench.errors import CatalogError
from tests.catalog.escapes import DOCUMENT, SECRET, SECRET_VARIABLE, bombs, escapes
from tests.catalog.ordinary import DOCUMENTS, ORDINARY

ESCAPES = list(dict.fromkeys(escapes()))
# How Python shows what is no value of a document.
MACHINERY = (
    "<class",
    "<function",
    "<module",
    "<bound",
    "<built-in",
    "<method",
    " at 0x",
    "<slot",
    "environ(",
)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)


@pytest.fixture
def unjudged(monkeypatch: pytest.MonkeyPatch) -> TemplateSandbox:
    """A sandbox that is not told what templates consist of, so that rendering alone must hold."""

    def none(_: Any) -> Iterator[str]:
        return iter(())

    monkeypatch.setattr(sandbox, "template_faults", none)
    return TemplateSandbox()


def rendered(environment: TemplateSandbox, template: str) -> str:
    """The text of a template, empty where it is refused or fails."""
    document = copy.deepcopy(DOCUMENT)
    try:
        text = environment.from_string(template).render(**document)
    except (CatalogError, jinja2.TemplateError, TypeError, ValueError, RecursionError, KeyError):
        text = ""
    assert document == DOCUMENT, "a template changed its document"
    return text


def test_there_are_hundreds_of_ways_out() -> None:
    assert len(ESCAPES) > 900


@pytest.mark.parametrize("start", range(0, len(ESCAPES), 100))
def test_escapes_are_refused_before_anything_is_rendered(start: int) -> None:
    for template in ESCAPES[start : start + 100]:
        if template_fault(template) is None:
            # What is left reads plain names and keys, of which there are none.
            text = rendered(TemplateSandbox(), template)
            assert not any(mark in text for mark in (*MACHINERY, SECRET, "root:")), template


@pytest.mark.parametrize("start", range(0, len(ESCAPES), 100))
def test_escapes_reach_nothing_when_rendered_all_the_same(start: int, unjudged: TemplateSandbox) -> None:
    for template in ESCAPES[start : start + 100]:
        text = rendered(unjudged, template)
        assert not any(mark in text for mark in (*MACHINERY, SECRET, "root:")), template


def test_most_escapes_have_a_reason() -> None:
    unjustified = [template for template in ESCAPES if template_fault(template) is None]
    assert len(unjustified) < 60, unjustified


def test_plain_jinja_would_give_the_secret_away() -> None:
    """The escapes are real: lm-eval's own environment prints the secret for some of them."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    told = 0
    for template in ESCAPES:
        if SECRET_VARIABLE in template:
            try:
                told += SECRET in environment.from_string(template).render(**DOCUMENT)
            except (jinja2.TemplateError, TypeError):
                continue
    assert told >= 6


@pytest.mark.parametrize("template", bombs(), ids=range(len(bombs())))
def test_bombs_are_refused(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_WORK", budget._WORK // 10)  # the same sooner
    with pytest.raises(CatalogError) as caught:
        TemplateSandbox().from_string(template).render(**DOCUMENT)
    assert "the template" in str(caught.value)
    assert "--allow-code" in str(caught.value)


def test_bombs_are_bounded_when_rendered_all_the_same(
    unjudged: TemplateSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_WORK", budget._WORK // 10)
    for template in bombs():
        assert len(rendered(unjudged, template)) < 1_000_000, template[:100]


def test_the_whole_budget_can_be_spent() -> None:
    own = TemplateSandbox()
    for template in (bombs()[16], bombs()[17], bombs()[22]):
        with pytest.raises(CatalogError):
            own.from_string(template).render(**DOCUMENT)


@pytest.mark.parametrize("template", ORDINARY)
def test_ordinary_templates_render_as_in_lm_eval(template: str) -> None:
    lm_eval_utils = pytest.importorskip("lm_eval.utils")
    assert template_fault(template) is None
    own = TemplateSandbox()
    texts = 0
    for document in DOCUMENTS:
        try:
            expected = lm_eval_utils.env.from_string(template).render(**document)
        except jinja2.UndefinedError:
            continue
        texts += 1
        assert own.from_string(template).render(**document) == expected
    assert texts, "no document has the columns"


def test_values_are_never_templates() -> None:
    own = TemplateSandbox()
    nasty = "{{ 7 * 7 }}{% for i in range(9) %}{{ i }}{% endfor %}{{ question.__class__ }}"
    for template in ("{{ x }}", "{{ x | trim }}", "{{ [x] | join }}", "{{ x ~ '' }}", "{{ {'k': x}.k }}"):
        assert own.from_string(template).render(x=nasty) == nasty


def test_a_missing_column_is_named() -> None:
    with pytest.raises(jinja2.UndefinedError, match="questoin"):
        TemplateSandbox().from_string("{{ questoin }}").render(**DOCUMENT)
    with pytest.raises(jinja2.UndefinedError, match="strip"):
        TemplateSandbox().from_string("{{ gold.strip() }}").render(**DOCUMENT)


def test_a_refusal_names_the_template() -> None:
    with pytest.raises(CatalogError) as caught:
        TemplateSandbox().from_string("Question: {{ question * 1000000000 }}").render(**DOCUMENT)
    assert "more work" in caught.value.what
    assert "Question: {{ question" in str(caught.value.where)


def test_large_documents_have_room() -> None:
    passage = "word " * 400_000
    own = TemplateSandbox()
    text = own.from_string("{{ passage.strip() }}{% for x in many %}{{ loop.index }}. {{ x }}\n{% endfor %}")
    assert len(text.render(passage=passage, many=["x" * 20] * 5_000)) > 2_000_000
