"""Model definitions: shipped ones, a person's YAML, a bare folder, and what is wrong with the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from medbench.catalog import find_model, list_models, read_model
from medbench.errors import CatalogError

SHIPPED = {
    "demo",
    "ming-1.8b",
    *(f"ming-moe-{size}" for size in ("1.8b", "4b", "7b", "14b")),
    *(f"qwen1.5-{size}-chat" for size in ("1.8b", "4b", "7b", "14b")),
}


def test_shipped_models_are_read() -> None:
    models = {model.model: model for model in list_models()}
    assert set(models) >= SHIPPED
    for size in ("1.8b", "4b", "7b", "14b"):
        model = models[f"ming-moe-{size}"]
        assert model.layout == "adapter"
        assert model.base == f"Qwen/Qwen1.5-{size.upper()}-Chat"
        assert model.path == f"BlueZeros/MING-MOE-{size.upper()}"


def test_the_demo_lies_in_the_package() -> None:
    import medbench

    assert Path(find_model("demo").path).is_relative_to(Path(medbench.__file__).parent)


def test_choices_replace_settings() -> None:
    model = find_model("demo", base="elsewhere", dtype="bfloat16", device="cpu")
    assert (model.base, model.dtype, model.device) == ("elsewhere", "bfloat16", "cpu")
    assert find_model("demo").dtype == "float32"


def test_a_folder_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "step-100").mkdir()
    model = find_model(str(tmp_path / "step-100"), base="org/base")
    assert (model.model, model.path, model.base) == ("step-100", str(tmp_path / "step-100"), "org/base")
    assert model.source is None


def test_paths_are_relative_to_the_yaml(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    path = tmp_path / "mine.yaml"
    path.write_text(
        "model: mine\npath: weights\nbase: ./base\nengine: {max_batch_tokens: 10}\n", encoding="utf-8"
    )
    model = find_model(str(path))
    assert model.path == str(tmp_path / "weights")
    assert model.base == str(tmp_path / "base")
    assert model.to_dict()["engine"] == {"max_batch_tokens": 10}


def test_hub_ids_stay(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: mine\npath: org/name\n", encoding="utf-8")
    assert read_model(path).path == "org/name"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: mine\npath: x\nlayuot: adapter\n", r"'layuot'[\s\S]*line 3[\s\S]*'layout'"),
        ("model: mine\n", "'path' is missing"),
        ("path: x\n", "'model' is missing"),
        ("model: mine\npath: x\nlayout: sideways\n", r"'layout' is 'sideways'[\s\S]*adapter[\s\S]*line 3"),
        ("model: mine\npath: x\ndtype: int3\n", "'dtype' is 'int3'"),
        ("model: mine\npath: [x]\n", r"'path' is \['x'\], expected text"),
        ("model: mine\npath: x\nrevision: 12\n", r"'revision' is 12, expected text[\s\S]*quotes"),
        (
            "model: mine\npath: x\nchat_template: maybe\n",
            "'chat_template' is 'maybe', expected true or",
        ),
        ("model: mine\npath: x\ndeterministic: 1\n", "'deterministic' is 1, expected true or false"),
        ("model: mine\npath: x\nengine: fast\n", "'engine' is 'fast', expected keys with values"),
        ("model: mine\npath: x\nengine: [max_batch_tokens]\n", "'engine' is "),
        ("model: mine\npath: x\n1: y\n", "unknown key 1"),
        (
            "model: mine\npath: x\nengine: {max_batch_token: 64}\n",
            r"unknown key 'max_batch_token' under 'engine'[\s\S]*line 3[\s\S]*mean 'max_batch_tokens'",
        ),
        (
            "model: mine\npath: x\nengine:\n  max_batch_tokens: 64\n  share_prefixes: false\n",
            r"unknown key 'share_prefixes' under 'engine'[\s\S]*line 5",
        ),
        ("model: mine\npath: x\nengine: {decode_graphs: false}\n", "unknown key 'decode_graphs'"),
        ("model: mine\npath: x\nengine: {Max_batch_tokens: 64}\n", "unknown key 'Max_batch_tokens'"),
        ("model: mine\npath: x\nengine: {max_batch_tokens: '64'}\n", r"is '64', expected[\s\S]*line 3"),
        ("model: mine\npath: x\nengine: {max_batch_tokens: 0}\n", "is 0, expected a positive whole"),
        ("model: mine\npath: x\nengine: {max_batch_tokens: -5}\n", "is -5, expected a positive whole"),
        ("model: mine\npath: x\nengine: {max_batch_tokens: 1.5}\n", "is 1.5, expected a positive whole"),
        ("model: mine\npath: x\nengine: {max_batch_tokens: true}\n", "is True, expected a positive whole"),
        ("model: mine\npath: x\nengine: {max_batch_tokens: .inf}\n", "is inf, expected a positive whole"),
        ("model: mine\npath: x\nengine: {max_batch_tokens: .nan}\n", "is nan, expected a positive whole"),
        ("model: mine\npath: x\nengine: {max_batch_tokens: fast}\n", "is 'fast', expected"),
        ("model: mine\npath: x\nengine: {max_batch_tokens: [64]}\n", "expected a positive whole number"),
        ("model: mine\npath: x\npath: y\n", r"'path' is written twice[\s\S]*line 3"),
        ("model: [mine\n", "cannot be parsed"),
    ],
)
def test_faulty_definitions_say_where(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError) as caught:
        read_model(path)
    import re

    assert re.search(message, str(caught.value)), str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_unknown_models_suggest_the_nearest() -> None:
    with pytest.raises(CatalogError, match=r"ming-moe-7b"):
        find_model("ming-moe-7B-")
    with pytest.raises(CatalogError, match="does not exist"):
        find_model("nowhere.yaml")
    with pytest.raises(CatalogError, match="dtype"):
        find_model("demo", dtype="float31")


def _definition(tmp_path: Path, more: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(f"model: mine\npath: ./weights\n{more}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("written", "mode"),
    [
        ("on", "on"),
        ("off", "off"),
        ("'on'", "on"),
        ("true", "on"),
        ("no", "off"),
        ("auto", "auto"),
        ("null", "auto"),
    ],
)
def test_reasoning_is_switched_by_a_word(tmp_path: Path, written: str, mode: str) -> None:
    assert read_model(_definition(tmp_path, f"thinking: {written}")).thinking == mode


@pytest.mark.parametrize(
    ("written", "tags"),
    [
        ('["<a>", "</a>"]', (("<a>", "</a>"),)),
        ('[["<a>", "</a>"], ["[R]", "[/R]"]]', (("<a>", "</a>"), ("[R]", "[/R]"))),
        ("[]", ()),
    ],
)
def test_marks_of_reasoning_come_in_pairs(
    tmp_path: Path, written: str, tags: tuple[tuple[str, str], ...]
) -> None:
    model = read_model(_definition(tmp_path, f"thinking_tags: {written}"))
    assert model.thinking_tags == tags
    assert model.to_dict()["thinking_tags"] == [list(pair) for pair in tags]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("thinking: sometimes", "'thinking' is 'sometimes', expected one of auto, on, off"),
        ("thinking: 2", "'thinking' is 2"),
        ("thinking: []", "'thinking' is"),
        ('thinking_tags: "<a>"', "expected what opens and what closes reasoning"),
        ('thinking_tags: ["<a>"]', "expected what opens and what closes reasoning"),
        ('thinking_tags: ["<a>", "<a>"]', "expected what opens and what closes reasoning"),
        ('thinking_tags: ["<a>", ""]', "expected what opens and what closes reasoning"),
        ("thinking_tags: [1, 2]", "expected what opens and what closes reasoning"),
        ("thinking_tags: {a: b}", "expected what opens and what closes reasoning"),
    ],
)
def test_faulty_keys_about_reasoning_are_refused_with_their_line(
    tmp_path: Path, line: str, message: str
) -> None:
    with pytest.raises(CatalogError, match=message) as found:
        read_model(_definition(tmp_path, line))
    assert str(found.value.where).endswith("mine.yaml, line 3")
