"""GGUF files: the model that transformers reads, once, or a refusal that says why."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medbench.catalog import find_model
from medbench.errors import ModelError
from medbench.models import Engine, check, fingerprint, load_model, load_tokenizer
from medbench.models.checkpoints.folder import CheckpointSource
from medbench.models.checkpoints.gguf import MARKER, find_gguf, origin, unpacked
from medbench.models.checkpoints.layouts import detect_layout, open_checkpoint

gguf: Any = pytest.importorskip("gguf")

# Quantized types hold blocks of 32 values of a row.
HIDDEN, HEADS, KV, LAYERS, INNER, VOCABULARY = 32, 4, 2, 2, 64, 100
PROMPTS = [[3, 1, 4, 1, 5], [9, 2, 6], [5, 3, 5, 8]]
Arrays = dict[str, NDArray[np.float32]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def original() -> Any:
    """The model that the file is written from."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = cast("Any", LlamaConfig)(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV,
        max_position_embeddings=128,
        rope_theta=10000.0,
        tie_word_embeddings=False,
        rms_norm_eps=1e-5,
    )
    model = LlamaForCausalLM(config)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.3)
    model.train(False)
    return model


def interleaved(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows as llama.cpp rotates them: the two halves of each head take turns."""
    half = weight.shape[0] // heads // 2
    turned = weight.reshape(heads, 2, half, -1).swapaxes(1, 2)
    return np.ascontiguousarray(turned.reshape(weight.shape))


def tensors(model: Any) -> Arrays:
    """The model's weights under the names of GGUF."""
    own = {name: value.detach().numpy() for name, value in model.named_parameters()}
    found = {
        "token_embd.weight": own["model.embed_tokens.weight"],
        "output_norm.weight": own["model.norm.weight"],
        "output.weight": own["lm_head.weight"],
    }
    for layer in range(LAYERS):
        there, here = f"model.layers.{layer}.", f"blk.{layer}."
        found |= {
            f"{here}attn_norm.weight": own[f"{there}input_layernorm.weight"],
            f"{here}ffn_norm.weight": own[f"{there}post_attention_layernorm.weight"],
            f"{here}attn_q.weight": interleaved(own[f"{there}self_attn.q_proj.weight"], HEADS),
            f"{here}attn_k.weight": interleaved(own[f"{there}self_attn.k_proj.weight"], KV),
            f"{here}attn_v.weight": own[f"{there}self_attn.v_proj.weight"],
            f"{here}attn_output.weight": own[f"{there}self_attn.o_proj.weight"],
            **{
                f"{here}ffn_{name}.weight": own[f"{there}mlp.{name}_proj.weight"]
                for name in ("gate", "up", "down")
            },
        }
    return found


def write(
    path: Path,
    change: Callable[[Any], object] | None = None,
    *,
    arrays: Arrays | None = None,
    architecture: str = "llama",
    types: Callable[[str], str] = lambda name: "F32",
) -> Path:
    """Write a tiny file; ``change`` gets the writer before the tensors, ``types`` says how each is stored."""
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name("tiny")
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    words = ["<unk>", "<s>", "</s>", *map(chr, range(33, 127)), "Ġ", "ab", "cd"]
    writer.add_token_list(words)
    writer.add_token_types([3, 3, 3] + [1] * (VOCABULARY - 3))
    writer.add_token_merges(["a b", "c d"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}")
    if change is not None:
        change(writer)
    for name, value in (arrays if arrays is not None else tensors(original())).items():
        stored = gguf.GGMLQuantizationType[types(name)]
        writer.add_tensor(name, gguf.quants.quantize(value, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gguf") / "tiny.F32.gguf")


@pytest.fixture
def file(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path / made.name))


def test_the_model_is_the_one_that_was_written(file: Path) -> None:
    model, truth = load_model(file), original()
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        with torch.no_grad():
            assert torch.allclose(model(ids).logits, truth(ids).logits, atol=1e-5)
    found = Engine(model).generate(PROMPTS, max_new_tokens=6)
    for prompt, generation in zip(PROMPTS, found, strict=True):
        whole = truth.generate(torch.tensor([prompt]), max_new_tokens=6, do_sample=False, pad_token_id=0)
        assert generation.token_ids == whole[0, len(prompt) :].tolist()


def test_the_tokenizer_is_that_of_transformers(file: Path) -> None:
    from transformers import AutoTokenizer

    theirs = cast("Any", AutoTokenizer).from_pretrained(file.parent, gguf_file=file.name)
    own = load_tokenizer(file)
    for text in ("abcd", "a b", "cd<s>ab", "!?"):
        assert own(text).input_ids == theirs(text).input_ids
    assert own.chat_template == theirs.chat_template
    assert own.eos_token_id == theirs.eos_token_id == 2


def test_it_is_read_once_and_found_again(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = unpacked(file)
    assert folder.is_relative_to(cache / "gguf")
    said = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    assert said["tensor_types"] == {"F32": 21}
    assert "quantization_config" not in json.loads((folder / "config.json").read_text(encoding="utf-8"))

    def never(*_: Any) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("medbench.models.checkpoints.gguf._unpack", never)
    assert unpacked(file) == folder
    moved = file.rename(file.with_name("other.gguf"))
    with pytest.raises(ModelError):  # another name is another folder: results are called by it
        unpacked(moved)


def test_every_way_to_name_it(file: Path) -> None:
    assert detect_layout(unpacked(file)) == "gguf"
    opened = open_checkpoint(CheckpointSource(file))
    assert (opened.layout, opened.molora) == ("gguf", None)
    assert open_checkpoint(CheckpointSource(file.parent)).layout == "gguf"
    assert fingerprint(file)["model"] == fingerprint(file.parent)["model"]
    assert find_model(str(file)).model == "tiny.F32"
    report = check(file)
    assert (report.layout, report.ok, report.chat_template) == ("gguf", True, True)
    with pytest.raises(ModelError, match="asked for layout plain, but this is a plain model from a GGUF"):
        open_checkpoint(CheckpointSource(file, layout="plain"))


def _all(kind: str) -> Callable[[str], str]:
    return lambda name: "F32" if "norm" in name else kind


def _mixed(head: str, rest: str) -> Callable[[str], str]:
    return lambda name: "F32" if "norm" in name else head if name == "output.weight" else rest


@pytest.mark.parametrize(
    ("types", "quantized"),
    [
        (_all("F32"), ""),
        (_all("F16"), ""),
        (_all("BF16"), ""),
        (_all("Q4_0"), "Q4_0"),
        (_all("Q4_1"), "Q4_1"),
        (_all("Q5_0"), "Q5_0"),
        (_all("Q5_1"), "Q5_1"),
        (_all("Q8_0"), "Q8_0"),
        (_mixed("Q8_0", "Q4_1"), "Q4_1, Q8_0"),
        (_mixed("F16", "Q5_1"), "Q5_1"),
        (_mixed("Q4_0", "F16"), "Q4_0"),
        (_mixed("BF16", "F32"), ""),
    ],
    ids=range(12),
)
def test_quantized_tensors_are_dequantized_and_said_to_have_been(
    tmp_path: Path, types: Callable[[str], str], quantized: str
) -> None:
    file = write(tmp_path / "x.gguf", types=types)
    truth = original()
    reader = gguf.GGUFReader(file)
    stored = {tensor.name: tensor for tensor in reader.tensors}
    with torch.no_grad():
        for name, value in tensors(truth).items():
            read = gguf.quants.dequantize(stored[name].data, stored[name].tensor_type)
            assert np.abs(read - value).max() <= np.abs(value).max() / 7  # at 4 bits
        for parameter_name, parameter in truth.named_parameters():
            kind = gguf.GGMLQuantizationType[types(_gguf_name(parameter_name))]
            rounded = gguf.quants.dequantize(gguf.quants.quantize(parameter.numpy(), kind), kind)
            parameter.copy_(torch.from_numpy(rounded.reshape(parameter.shape)))
        model = load_model(file)
        for prompt in PROMPTS:
            ids = torch.tensor([prompt])
            assert torch.allclose(model(ids).logits, truth(ids).logits, atol=1e-5)
    said = fingerprint(file)["gguf"]
    assert said["quantized"] == quantized
    assert said["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    remarks = " ".join(check(file).remarks)
    assert ("they are dequantized" in remarks) == bool(quantized)
    assert all(kind in remarks for kind in quantized.split(", "))


def _gguf_name(parameter: str) -> str:
    """What decides the type of a parameter's tensor."""
    return "output.weight" if parameter == "lm_head.weight" else parameter


def test_only_folders_made_of_a_file_have_an_origin(file: Path, tmp_path: Path) -> None:
    original().save_pretrained(tmp_path / "plain")
    assert origin(tmp_path / "plain") is None
    assert "gguf" not in fingerprint(tmp_path / "plain")
    folder = unpacked(file)
    assert fingerprint(file)["gguf"] == origin(folder)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "null", "{}", '{"sha256": "x"}', '{"tensor_types": 3}', "\x00"]
)
def test_a_damaged_note_of_the_file_is_told(file: Path, content: str) -> None:
    folder = unpacked(file)
    (folder / MARKER).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=r"kept of a GGUF file is damaged[\s\S]*delete"):
        origin(folder)


def test_several_files_are_named(file: Path) -> None:
    shutil.copy(file, file.with_name("more.gguf"))
    with pytest.raises(ModelError, match=r"2 GGUF files lie here: more.gguf, tiny.F32.gguf"):
        load_model(file.parent)
    assert load_model(file) is not None


def test_a_checkpoint_beside_it_goes_before(file: Path) -> None:
    (file.parent / "config.json").write_text("{}", encoding="utf-8")
    assert find_gguf(file.parent) is None


def test_the_package_may_be_missing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"need the package gguf[\s\S]*medbench\[gguf\]"):
        load_model(file)


def _cut(share: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return damage


def _overwrite(place: int, content: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[place : place + len(content)] = content
        path.write_bytes(bytes(data))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"GGUF"),
        lambda path: path.write_text("not a model", encoding="utf-8"),
        _cut(0.001),
        _cut(0.1),
        _cut(0.5),
        _cut(0.99),
        _overwrite(0, b"GGML"),
        _overwrite(4, b"\x63\x00\x00\x00"),
        _overwrite(8, b"\xff\xff\xff\x00\x00\x00\x00\x00"),
        _overwrite(16, b"\xff\xff\xff\x00\x00\x00\x00\x00"),
        _overwrite(24, b"\xff\xff\xff\xff\xff\xff\xff\x7f"),
    ],
    ids=range(12),
)
def test_damaged_files_are_refused(file: Path, cache: Path, damage: Callable[[Path], None]) -> None:
    damage(file)
    with pytest.raises(ModelError):
        load_model(file)
    assert not list(cache.rglob("*.safetensors"))


def _without(name: str) -> Arrays:
    return {key: value for key, value in tensors(original()).items() if key != name}


def _with(name: str, size: int) -> Arrays:
    return tensors(original()) | {name: np.ones(size, np.float32)}


@pytest.mark.parametrize(
    ("change", "arrays", "message"),
    [
        (lambda w: w.add_rope_scaling_factor(4.0), None, "rope.scaling.factor, which transformers does not"),
        (lambda w: w.add_float32("llama.logit_scale", 0.5), None, "logit_scale, which transformers does not"),
        (lambda w: w.add_sliding_window(16), None, "attention.sliding_window, which"),
        (lambda w: w.add_float32("llama.attn_logit_softcapping", 30.0), None, "attn_logit_softcapping"),
        (lambda w: w.add_uint16("split.count", 3), None, "one part of several"),
        (None, _without("output_norm.weight"), "missing tensors"),
        (None, _without("blk.1.ffn_up.weight"), "missing tensors"),
        (
            None,
            tensors(original()) | {"rope_freqs.weight": np.ones(2, np.float32)},
            "of which transformers reads",
        ),
        (
            None,
            tensors(original()) | {"blk.0.attn_q.bias": np.ones(16, np.float32)},
            "of which transformers reads",
        ),
    ],
    ids=range(9),
)
def test_what_transformers_leaves_unread_is_refused(
    tmp_path: Path, change: Any, arrays: Arrays | None, message: str
) -> None:
    file = write(tmp_path / "x.gguf", change, arrays=arrays)
    with pytest.raises(ModelError, match=message):
        load_model(file)


@pytest.mark.parametrize("architecture", ["rwkv6", "bert", "chatglm", "x"])
def test_other_architectures_are_refused_by_name(tmp_path: Path, architecture: str) -> None:
    file = write(tmp_path / "x.gguf", architecture=architecture)
    with pytest.raises(ModelError, match=f"architecture '{architecture}'"):
        load_model(file)
