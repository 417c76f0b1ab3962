"""A checkpoint's chat template is text from strangers: it reaches neither globals nor the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from medbench.errors import ModelError
from medbench.models import load_tokenizer
from medbench.models.checkpoints.chat import render_chat
from tests.models import made_checkpoints as cp
from tests.models.made_checkpoints import BASES
from tests.models.tokenizers import write_tokenizer

CHAT = [{"role": "user", "content": "hello {{ 7 * 7 }}"}]


@pytest.mark.parametrize(
    "template",
    [
        "{{ lipsum.__globals__.os.environ.MEDBENCH_TEST_SECRET }}",
        "{{ lipsum.__globals__['os'].popen('env').read() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ [lipsum] | map(attribute='__globals__') | list }}",
        "{{ [lipsum] | join('', '__globals__.os.environ.MEDBENCH_TEST_SECRET') }}",
        "{{ lipsum | attr('__globals__') }}",
        "{{ '{0.__globals__}'.format(lipsum) }}",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages[0].content.__class__.__base__ }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{% include '/etc/passwd' %}",
        "{% set x = messages.append(1) %}",
    ],
)
def test_a_chat_template_reaches_nothing(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDBENCH_TEST_SECRET", "not-for-any-prompt")
    folder = cp.write_merged(tmp_path / "model", BASES["qwen2"])
    write_tokenizer(folder)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    tokenizer = load_tokenizer(folder)
    try:
        text = render_chat(tokenizer, CHAT, add_generation_prompt=True)
    except (ModelError, TypeError):
        return
    assert "not-for-any-prompt" not in text
    assert not any(mark in text for mark in ("<class", "<function", "environ"))


def test_messages_are_never_rendered(tmp_path: Path) -> None:
    folder = cp.write_merged(tmp_path / "model", BASES["qwen2"])
    write_tokenizer(folder)
    text = render_chat(load_tokenizer(folder), CHAT, add_generation_prompt=True, system_prompt="{{ 8 * 8 }}")
    assert "{{ 7 * 7 }}" in text
    assert "{{ 8 * 8 }}" in text
