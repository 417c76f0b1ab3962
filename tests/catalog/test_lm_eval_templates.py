"""Every template of the tasks that come with lm-eval passes, and renders in the sandbox as it does there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from medbench.catalog.sandbox import TemplateSandbox, template_fault

# Files beside the YAMLs that are no definitions.
_OTHER = frozenset({".csv", ".json", ".jsonl", ".md", ".png", ".py", ".pyc", ".sh", ".txt"})


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads what is no function."""


_Loader.add_multi_constructor("", lambda _loader, _suffix, _node: None)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _templates() -> set[str]:
    import lm_eval

    found: set[str] = set()
    for path in (Path(lm_eval.__file__).parent / "tasks").rglob("*"):
        if path.suffix in _OTHER or not path.is_file():
            continue
        try:
            content = yaml.load(path.read_bytes(), Loader=_Loader)
        except yaml.YAMLError:
            continue
        found |= {text for text in _texts(content) if "{{" in text or "{%" in text}
    return found


def _value(chance: random.Random) -> Any:
    text = f"It's a {chance.choice(['x', 'yes', 'B', chr(10)])} [SEP] y"
    mapping = {"text": [text] * 4, "label": ["A", "B", "C", "D"], "stem": text, "choices": [text] * 2}
    return chance.choice([text, chance.randrange(4), [text, "A", "B", "C"], mapping])


def _outcome(environment: Any, template: str, document: dict[str, Any]) -> str:
    try:
        return str(environment.from_string(template).render(**document))
    except Exception as error:  # noqa: BLE001 a document without what the template reads fails in both alike
        return f"{type(error).__name__}: {error}"


@pytest.mark.slow
def test_every_template_of_lm_eval_passes_and_renders_alike() -> None:
    from jinja2 import meta
    from lm_eval.utils import env

    chance, own, templates = random.Random(0), TemplateSandbox(), sorted(_templates())
    assert len(templates) > 1_500
    assert [text for text in templates if template_fault(text)] == []
    rendered = 0
    for text in templates:
        names = meta.find_undeclared_variables(env.parse(text)) - {"range"}
        for _ in range(3):
            document = {name: _value(chance) for name in names}
            outcome = _outcome(env, text, document)
            assert _outcome(own, text, document) == outcome
            rendered += "Error" not in outcome
    assert rendered > 3_000
