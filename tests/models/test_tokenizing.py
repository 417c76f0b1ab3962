"""Whose tokenizer a checkpoint uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medbench.errors import ModelError
from medbench.models import convert, load_tokenizer
from tests.models import checkpoints as cp
from tests.models.checkpoints import BASES, Source
from tests.models.tokenizers import CHAT_TEMPLATE, write_tokenizer


def test_an_adapter_uses_its_bases(adapter: Source) -> None:
    assert adapter.base is not None
    write_tokenizer(adapter.base)
    tokenizer: Any = load_tokenizer(*adapter)
    assert tokenizer.chat_template == CHAT_TEMPLATE
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("a bc")) == ["▁", "a", "▁", "b", "c"]
    with pytest.raises(ModelError, match="an adapter needs its base model"):
        load_tokenizer(adapter.path)
    # Without experts it is an adapter of PEFT, and its base is no other.
    (adapter.path / "non_lora_trainables.bin").unlink()
    (adapter.path / "config.json").unlink()
    assert load_tokenizer(*adapter).get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("layout", ["merged", "plain", "converted"])
def test_every_other_layout_uses_its_own(tmp_path: Path, layout: str) -> None:
    if layout == "plain":
        folder = cp.write_base(tmp_path / "c", BASES["qwen2"])
    else:
        folder = cp.write_merged(tmp_path / "c", BASES["qwen2"])
    write_tokenizer(folder)
    if layout == "converted":
        folder = convert(folder, tmp_path / "converted")
    tokenizer: Any = load_tokenizer(folder)
    assert tokenizer.convert_tokens_to_ids("c") == 6
    assert tokenizer.eos_token_id == 2


def test_a_checkpoint_without_a_tokenizer(merged: Source) -> None:
    with pytest.raises(ModelError, match="no tokenizer in the checkpoint"):
        load_tokenizer(merged.path)


def test_a_damaged_tokenizer(merged: Source) -> None:
    write_tokenizer(merged.path)
    (merged.path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="the tokenizer cannot be read"):
        load_tokenizer(merged.path)


def test_no_code_of_the_checkpoints_runs(merged: Source) -> None:
    write_tokenizer(merged.path)
    trace = merged.path / "trace"
    (merged.path / "evil.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Evil: pass\n")
    cp.edit_json(
        merged.path / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]},
        tokenizer_class="Evil",
    )
    load_tokenizer(merged.path)
    assert not trace.exists()
    (merged.path / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="the tokenizer cannot be read"):
        load_tokenizer(merged.path)
    assert not trace.exists()
