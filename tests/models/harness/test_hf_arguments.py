"""Every argument of lm-eval's ``hf`` is carried out, or refused in words."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers.processors import TemplateProcessing

from medbench.errors import ModelError
from medbench.models import MedbenchLM
from medbench.models.checkpoints.chat import AS_TEMPLATE_SAYS, Thinking
from medbench.models.harness.hf_arguments import HFArguments, device_for, dtype_name
from tests.models import made_checkpoints as cp
from tests.models.made_checkpoints import BASES
from tests.models.made_engines import tiny_model, tiny_tokenizer
from tests.models.tokenizers import write_tokenizer

# Of HFLM, what MedbenchLM takes by name.
BY_NAME = {
    "pretrained",
    "revision",
    "tokenizer",
    "max_length",
    "device",
    "dtype",
    "add_bos_token",
    "prefix_token_id",
}


def settle(**given: Any) -> HFArguments:
    return HFArguments.settle(given, "model", None, AS_TEMPLATE_SAYS)


def test_every_argument_of_hf_is_taken_with_its_default() -> None:
    parameters = inspect.signature(HFLM.__init__).parameters
    own = inspect.signature(MedbenchLM.__init__).parameters
    names = set(parameters) - {"self", "kwargs"}
    assert set(own) >= BY_NAME
    rest = {name: parameters[name].default for name in names - BY_NAME}
    assert settle(**rest) == HFArguments("model")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backend": "seq2seq"}, "backend=seq2seq is not carried out: models here are causal"),
        ({"trust_remote_code": True}, "trust_remote_code=True is not carried out: no code"),
        ({"delta": "x"}, "delta weights"),
        ({"autogptq": True}, "quantized checkpoints"),
        ({"autogptq": "file.safetensors"}, "quantized checkpoints"),
        ({"gptqmodel": True}, "quantized checkpoints"),
        ({"mixed_precision_dtype": "float16"}, "give dtype"),
        ({"softmax_dtype": "bfloat16"}, "float32 at least"),
        ({"max_memory_per_gpu": "10GB"}, "parallelize"),
        ({"max_cpu_memory": 5}, "offloaded"),
        ({"offload_folder": "/tmp/x"}, "offloaded"),
        ({"tp_plan": "auto"}, "parallelize"),
        ({"use_fast_tokenizer": False}, "tokenizer"),
        ({"subfolder": "x"}, "give the folder itself"),
        ({"attn_implementation": "eager"}, "unknown arguments: attn_implementation"),
        ({"load_in_8bit": True, "x": 1}, "unknown arguments: load_in_8bit, x"),
        ({"think_end_token": "ENDE"}, "none of the marks"),
        ({"think_end_token": 151668}, "none of the marks"),
    ],
)
def test_what_is_not_carried_out_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        settle(**given)


@pytest.mark.parametrize(
    ("given", "settled"),
    [
        ({"batch_size": "auto", "max_batch_size": 8}, {}),
        ({"logits_cache": False, "truncation": True}, {}),
        ({"softmax_dtype": torch.float32}, {}),
        ({"parallelize": True}, {"spread": True}),
        ({"gguf_file": "x.gguf"}, {"pretrained": str(Path("model") / "x.gguf")}),
        ({"peft": "adapter"}, {"pretrained": "adapter", "base": "model"}),
        ({"enable_thinking": True}, {"thinking": Thinking("on")}),
        ({"enable_thinking": False}, {"thinking": Thinking("off")}),
        ({"think_end_token": "</think>"}, {}),
        ({"chat_template_args": {"today": "x"}}, {"chat": {"today": "x"}}),
    ],
)
def test_what_is_carried_out(given: dict[str, Any], settled: dict[str, Any]) -> None:
    assert settle(**given) == HFArguments(**{"pretrained": "model", **settled})


@pytest.mark.parametrize("name", ["cpu", "cuda:1"])
def test_a_named_device_is_taken(name: str) -> None:
    assert device_for(name) == name


def test_without_a_device_it_is_the_best_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_for(None) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_for(None) == "cuda"


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        ("float32", "float32"),
        (torch.bfloat16, "bfloat16"),
        (None, "auto"),
        ("auto", "auto"),
        (torch.float16, "float16"),
    ],
)
def test_number_formats(dtype: Any, name: str) -> None:
    assert dtype_name(dtype) == name


def test_a_checkpoint_by_the_arguments_that_people_give(tmp_path: Path) -> None:
    folder = cp.write_base(tmp_path / "model", BASES["qwen2"])
    write_tokenizer(tmp_path / "tokenizer")
    lm = MedbenchLM(
        str(folder), tokenizer=str(tmp_path / "tokenizer"), dtype=torch.float32, device=None, batch_size=4,
        max_batch_size=64, trust_remote_code=False, prefix_token_id=3, parallelize=False,
    )  # fmt: skip
    assert lm.prefix_token_id == 3
    assert str(lm.engine.model.dtype) == "torch.float32"


def with_bos(template: bool) -> Any:
    """A tokenizer with BOS, which its post-processor adds or does not."""
    tokenizer: Any = tiny_tokenizer()
    tokenizer.bos_token = "<|endoftext|>"
    if template:
        bos = tokenizer.bos_token_id
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", bos)]
        )
    return tokenizer


@pytest.mark.parametrize("template", [False, True])
@pytest.mark.parametrize("add", [None, True, False])
@pytest.mark.parametrize("text", ["which drug", "高血压", "<|endoftext|>begun", " x", "a b c"])
def test_bos_goes_in_front_where_it_is_asked_for(template: bool, add: bool | None, text: str) -> None:
    tokenizer = with_bos(template)
    bos = tokenizer.bos_token_id
    lm = MedbenchLM(model=tiny_model(vocabulary=len(tokenizer)), tokenizer=tokenizer, add_bos_token=add)
    plain = tokenizer(text, add_special_tokens=False).input_ids
    begun = plain[:1] == [bos]
    expected = plain if begun or add is False or (add is None and not template) else [bos, *plain]
    assert lm.tok_encode(text) == expected
    assert lm.tok_encode(text, add_special_tokens=False) == plain


def test_bos_of_a_tokenizer_without_one_is_refused() -> None:
    tokenizer: Any = tiny_tokenizer()
    tokenizer.bos_token = None
    model = tiny_model(vocabulary=len(tokenizer))
    with pytest.raises(ModelError, match="no BOS token"):
        MedbenchLM(model=model, tokenizer=tokenizer, add_bos_token=True)
    assert MedbenchLM(model=model, tokenizer=tokenizer, add_bos_token=False).tok_encode("a")


def test_an_empty_continuation_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    lm = MedbenchLM(model=tiny_model(vocabulary=len(tokenizer)), tokenizer=tokenizer)
    requests = [Instance("loglikelihood", {}, ("which drug", ""), 0, ("task", 7, 1))]
    with pytest.raises(ModelError, match=r"empty continuation[\s\S]*task, document 7"):
        lm.loglikelihood(requests)


def test_thinking_of_a_template_without_a_switch_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_model(vocabulary=len(tokenizer))
    with pytest.raises(ModelError, match="no switch for thinking"):
        MedbenchLM(model=model, tokenizer=tokenizer, enable_thinking=False)


def test_what_a_chat_template_is_told() -> None:
    tokenizer: Any = tiny_tokenizer()
    tokenizer.chat_template = "{{ mood }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    model = tiny_model(vocabulary=len(tokenizer))
    lm = MedbenchLM(model=model, tokenizer=tokenizer, chat_template_args={"mood": "kind:"})
    assert lm.apply_chat_template([{"role": "user", "content": "hello"}]) == "kind:hello"
