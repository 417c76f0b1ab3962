"""Whose tokenizer a checkpoint uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medbench.errors import ModelError
from medbench.models import convert, load_tokenizer
from tests.models import made_checkpoints as cp
from tests.models.made_checkpoints import BASES, Source
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


def _pieces(folder: Path) -> Any:
    """Train a tiny model of SentencePiece into a folder, as Llama's first generation has it."""
    sentencepiece: Any = pytest.importorskip("sentencepiece")
    folder.mkdir()
    text = folder / "text"
    text.write_text(
        "\n".join(["which drug lowers blood pressure", "高血压 用药", "a b c A B C"] * 20), encoding="utf-8"
    )
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "tokenizer"), vocab_size=48, hard_vocab_limit=False,
        character_coverage=1.0, unk_id=0, bos_id=1, eos_id=2, byte_fallback=False, minloglevel=2,
    )  # fmt: skip
    cp.write_json(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", "legacy": True})
    cp.write_json(folder / "config.json", {**BASES["llama"], "vocab_size": 48})
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


@pytest.mark.parametrize(
    "text", ["which drug", "高血压 用药", "a b", "A", "lowers blood", " B c", "drug高血压"]
)
def test_a_tokenizer_of_sentencepiece_gives_its_pieces(tmp_path: Path, text: str) -> None:
    own = _pieces(tmp_path / "c")
    tokenizer: Any = load_tokenizer(tmp_path / "c")
    assert tokenizer(text, add_special_tokens=False).input_ids == own.encode(text)


def test_without_the_package_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cp.write_base(tmp_path / "c", BASES["llama"])
    (folder / "tokenizer.model").write_bytes(b"\x0e")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ModelError, match=r"tokenizer.model.*needs the package sentencepiece[\s\S]*medbench\[sent"
    ):
        load_tokenizer(folder)


def test_a_tokenizer_alone_can_be_named(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "only")
    tokenizer: Any = load_tokenizer(tmp_path / "only")
    assert tokenizer.eos_token_id == 2


@pytest.mark.parametrize(
    ("model_type", "kind"),
    [
        ("llama", "LlamaTokenizer"),
        ("llama", "LlamaTokenizerFast"),
        ("qwen2", "Qwen2Tokenizer"),
        ("qwen2", None),
        ("gpt2", "GPT2Tokenizer"),
        ("gpt2", None),
        ("mamba", None),
        ("gpt_neox", "GPTNeoXTokenizerFast"),
        ("bloom", "BloomTokenizer"),
        ("gemma", "GemmaTokenizer"),
        ("cohere", None),
        ("bert", "BertTokenizer"),
    ],
)
def test_settings_without_a_vocabulary_make_no_tokenizer(
    tmp_path: Path, model_type: str, kind: str | None
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
    settings = {} if kind is None else {"tokenizer_class": kind}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ModelError, match="tokenizer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("file", ["chat_template.jinja", "special_tokens_map.json", "added_tokens.json"])
def test_what_belongs_to_a_tokenizer_is_none(tmp_path: Path, file: str) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}', encoding="utf-8")
    (tmp_path / file).write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="no tokenizer in the checkpoint"):
        load_tokenizer(tmp_path)


def test_bytes_need_no_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5"}', encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}', encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.decode(tokenizer("medicine", add_special_tokens=False)["input_ids"]) == "medicine"
