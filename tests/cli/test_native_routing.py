"""Every ``medbench routing`` command on models that are mixtures of experts themselves."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch

from medbench.cli import main
from tests.models.routed_zoo import routed_model

CHECKPOINT = Path(str(files("medbench.demo"))) / "checkpoint"
TASK = "ceval_medical_basic_medicine"
# Which layers have routers, of how many experts, and how often one is chosen.
MODELS = {"qwen2_moe middle dense": ([0, 2], 4, 2), "deepseek_v3": ([1], 8, 2), "mixtral": ([0, 1], 4, 2)}


def _copy_tokenizer(folder: Path) -> None:
    for file in CHECKPOINT.glob("*token*"):
        shutil.copy(file, folder / file.name)


@pytest.fixture(scope="module", params=MODELS)
def routed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A model with the demo's tokenizer, in a folder with a sibling of other weights, and a run of both."""
    torch.set_num_threads(1)
    name: str = request.param
    folder = tmp_path_factory.mktemp("native")
    for place, seed in (("one", 0), ("other", 1)):
        model = folder / place
        routed_model(name, seed, vocab_size=3072, max_position_embeddings=1024).save_pretrained(model)
        _copy_tokenizer(model)
        asked = ["-m", str(model), "-t", TASK, "--limit", "6", "--results", str(folder / "results")]
        assert main(["run", *asked, "--routing", "tokens", "--name", place]) == 0
    return name, folder


def _run(folder: Path, place: str) -> str:
    [found] = [
        path.parent for path in (folder / "results").rglob("routing.parquet") if place in path.parts[-3]
    ]
    return str(found)


def _json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main(["routing", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_show_and_the_page(
    routed: tuple[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name, folder = routed
    layers, experts, k = MODELS[name]
    run = _run(folder, "one")
    rows = _json(capsys, "show", run, "--by", "layer,projection")
    assert {(row["layer"], row["projection"]) for row in rows} == {(layer, "mlp") for layer in layers}
    assert {(row["experts"], row["top_k"]) for row in rows} == {(experts, k)}
    page = tmp_path / "page.html"
    assert main(["routing", "show", run, "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert ">mlp</text>" in text
    assert f"mlp, layer {layers[-1]}, expert {experts - 1}" in text
    capsys.readouterr()
    assert main(["report", run, "-o", str(tmp_path / "report.html")]) == 0
    assert ">mlp</text>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_kinds(routed: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    name, folder = routed
    layers, experts, k = MODELS[name]
    rows = _json(capsys, "kinds", _run(folder, "one"), "--each")
    assert len(rows) == len(layers) * experts
    assert sum(row["rate"] for row in rows) == pytest.approx(k * len(layers))
    assert {row["chance"] for row in rows} == {k / experts}


def test_compare(routed: tuple[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    name, folder = routed
    layers, experts, _ = MODELS[name]
    sides = [_run(folder, "one"), _run(folder, "other")]
    rows = _json(capsys, "compare", *sides)
    assert len(rows) == len(layers) * experts
    assert any(row["difference"] for row in rows)
    page = tmp_path / "page.html"
    assert main(["routing", "compare", *sides, "--html", str(page)]) == 0
    assert ">mlp</text>" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("show", ["classes", "vocabulary", "parts", "repetition"])
def test_tokens(routed: tuple[str, Path], capsys: pytest.CaptureFixture[str], show: str) -> None:
    _, folder = routed
    assert _json(capsys, "tokens", _run(folder, "one"), "--show", show, *_least(show))


def _least(show: str) -> list[str]:
    return ["--least", "2"] if show == "vocabulary" else []


def test_trace_and_agree(
    routed: tuple[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name, folder = routed
    layers, experts, k = MODELS[name]
    traces = [str(tmp_path / f"{place}.npz") for place in ("one", "other")]
    for place, file in zip(("one", "other"), traces, strict=True):
        asked = ["-m", str(folder / place), "-t", TASK, "--limit", "6", "-o", file]
        assert _json(capsys, "trace", *asked)
    rows = _json(capsys, "agree", *traces)
    assert [(row["layer"], row["projection"]) for row in rows] == [(layer, "mlp") for layer in layers]
    assert {row["chance"] for row in rows} == {k / experts}
    # What a trace of the prompts alone holds is what the run recorded of them.
    assert [row["observed"] for row in _json(capsys, "agree", traces[0], _run(folder, "one"))] == [
        pytest.approx(1, abs=0.01)
    ] * len(layers)


def test_ablate(routed: tuple[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    name, folder = routed
    layers, *_ = MODELS[name]
    start = ["ablate", "-m", str(folder / "one"), "-t", TASK, "--limit", "2", "--results", str(tmp_path)]
    variants = ["expert:1", f"expert:0@{layers[0]}.mlp", "top1", "uniform", "average", "off"]
    answer = _json(capsys, *start, *(word for variant in variants for word in ("-v", variant)))
    assert {row["variant"] for row in answer["tasks"]} == set(variants)
    assert main(["routing", *start, "-v", "expert:9"]) == 2
    assert "there is no expert 9" in capsys.readouterr().err
    assert main(["routing", *start, "-v", "top1@0.gate"]) == 2
    assert "no router lies at" in capsys.readouterr().err


def test_a_run_says_what_its_routers_are(routed: tuple[str, Path]) -> None:
    name, folder = routed
    layers, experts, _ = MODELS[name]
    said = json.dumps(json.loads((Path(_run(folder, "one")) / "run.json").read_text(encoding="utf-8")))
    assert f'"router_layers": {json.dumps(layers)}' in said
    assert f'"num_experts": {experts}' in said
    assert f'"shared_experts": {0 if name == "mixtral" else 1}' in said


@pytest.mark.parametrize("words", [["trace", "-o", "x.npz"], ["ablate"], ["ablate", "-v", "top1"]])
def test_a_model_without_routers_is_refused_before_it_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    from medbench.models.source import ModelSource
    from tests.models.made_engines import tiny_model

    tiny_model(molora=None).save_pretrained(tmp_path / "plain")
    _copy_tokenizer(tmp_path / "plain")
    monkeypatch.setattr(ModelSource, "model", lambda _: pytest.fail("it was loaded"))
    assert main(["routing", *words, "-m", str(tmp_path / "plain"), "-t", TASK, "--limit", "1"]) == 2
    assert "the model has no routers" in capsys.readouterr().err
