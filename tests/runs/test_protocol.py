"""How a model is asked follows from what is loaded, and from nothing in the way it is named."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import medbench.demo
from medbench.catalog.models import ModelDefinition, find_model
from medbench.common.choices import READINGS
from medbench.errors import MedbenchError, ModelError, RunError
from medbench.models import convert
from medbench.runs.plan import RunPlan, make_plan
from medbench.runs.protocol import Protocol, settle_protocol
from medbench.runs.settings import RunSettings
from tests.models import made_checkpoints as cp
from tests.models.checkpoints.test_mixlora import write as write_mixlora
from tests.models.tokenizers import CHAT_TEMPLATE, write_tokenizer

AUTHORS = "You are a helpful assistant."
DEMO = Path(medbench.demo.__file__).parent / "checkpoint"


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, cp.Source]:
    """A checkpoint in each layout, whose tokenizer has a chat template."""
    root = tmp_path_factory.mktemp("layouts")
    adapter = cp.write_adapter(root, cp.BASES["qwen2"])
    write_tokenizer(adapter.base or root)
    merged = cp.write_merged(root / "merged", cp.BASES["qwen2"])
    write_tokenizer(merged)
    return {
        "adapter": adapter,
        "merged": cp.Source(merged),
        "converted adapter": cp.Source(convert(adapter.path, root / "converted", adapter.base)),
        "converted twice": cp.Source(convert(root / "converted", root / "twice")),
        "converted merged": cp.Source(convert(merged, root / "from-merged")),
        "trained here": cp.Source(DEMO),
        "plain": cp.Source(adapter.base or root),
    }


def settle(source: cp.Source, settings: RunSettings | None = None, **stated: Any) -> Protocol:
    definition = ModelDefinition(
        model="mine", path=str(source.path), base=str(source.base) if source.base else None, **stated
    )
    return settle_protocol(definition, settings or RunSettings())


@pytest.mark.parametrize(
    ("layout", "system"),
    [
        ("adapter", AUTHORS),
        ("merged", AUTHORS),
        ("converted adapter", AUTHORS),
        ("converted twice", AUTHORS),
        ("converted merged", AUTHORS),
        ("trained here", ""),
        ("plain", ""),
    ],
)
def test_the_template_follows_the_tokenizer_and_the_system_prompt_the_layout(
    layouts: dict[str, cp.Source], layout: str, system: str
) -> None:
    assert settle(layouts[layout]) == Protocol(True, system)


def _without_template(source: cp.Source, folder: Path) -> cp.Source:
    shutil.copytree(source.path, folder / "checkpoint")
    base = shutil.copytree(source.base, folder / "base") if source.base else None
    ((base or folder / "checkpoint") / "chat_template.jinja").unlink()
    return cp.Source(folder / "checkpoint", base)


@pytest.mark.parametrize("layout", ["adapter", "merged", "converted adapter", "trained here", "plain"])
def test_without_a_template_prompts_are_plain_texts(
    layouts: dict[str, cp.Source], layout: str, tmp_path: Path
) -> None:
    bare = _without_template(layouts[layout], tmp_path)
    assert settle(bare) == Protocol(False, "")
    assert settle(bare, RunSettings(chat_template=False)) == Protocol(False, "")
    # What a person says is said, in a chat or not.
    assert settle(bare, system_prompt="Be brief.") == Protocol(False, "Be brief.")
    assert settle(bare, RunSettings(system_prompt="Be brief.")) == Protocol(False, "Be brief.")
    for asked, stated in ((True, None), (True, False), (None, True), (True, True)):
        with pytest.raises(RunError, match="has no chat template") as caught:
            settle(bare, RunSettings(chat_template=asked), chat_template=stated)
        assert ("--chat-template" if asked else "chat_template of mine") in str(caught.value)


def test_an_adapter_has_the_template_of_its_base(layouts: dict[str, cp.Source], tmp_path: Path) -> None:
    """Only the base's tokenizer is ever used: one beside the adapter has no say."""
    bare = _without_template(layouts["adapter"], tmp_path)
    write_tokenizer(bare.path)
    assert settle(bare) == Protocol(False, "")


def test_a_definition_and_over_it_the_run_prevail(layouts: dict[str, cp.Source]) -> None:
    choices = (None, True, False)
    texts = (None, "", "Be brief.")
    for stated, asked, said, wanted in product(choices, choices, texts, texts):
        found = settle(
            layouts["merged"],
            RunSettings(chat_template=asked, system_prompt=wanted),
            chat_template=stated,
            system_prompt=said,
        )
        by_itself = stated is not False
        used = by_itself if asked is None else asked
        if wanted is not None:
            system = wanted
        elif by_itself and not used:  # the run takes the chat away, and with it what belongs to it
            system = ""
        elif said is not None:
            system = said
        else:
            system = AUTHORS if used else ""
        assert found == Protocol(used, system), (stated, asked, said, wanted)


@pytest.mark.parametrize(
    "template",
    [
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        + CHAT_TEMPLATE,
        "{% for m in messages %}",
        "{{ raise_exception('never') }}",
    ],
)
def test_a_template_that_cannot_be_applied_is_refused_at_once(
    layouts: dict[str, cp.Source], template: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(layouts["merged"].path, tmp_path / "mine")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    with pytest.raises(ModelError, match="chat template cannot be applied"):
        settle(cp.Source(folder))
    assert not settle(cp.Source(folder), RunSettings(chat_template=False)).chat_template
    if "no system role" in template:
        assert settle(cp.Source(folder), RunSettings(system_prompt="")) == Protocol(True, "")


def test_templates_of_which_none_is_the_default_are_no_template(
    layouts: dict[str, cp.Source], tmp_path: Path
) -> None:
    bare = _without_template(layouts["merged"], tmp_path)
    config = bare.path / "tokenizer_config.json"
    named = [{"name": name, "template": CHAT_TEMPLATE} for name in ("rag", "tool_use")]
    cp.edit_json(config, chat_template=named)
    assert not settle(bare).chat_template
    cp.edit_json(config, chat_template=[*named, {"name": "default", "template": CHAT_TEMPLATE}])
    assert settle(bare).chat_template


def plan_of(definition: ModelDefinition, **settings: Any) -> RunPlan:
    return make_plan(
        definition, ["pubmedqa"], task_folders=[], settings=RunSettings(data_source="samples", **settings)
    )


def test_the_demo_is_the_same_by_whatever_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DEMO.parent)
    link = tmp_path / "link"
    link.symlink_to(DEMO)
    copied = shutil.copytree(DEMO, tmp_path / "copied")
    short = tmp_path / "short.yaml"
    short.write_text(f"model: demo\npath: {DEMO}\n", encoding="utf-8")
    to_copy = tmp_path / "to_copy.yaml"
    to_copy.write_text("model: mine\npath: copied\nchat_template: null\n", encoding="utf-8")
    full = tmp_path / "full.yaml"
    full.write_text(
        f"model: demo\npath: {link}\nchat_template: true\nsystem_prompt: null\nengine: {{}}\n",
        encoding="utf-8",
    )
    ways = ["demo", str(DEMO), f"{DEMO}/", "checkpoint", "./checkpoint/", "../demo/checkpoint", str(link)]
    ways += [str(copied), str(short), str(to_copy), str(full)]
    plans = {way: plan_of(find_model(way)) for way in ways}
    first = plans["demo"]
    assert first.protocol == Protocol(True, "")
    for way, plan in plans.items():
        assert plan.settings_used() == first.settings_used(), way
        assert plan.plan_hash == first.plan_hash, way
        assert plan.answer_identity == first.answer_identity, way


def test_a_checkpoint_of_the_hub_is_run_as_its_definition_says(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--BlueZeros--MING-MOE-1.8B" / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    mine = tmp_path / "mine.yaml"
    mine.write_text("model: mine\npath: BlueZeros/MING-MOE-1.8B\n", encoding="utf-8")
    defined = asdict(find_model("ming-moe-1.8b"))
    for way in ("BlueZeros/MING-MOE-1.8B", str(snapshot), str(mine)):
        found = asdict(find_model(way))
        different = {key for key in found if found[key] != defined[key]}
        assert different <= {"model", "path", "source"}, way
        assert found["model"] == ("mine" if way == str(mine) else "MING-MOE-1.8B")
    unknown = find_model("some-lab/some-model")
    assert unknown == ModelDefinition(model="some-model", path="some-lab/some-model")


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize(
    ("layout", "format_on_gpu"),
    [
        ("adapter", "float16"),
        ("merged", "float16"),
        ("converted adapter", "float16"),
        ("converted twice", "float16"),
        ("converted merged", "float16"),
        ("plain", "bfloat16"),
    ],
)
def test_the_number_format_follows_the_layout(
    layouts: dict[str, cp.Source],
    layout: str,
    format_on_gpu: str,
    gpu: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    source = layouts[layout]
    base = str(source.base) if source.base else None
    renamed = tmp_path / "any-name"
    renamed.symlink_to(source.path)
    written = tmp_path / "mine.yaml"
    written.write_text(f"model: mine\npath: {source.path}\nlayout: auto\n", encoding="utf-8")
    for way in (str(source.path), str(renamed), str(written)):
        assert plan_of(find_model(way, base=base)).model.dtype == (format_on_gpu if gpu else "float32")
        assert plan_of(find_model(way, base=base, dtype="bfloat16")).model.dtype == "bfloat16"


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("name", [f"ming-moe-{size}" for size in ("1.8b", "4b", "7b", "14b")])
def test_a_download_of_ming_moe_is_run_as_its_definition_says(
    layouts: dict[str, cp.Source], name: str, gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    path, base = map(str, layouts["adapter"])
    defined = plan_of(replace(find_model(name), path=path, base=base))
    found = plan_of(find_model(path, base=base))
    assert found.settings_used() == defined.settings_used()
    assert found.plan_hash == defined.plan_hash
    assert found.model.dtype == ("float16" if gpu else "float32")


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize(
    "name", ["ming-1.8b", *(f"qwen1.5-{size}-chat" for size in ("1.8b", "4b", "7b", "14b"))]
)
def test_the_models_beside_ming_moe_are_run_in_its_number_format(
    layouts: dict[str, cp.Source], name: str, gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    defined = plan_of(replace(find_model(name), path=str(layouts["plain"].path)))
    assert defined.model.dtype == ("float16" if gpu else "float32")
    assert defined.protocol == Protocol(True, AUTHORS)


def test_a_copy_of_the_demo_is_the_demo_until_a_file_changes(tmp_path: Path) -> None:
    copied = shutil.copytree(DEMO, tmp_path / "copied")
    assert find_model(str(copied)).dtype == find_model("demo").dtype == "float32"
    (copied / "notes.txt").write_text("mine", encoding="utf-8")
    assert find_model(str(copied)) == ModelDefinition(model="copied", path=str(copied))
    (copied / "notes.txt").unlink()
    template = copied / "chat_template.jinja"
    template.unlink()
    template.symlink_to(tmp_path / "nowhere")
    assert find_model(str(copied)) == ModelDefinition(model="copied", path=str(copied))


@pytest.mark.parametrize(
    "name", ["no/such/model", "./no-such", "../no-such", "/no/such", "~/no-such", "owner/"]
)
def test_a_misspelt_path_is_no_hub_id(name: str) -> None:
    with pytest.raises(MedbenchError, match="there is no model"):
        find_model(name)


def test_a_misspelt_path_in_a_folder_that_exists_is_no_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MedbenchError, match="there is no model"):
        find_model("checkpoints/step-500")


def test_the_plan_covers_the_protocol_as_it_is_used() -> None:
    demo = find_model("demo")
    plain = plan_of(demo)
    # Asking for what would be so anyway makes no other run.
    for same in ({"chat_template": True}, {"system_prompt": ""}, {"max_batch_tokens": 64}):
        assert plan_of(demo, **same).plan_hash == plain.plan_hash, same
    others = [
        plan_of(demo, chat_template=False),
        plan_of(demo, system_prompt="Be brief."),
        plan_of(demo, chat_template=False, system_prompt="Be brief."),
    ]
    assert len({plan.plan_hash for plan in (plain, *others)}) == 4
    stated = plan_of(replace(demo, system_prompt="Be brief."))
    assert stated.plan_hash == others[1].plan_hash
    assert plan_of(replace(demo, chat_template=False)).plan_hash == others[0].plan_hash


def test_settings_say_what_is_used() -> None:
    used = plan_of(find_model("demo", device="cpu"), limit=3, num_fewshot=0, data_dir=None).settings_used()
    assert used == {
        "limit": 3,
        "num_fewshot": 0,
        "seed": 1234,
        "data_source": "samples",
        "shuffle_options": None,
        "circular": False,
        "chat_template": True,
        "system_prompt": "",
        "add_bos_token": None,
        "thinking": "auto",
        "thinking_tags": [],
        "close_thinking": False,
        "max_gen_toks": None,
        "routing": RunSettings().routing,
        "max_batch_tokens": "auto",
        "layout": None,
        "dtype": "float32",
        "device": "cpu",
        "quantization": "none",
        "deterministic": False,
        "engine": None,
    }


def test_which_of_two_readings_is_meant_is_recorded_and_another_plan(tmp_path: Path) -> None:
    source = write_mixlora(tmp_path, expert_lora={"r": 2, "lora_alpha": 3})
    write_tokenizer(source.base or tmp_path)
    plans = [
        plan_of(find_model(str(source.path), base=str(source.base), layout=layout, device="cpu"))
        for layout in READINGS["mixlora"]
    ]
    assert [plan.settings_used()["layout"] for plan in plans] == list(READINGS["mixlora"])
    assert len({plan.plan_hash for plan in plans}) == len({plan.answer_identity for plan in plans}) == 2


_SWITCH = "{% for m in messages %}{{ m.content }}{% endfor %}{% if enable_thinking %}<think>{% endif %}"


@pytest.fixture
def switching(tmp_path: Path) -> cp.Source:
    """A checkpoint whose chat template can have it reason."""
    source = cp.write_merged(tmp_path / "switching", cp.BASES["qwen2"])
    tokenizer = write_tokenizer(source)
    tokenizer.chat_template = _SWITCH
    tokenizer.save_pretrained(source)
    return cp.Source(source)


def test_reasoning_is_switched_where_the_template_can(switching: cp.Source) -> None:
    assert settle(switching).thinking == "auto"
    assert settle(switching, thinking="on").thinking == "on"
    assert settle(switching, RunSettings(thinking="off"), thinking="on").thinking == "off"
    tags = (("<a>", "</a>"),)
    reasoning = settle(switching, thinking="on", thinking_tags=tags).reasoning()
    assert (reasoning.mode, reasoning.tags) == ("on", tags)


def test_what_cannot_be_switched_is_refused(layouts: dict[str, cp.Source], switching: cp.Source) -> None:
    for mode in ("on", "off"):
        with pytest.raises(RunError, match=f"switched {mode}: the chat template of mine knows no") as found:
            settle(layouts["plain"], RunSettings(thinking=mode))
        assert found.value.where == "--thinking"
    with pytest.raises(RunError, match="which does it, is not used"):
        settle(switching, RunSettings(chat_template=False, thinking="on"))
    with pytest.raises(RunError, match="'thinking' is 'maybe'"):
        RunSettings(thinking="maybe")  # type: ignore[arg-type]
    with pytest.raises(RunError, match="'max_gen_toks' is 0"):
        RunSettings(max_gen_toks=0)


def test_how_a_model_reasons_is_part_of_the_plan(switching: cp.Source) -> None:
    model = ModelDefinition(model="mine", path=str(switching.path), device="cpu", dtype="float32")
    plans = [
        plan_of(model),
        plan_of(model, thinking="on"),
        plan_of(model, thinking="off"),
        plan_of(model, close_thinking=True),
        plan_of(model, max_gen_toks=9),
        plan_of(replace(model, thinking_tags=(("<a>", "</a>"),))),
    ]
    assert len({plan.plan_hash for plan in plans}) == len(plans)
    assert plan_of(model, thinking="auto").plan_hash == plans[0].plan_hash
    # Marks say how answers are read, not what they are.
    assert plans[-1].answer_identity == plans[0].answer_identity
