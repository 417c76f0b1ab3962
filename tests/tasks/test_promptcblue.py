"""The PromptCBLUE tasks: samples are rows of the official form, and answers get the scores they deserve."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import f1_score

from medbench.errors import ScoringError
from medbench.scoring import promptcblue as scoring
from medbench.scoring.promptcblue.labels import label_choices, score_label_likelihoods
from tests.tasks.oracles import ConstantLM, EmptyLM, GoldLM, OracleLM, evaluate
from tests.tasks.originality import borrowed

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tasks" / "promptcblue"
SAMPLES = ROOT / "medbench" / "data" / "samples"

OFFICIAL = {
    "cmeee_v2": "CMeEE-V2",
    "cmeie": "CMeIE",
    "chip_cdn": "CHIP-CDN",
    "chip_cdee": "CHIP-CDEE",
    "imcs_v2_ner": "IMCS-V2-NER",
    "chip_mdcfnpc": "CHIP-MDCFNPC",
    "imcs_v2_sr": "IMCS-V2-SR",
    "chip_sts": "CHIP-STS",
    "chip_ctc": "CHIP-CTC",
    "imcs_v2_dac": "IMCS-V2-DAC",
    "kuake_ir": "KUAKE-IR",
    "kuake_qic": "KUAKE-QIC",
    "kuake_qqr": "KUAKE-QQR",
    "kuake_qtr": "KUAKE-QTR",
    "imcs_v2_mrg": "IMCS-V2-MRG",
    "meddg": "MedDG",
}
MATCHING = ("chip_sts", "kuake_ir", "kuake_qqr", "kuake_qtr")
CLASSIFICATION = ("chip_ctc", "imcs_v2_dac", "kuake_qic")
LABELED = MATCHING + CLASSIFICATION
EXTRACTION = ("cmeee_v2", "cmeie", "chip_cdn", "chip_cdee", "imcs_v2_ner", "chip_mdcfnpc", "imcs_v2_sr")
GENERATION = ("imcs_v2_mrg", "meddg")
MAIN = {
    **dict.fromkeys(EXTRACTION, "f1"),
    **dict.fromkeys(MATCHING, "weighted_f1"),
    **dict.fromkeys(CLASSIFICATION, "macro_f1"),
    **dict.fromkeys(GENERATION, "rouge_l"),
}
OTHER = "非上述类型"
SECTIONS = ("主诉", "现病史", "辅助检查", "既往史", "诊断", "建议")
HEADERS = (
    "上述句子中的实体包含：",
    "上述句子没有指定类型实体",
    "上述句子中的临床发现事件如下：",
    "上述对话中临床发现实体以及其阴阳性判别如下：",
    "当前对话中的症状及其阴阳性判断为：",
    "上述问诊对话的诊疗报告如下：",
)


def rows(name: str, split: str | None = "test") -> list[dict[str, Any]]:
    path = SAMPLES / f"promptcblue_{name}.jsonl"
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in found if split in (None, row["split"])]


def scored(name: str, doc: dict[str, Any], text: str) -> dict[str, Any]:
    result = getattr(scoring, f"score_{name}")(doc, [text])
    assert isinstance(result, dict)
    return result


def manager_of(**settings: str) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=[FOLDER], include_defaults=False, metadata=dict(settings))


@pytest.fixture(scope="module")
def manager() -> Any:
    return manager_of(data_source="samples")


def test_the_folder_holds_the_sixteen_their_label_variants_and_the_group(manager: Any) -> None:
    expected = {f"promptcblue_{name}" for name in OFFICIAL} | {f"promptcblue_{name}_ll" for name in LABELED}
    assert set(manager.all_subtasks) == expected
    assert manager.all_groups == ["promptcblue"]
    assert len(list(FOLDER.glob("*.yaml"))) == len(expected) + 1
    group = manager.load("promptcblue")["groups"]["promptcblue"]
    assert set(group.child_names) == {f"promptcblue_{name}" for name in OFFICIAL}
    assert group.metadata["macro"] is True


@pytest.mark.parametrize("name", OFFICIAL)
def test_task_hands_the_rows_over_verbatim(manager: Any, name: str) -> None:
    task = manager.load(f"promptcblue_{name}")["tasks"][f"promptcblue_{name}"]
    docs = list(task.test_docs())
    raw = rows(name)
    assert len(docs) == len(raw) >= 8
    for doc, row in zip(docs, raw, strict=True):
        assert task.fewshot_context(doc, num_fewshot=0) == row["input"]
        assert task.doc_to_target(doc) == row["target"]
        assert list(doc["answer_choices"]) == row["answer_choices"]
        assert doc["id"] == row["id"]
        assert doc["cluster"] == row["cluster"]
    assert [doc["id"] for doc in task.fewshot_docs()] == [row["id"] for row in rows(name, "dev")]
    metadata = task.config.metadata
    assert metadata["main_metric"] == MAIN[name]
    assert metadata["protocol"] == "generate"
    assert metadata["main_metric"] in task.aggregation()
    assert all(task.higher_is_better().values())


def test_few_shot_examples_come_from_the_dev_split(manager: Any) -> None:
    task = manager.load("promptcblue_kuake_ir")["tasks"]["promptcblue_kuake_ir"]
    task.set_fewshot_seed(7)
    doc = next(iter(task.test_docs()))
    context = task.fewshot_context(doc, num_fewshot=2)
    shown = [row for row in rows("kuake_ir", "dev") if f"{row['input']}\n{row['target']}\n\n" in context]
    assert len(shown) == 2
    assert context.endswith(doc["input"])


def test_gold_answers_reach_the_maximum(manager: Any) -> None:
    results = evaluate(GoldLM(), ["promptcblue"], manager)["results"]
    for name, metric in MAIN.items():
        # rouge-chinese adds 1e-8 to the denominator of F.
        assert results[f"promptcblue_{name}"][f"{metric},none"] == pytest.approx(1.0, abs=1e-7), name


def test_gold_labels_reach_the_maximum_by_likelihood(manager: Any) -> None:
    tasks = [f"promptcblue_{name}_ll" for name in LABELED]
    results = evaluate(GoldLM(), tasks, manager)["results"]
    for name in LABELED:
        for metric in (MAIN[name], f"{MAIN[name]}_norm"):
            assert results[f"promptcblue_{name}_ll"][f"{metric},none"] == 1.0, (name, metric)


def test_empty_answers_are_scored_low_and_do_not_fail(manager: Any) -> None:
    tasks = ["promptcblue", *(f"promptcblue_{name}_ll" for name in LABELED)]
    results = evaluate(EmptyLM(), tasks, manager)["results"]
    for name, metric in MAIN.items():
        value = results[f"promptcblue_{name}"][f"{metric},none"]
        assert 0.0 <= value <= 0.4, name
        if name in EXTRACTION:
            assert value == 0.0, name


@pytest.mark.parametrize("number", [1, 2, 3])
def test_official_predictions_get_the_official_scores(shared: Path, number: int) -> None:
    scores = shared / "golden" / "scores"
    lines = (scores / f"promptcblue_dev_{number}_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    given = {(row["task_dataset"], row["sample_id"]): row["prediction"] for row in map(json.loads, lines)}
    official = json.loads((scores / f"promptcblue_dev_{number}_scores.json").read_text(encoding="utf-8"))
    names = {"f1": "f1", "precision": "precision", "recall": "recall", "weighted_f1": "f1", "macro_f1": "f1"}
    names |= {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}

    replay = OracleLM(lambda doc: given[doc["task_dataset"], doc["sample_id"]], lambda *_: 0.0)
    real = manager_of(data_source="folder", data_dir=str(shared / "data"))
    results = evaluate(replay, ["promptcblue"], real)["results"]

    for name, dataset in OFFICIAL.items():
        values = {
            key.removesuffix(",none"): value
            for key, value in results[f"promptcblue_{name}"].items()
            if key.endswith(",none") and "stderr" not in key
        }
        assert MAIN[name] in values
        for metric, value in values.items():
            assert value == pytest.approx(official[dataset][names[metric]], abs=1e-9), (name, metric)


def test_a_folder_without_few_shot_examples_will_do(tmp_path: Path) -> None:
    folder = tmp_path / "promptcblue"
    folder.mkdir()
    lines = [json.dumps(row, ensure_ascii=False) for name in OFFICIAL for row in rows(name)]
    (folder / "dev.json").write_text("\n".join(lines), encoding="utf-8")
    own = manager_of(data_source="folder", data_dir=str(tmp_path))
    task = own.load("promptcblue_meddg")["tasks"]["promptcblue_meddg"]
    assert [doc["target"] for doc in task.test_docs()] == [row["target"] for row in rows("meddg")]
    assert list(task.fewshot_docs()) == []


def test_an_input_is_no_template(tmp_path: Path) -> None:
    row = rows("meddg")[0] | {"input": " 1\n{{target}} {% raw %}[1, 2]\n答：\n\n", "target": "[1, 2]"}
    (tmp_path / "promptcblue").mkdir()
    (tmp_path / "promptcblue" / "dev.json").write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    own = manager_of(data_source="folder", data_dir=str(tmp_path))
    model = GoldLM()
    results = evaluate(model, ["promptcblue_meddg"], own)["results"]
    assert model.prompts == [row["input"]]
    assert results["promptcblue_meddg"]["rouge_l,none"] == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize("name", LABELED)
def test_a_constant_label_scores_what_its_frequency_gives(manager: Any, name: str) -> None:
    same = {"相同": "是的", "不同": "不是"} if name == "chip_sts" else {}
    gold = [same.get(row["target"], row["target"]) for row in rows(name)]
    label = Counter(gold).most_common(1)[0][0]
    average = "macro" if name in CLASSIFICATION else "weighted"
    expected = f1_score(gold, [label] * len(gold), average=average, zero_division=0.0)
    result = evaluate(ConstantLM(label), [f"promptcblue_{name}"], manager)["results"][f"promptcblue_{name}"]
    assert result[f"{MAIN[name]},none"] == pytest.approx(expected, abs=1e-12)
    assert expected < 0.4, "a constant answer must not look good on the samples"


@pytest.mark.parametrize("name", ["kuake_ir", "kuake_qqr", "kuake_qtr"])
def test_a_constant_choice_scores_what_its_frequency_gives(manager: Any, name: str) -> None:
    # Some documents list the labels in another order, so that the first choice is no constant label.
    gold = [row["target"] for row in rows(name)]
    label = gold[-1]
    expected = f1_score(gold, [label] * len(gold), average="weighted", zero_division=0.0)
    result = evaluate(ConstantLM(label), [f"promptcblue_{name}_ll"], manager)["results"]
    for metric in ("weighted_f1", "weighted_f1_norm"):
        assert result[f"promptcblue_{name}_ll"][f"{metric},none"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", EXTRACTION + GENERATION)
def test_no_answer_fits_many_samples(name: str) -> None:
    docs = rows(name)
    for answer in {row["target"] for row in docs}:
        values = [scored(name, doc, answer)[MAIN[name]] for doc in docs]
        if name in GENERATION:
            assert sum(values) / len(values) < 0.5
        else:
            hits, wrong, missed = (sum(part) for part in zip(*values, strict=True))
            assert 2 * hits / (2 * hits + wrong + missed) < 0.4, answer


@pytest.mark.parametrize("name", OFFICIAL)
def test_samples_are_official_rows(name: str) -> None:
    found = rows(name, None)
    assert len([row for row in found if row["split"] == "dev"]) == 3
    for row in found:
        assert set(row) == {
            *("id", "input", "target", "answer_choices", "task_type", "task_dataset", "sample_id"),
            *("language", "cluster", "split"),
        }
        assert row["task_dataset"] == OFFICIAL[name]
        assert row["language"] == "zh"
        assert row["split"] in {"test", "dev"}
        assert all(row[key] for key in ("input", "target", "task_type", "sample_id", "cluster"))
        for choice in row["answer_choices"]:
            assert choice in row["input"], "the prompt must show every choice"
    for key in ("id", "sample_id", "input"):
        assert len({row[key] for row in found}) == len(found), key
    # The official rows sometimes lack the final 答：; both forms must occur.
    assert {row["input"].endswith("\n答：") for row in found} == {True, False}


@pytest.mark.parametrize("name", LABELED)
def test_labels_are_among_the_choices(name: str) -> None:
    for row in rows(name, None):
        allowed = {*row["answer_choices"], *([OTHER] if name in CLASSIFICATION else [])}
        assert row["target"] in allowed


def structures(name: str, row: dict[str, Any]) -> int:
    """How many structures a target lists, counted from its text alone."""
    target: str = row["target"]
    lines = target.splitlines()
    if name in {"cmeee_v2", "imcs_v2_ner"}:
        return sum(
            len([part for part in line.split("：")[1].split("，") if part])
            for line in lines
            if "实体：" in line
        )
    if name == "cmeie":
        return target.count("头实体为")
    if name == "chip_cdn":
        return 0 if target == "没有对应的标准化实体" else len(target.split("，"))
    return len(lines) - 1


@pytest.mark.parametrize("name", EXTRACTION)
def test_targets_are_read_completely(name: str) -> None:
    empty = 0
    for row in rows(name, None):
        expected = structures(name, row)
        assert tuple(scored(name, row, row["target"])["f1"]) == (expected, 0, 0), row["id"]
        empty += expected == 0
    # Every entity of a CHIP-MDCFNPC dialogue is given, so that its list is never empty.
    assert empty or name == "chip_mdcfnpc"


def test_entities_are_words_of_the_text() -> None:
    for name in ("cmeee_v2", "imcs_v2_ner"):
        for row in rows(name, None):
            types = re.findall(r"^(.+?)实体：", row["target"], flags=re.MULTILINE)
            assert not types or types == row["answer_choices"]
            for line in row["target"].splitlines():
                for entity in filter(None, line.partition("实体：")[2].split("，")):
                    assert entity in row["input"]


def test_reports_have_their_six_sections() -> None:
    for row in rows("imcs_v2_mrg", None):
        lines = row["target"].splitlines()[1:]
        assert [line.split("：")[0] for line in lines] == list(SECTIONS)


def test_likelihood_choices_hold_the_gold(manager: Any) -> None:
    for name in LABELED:
        task = manager.load(f"promptcblue_{name}_ll")["tasks"][f"promptcblue_{name}_ll"]
        for doc in task.test_docs():
            choices = task.doc_to_choice(doc)
            assert len(set(choices)) == len(choices)
            assert doc["target"] in choices
            requests = task.construct_requests(doc, "问", metadata=(task.task_name, 0, 1))
            assert [request.args[1] for request in requests] == [f"\n{choice}" for choice in choices]


def test_likelihood_per_character_is_not_misled_by_length() -> None:
    doc = {"task_dataset": "CHIP-CTC", "target": "疾病分期", "answer_choices": ["疾病", "疾病分期"]}
    # 疾病 begins 疾病分期, so its sum can only be higher; the mean per character tells them apart.
    result = score_label_likelihoods(doc, [(-1.0, False), (-1.2, False), (-40.0, False)])
    assert result["macro_f1"] == ("疾病分期", "疾病")
    assert result["macro_f1_norm"] == ("疾病分期", "疾病分期")


def _own_words(row: dict[str, Any]) -> str:
    """A sample without what its form prescribes: labels, headers and the phrases of official answers."""
    text = f"{row['input']}\n{row['target']}"
    for fixed in sorted({*row["answer_choices"], *HEADERS}, key=len, reverse=True):
        text = text.replace(fixed, "\n")
    fields = (
        r"具有.{0,3}\n?关系的头尾实体对如下：|头实体为|尾实体为|主体词：|；发生状态：|；描述词：|；解剖部位："
    )
    return re.sub(fields, "\n", text)


def test_samples_repeat_no_sentence_of_a_benchmark(shared: Path) -> None:
    texts = [_own_words(row) for name in OFFICIAL for row in rows(name, None)]
    assert borrowed(texts, shared / "data") == set()


def test_a_row_without_labels_is_refused() -> None:
    row = {"id": "x-1", "task_dataset": "KUAKE-IR", "target": "相关", "answer_choices": []}
    with pytest.raises(ScoringError, match="no answer_choices"):
        label_choices(row)
    with pytest.raises(ScoringError, match="not a label task"):
        score_label_likelihoods({**row, "task_dataset": "MedDG"}, [])
