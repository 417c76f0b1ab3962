"""The exam tasks: every definition loads, shows what its protocol prescribes, and scores as it should."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tasks.oracles import ConstantLM, EmptyLM, GoldLM, OracleLM, evaluate
from tests.tasks.test_authors import AUTHORS, AUTHORS_GROUPS
from tests.tasks.test_exam_samples import CEVAL, CMMLU, MMLU, MULTIPLE, rows

ROOT = Path(__file__).resolve().parents[2]
TASKS = ROOT / "tasks"

HEALTH = ("nutrition", "virology", "human_aging")
SUBJECTS = {
    "mmlu_medical": tuple(subject for subject in MMLU if subject not in HEALTH),
    "mmlu_health": HEALTH,
    "cmmlu_medical": CMMLU,
    "ceval_medical": CEVAL,
}
LEAVES = tuple(f"{group}_{subject}" for group, subjects in SUBJECTS.items() for subject in subjects)
ALONE = ("pubmedqa", "medqa_us", "medqa_mainland", "medmcqa", "cmb_exam", "mmedbench_zh", "mmedbench_en")
PARTED = ("cmexam", "ple_pharmacy", "ple_tcm")

LETTERS = (*ALONE, *LEAVES, *(f"{name}_single" for name in PARTED))
COT = (*(f"{name}_cot" for name in (*ALONE, *LEAVES, *PARTED)), "cmexam_clinical_cot")
DIRECT = tuple(f"{name}_direct" for name in (*ALONE, *LEAVES, *PARTED))
SEVERAL = tuple(f"{name}_multiple" for name in MULTIPLE)
RATIONALES = ("mmedbench_zh_rationale", "mmedbench_en_rationale")
GENERATED = (*COT, *DIRECT, *SEVERAL)
ALL = (*LETTERS, *GENERATED, *RATIONALES)

NINE = (
    *("medqa_us", "medmcqa", "mmlu_medical", "cmb_exam", "cmexam"),
    *("cmmlu_medical", "ceval_medical", "ple_pharmacy", "ple_tcm"),
)
EXAMS_EN = {"pubmedqa", "medqa_us", "medmcqa", "mmlu_medical", "mmlu_health", "mmedbench_en"}
EXAMS_ZH = {
    *("medqa_mainland", "cmmlu_medical", "ceval_medical", "cmb_exam"),
    *("cmexam", "ple_pharmacy", "ple_tcm", "mmedbench_zh"),
}
SUITES = ("exams_en", "exams_zh", "ming_moe", "ming_moe_cot", "medbench_all")

SUFFIXES = {
    ("cot", "zh"): "\n\n请在回答的最后用以下格式回答：答案为{answer}。",
    (
        "cot",
        "en",
    ): "\n\nPlease format the final answer at the end of the response as: The answer is {answer}.",
    ("direct", "zh"): "\n\n请用选项的字母直接回答，不要输出其他信息：",
    ("direct", "en"): "\n\nPlease answer with option letter directly, do not output other infomation.",
}
# Where free text ends: a base model goes on with another question.
NEXT = {"en": ["\nQuestion:", "\nHuman:", "\nUser:"], "zh": ["\n题目：", "\n问题：", "\n用户：", "\nHuman:"]}
PROTOCOLS = {"cot": "cot", "direct": "direct", "multiple": "generate", "rationale": "generate"}
# Benchmarks that no file of the reference data holds.
NO_FILES = ("ple_pharmacy", "ple_tcm", "cmb_exam_multiple")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a task reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def _manager(**metadata: Any) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=[TASKS], include_defaults=False, metadata=metadata)


@pytest.fixture(scope="module")
def manager() -> Any:
    return _manager(data_source="samples")


@pytest.fixture(scope="module")
def tasks(manager: Any) -> dict[str, Any]:
    return {name: manager.load(name)["tasks"][name] for name in ALL}


def _documents(task: Any) -> Iterator[tuple[dict[str, Any], str]]:
    for doc in task.eval_docs:
        yield doc, task.fewshot_context(doc, num_fewshot=0)


def _options(doc: dict[str, Any]) -> str:
    return "\n".join(f"{letter}. {text}" for letter, text in zip(doc["letters"], doc["options"], strict=True))


def test_every_definition_is_found(manager: Any) -> None:
    exams = {name for name in manager.all_subtasks if not name.startswith("promptcblue")}
    assert exams == {*ALL, *AUTHORS}
    groups = {*SUBJECTS, *PARTED, *SUITES, *AUTHORS_GROUPS, "mmedbench_rationale"}
    groups |= {f"{group}_{protocol}" for group in SUBJECTS for protocol in ("cot", "direct")}
    assert set(manager.all_groups) - {"promptcblue"} == groups
    # lm-eval passes over what it cannot parse without a word.
    files = [path for path in TASKS.rglob("*.yaml") if path.parent.name != "promptcblue"]
    assert len(files) == len(ALL) + len(AUTHORS) + len(groups)


def test_definitions_are_complete(tasks: dict[str, Any]) -> None:
    for name, task in tasks.items():
        metadata = task.config.metadata
        suffix = name.rpartition("_")[2]
        assert metadata["protocol"] == PROTOCOLS.get(suffix, "letters")
        assert metadata["family"] == ("generation" if suffix == "rationale" else "exam")
        assert isinstance(metadata["version"], float)
        assert metadata["main_metric"] == ("rouge_1" if suffix == "rationale" else "acc")
        assert metadata["main_metric"] in task.aggregation()
        assert set(task.higher_is_better()) == set(task.aggregation())
        assert task.higher_is_better()[metadata["main_metric"]]
        assert not task.higher_is_better().get("truncated", False)
        languages = {doc["language"] for doc in task.eval_docs}
        assert languages == {metadata["language"]}
        assert len(task.eval_docs) >= 8
        assert task.config.num_fewshot is None


def test_tags_select_by_language_and_kind(manager: Any) -> None:
    from lm_eval.tasks._index import Kind

    tags = {name: entry.tags for name, entry in manager._index.items() if entry.kind is Kind.TAG}
    assert tags["exam"] == {*ALL, *AUTHORS}
    assert tags["authors"] == set(AUTHORS)
    assert tags["cot"] == set(COT)
    assert tags["direct"] == set(DIRECT)
    assert set(RATIONALES) <= tags["generation"]
    assert tags["zh"] & set(ALL) == set(ALL) - tags["en"]
    assert set(SEVERAL) <= tags["multiple_answers"] <= set(GENERATED)


def test_prompts_show_question_and_options(tasks: dict[str, Any]) -> None:
    for name, task in tasks.items():
        for doc, prompt in _documents(task):
            assert doc["question"] in prompt, name
            assert doc["context"] in prompt, name
            if name != "pubmedqa":  # answers in words
                assert f"\n{_options(doc)}\n" in prompt, name
            assert "{{" not in prompt
            assert prompt == prompt.strip()
            if doc["rationale"]:
                assert doc["rationale"] not in prompt


@pytest.mark.parametrize("name", [name for name in LETTERS if name != "pubmedqa"])
def test_letters_are_asked_for_by_likelihood(tasks: dict[str, Any], name: str) -> None:
    task = tasks[name]
    chinese = task.config.metadata["language"] == "zh"
    for doc, prompt in _documents(task):
        assert prompt.endswith("\n答案：" if chinese else "\nAnswer:")
        requests = task.construct_requests(doc, prompt, metadata=(name, 0, 1))
        space = "" if chinese else " "
        assert [request.args for request in requests] == [(prompt, space + text) for text in doc["letters"]]
        assert len(doc["answer"]) == 1
        assert task.doc_to_target(doc) == doc["answer"]


def test_pubmedqa_is_answered_in_words(tasks: dict[str, Any]) -> None:
    name = "pubmedqa"
    task = tasks[name]
    doc, prompt = next(_documents(task))
    assert prompt == f"Abstract: {doc['context']}\nQuestion: {doc['question']}\nAnswer:"
    requests = task.construct_requests(doc, prompt, metadata=(name, 0, 1))
    assert [request.args[1] for request in requests] == [" yes", " no", " maybe"]
    # Positions: lm-eval would take an option's text for one if it were written in digits.
    assert [task.doc_to_target(doc) for doc in task.eval_docs] == [
        doc["letters"].index(doc["answer"]) for doc in task.eval_docs
    ]


def test_prompts_word_for_word(tasks: dict[str, Any]) -> None:
    doc, prompt = next(_documents(tasks["medmcqa"]))
    assert prompt == f"Question: {doc['question']}\nChoices:\n{_options(doc)}\nAnswer:"
    doc, prompt = next(_documents(tasks["medqa_us"]))
    assert prompt == f"Question: {doc['question']}\n{_options(doc)}\nAnswer:"
    doc, prompt = next(_documents(tasks["mmlu_medical_college_biology"]))
    head = "The following are multiple choice questions (with answers) about college biology.\n\n"
    assert prompt == f"{head}{doc['question']}\n{_options(doc)}\nAnswer:"
    doc, prompt = next(_documents(tasks["cmmlu_medical_virology"]))
    head = "以下是关于病毒学的单项选择题，请直接给出正确答案的选项。\n\n"
    assert prompt == f"{head}{doc['question']}\n{_options(doc)}\n答案："
    doc, prompt = next(_documents(tasks["ceval_medical_physician"]))
    head = "以下是中国关于医师资格考试的单项选择题，请选出其中的正确答案。\n\n"
    assert prompt == f"{head}{doc['question']}\n{_options(doc)}\n答案："
    doc, prompt = next(_documents(tasks["cmb_exam"]))
    assert prompt == f"{doc['question']}\n{_options(doc)}\n答案："


@pytest.mark.parametrize("name", [*COT, *DIRECT])
def test_the_authors_prompts_and_settings(tasks: dict[str, Any], name: str) -> None:
    task = tasks[name]
    metadata = task.config.metadata
    chinese, protocol = metadata["language"] == "zh", metadata["protocol"]
    for doc, prompt in _documents(task):
        head = f"{doc['context']}\n\n" if doc["context"] else ""
        suffix = SUFFIXES[protocol, metadata["language"]]
        assert prompt == f"{head}{doc['question']}\n{_options(doc)}{suffix}"
    free = any(len(doc["answer"]) > 1 for doc in task.eval_docs)
    assert free == name.startswith(PARTED)
    stops = NEXT[metadata["language"]] if protocol == "cot" or free else []
    expected: dict[str, Any] = {"until": ["<|im_end|>", *stops], "do_sample": False}
    if protocol == "direct":
        expected |= {"max_gen_toks": 16} if free else {"constrain": "letters", "max_gen_toks": 1}
    else:
        marker = "答案为" if chinese else "The answer is"
        second: dict[str, Any] = {
            "suffix": f"\n{marker}" if chinese else f"\n{marker} ",
            "when": "missing",
        }
        second |= {"max_gen_toks": 50} if free else {"letters": "letters", "max_gen_toks": 1}
        expected |= {"max_gen_toks": 1024, "second_pass": second}
    assert task.config.generation_kwargs == expected


@pytest.mark.parametrize("name", MULTIPLE)
def test_parts_of_an_exam_share_no_document(manager: Any, tasks: dict[str, Any], name: str) -> None:
    single = tasks[name if name == "cmb_exam" else f"{name}_single"].eval_docs
    several = tasks[f"{name}_multiple"].eval_docs
    assert all(len(answer) == 1 for answer in single["answer"])
    assert all(len(answer) > 1 for answer in several["answer"])
    assert sorted([*single["id"], *several["id"]]) == sorted(row["id"] for row in rows(name))


def test_worked_examples_come_from_the_dev_split_in_order(tasks: dict[str, Any]) -> None:
    for name in LEAVES:
        task = tasks[name]
        dataset = task.config.metadata["dataset"]
        task.set_fewshot_seed(3)
        doc = task.eval_docs[0]
        prompt = task.fewshot_context(doc, num_fewshot=5)
        answer = "答案：" if task.config.metadata["language"] == "zh" else "Answer: "
        shown = [
            f"{row['question']}\n{_options(row)}\n{answer}{row['answer']}\n\n" for row in rows(dataset, "dev")
        ]
        assert prompt.count("".join(shown)) == 1
        assert prompt.startswith(f"{task.config.description}{shown[0]}")
        assert task.fewshot_cfg.split == "dev"
    for name in set(ALL) - set(LEAVES) - {"pubmedqa"}:
        assert tasks[name].fewshot_cfg.split is None
        assert tasks[name].fewshot_cfg.samples is None


def test_gold_answers_reach_the_maximum(manager: Any, tasks: dict[str, Any]) -> None:
    results = evaluate(GoldLM(), [*LETTERS, *GENERATED], manager)["results"]
    for name in (*LETTERS, *GENERATED):
        scores = results[name]
        assert scores["acc,none"] == 1.0, name
        if name in GENERATED:
            assert scores["extracted,none"] == 1.0, name
            assert scores["truncated,none"] == 0.0, name


def test_gold_rationales_reach_the_maximum(manager: Any) -> None:
    model = OracleLM(lambda doc: str(doc["rationale"]), lambda *_: 0.0)
    results = evaluate(model, RATIONALES, manager)["results"]
    for name in RATIONALES:
        for metric in ("rouge_1", "rouge_2", "rouge_l", "bleu_1"):
            assert results[name][f"{metric},none"] == pytest.approx(1.0, abs=1e-7), (name, metric)


@pytest.mark.parametrize("letter", ["A", "C"])
def test_a_constant_letter_scores_its_frequency(manager: Any, tasks: dict[str, Any], letter: str) -> None:
    names = [name for name in LETTERS if name != "pubmedqa"]
    results = evaluate(ConstantLM(letter), names, manager)["results"]
    for name in names:
        single = [row for row in rows(tasks[name].config.metadata["dataset"]) if len(row["answer"]) == 1]
        frequency = Counter(row["answer"] for row in single)[letter] / len(single)
        assert results[name]["acc,none"] == pytest.approx(frequency, abs=1e-12), name
        assert frequency <= 1 / 4


def test_a_constant_word_scores_its_frequency(manager: Any) -> None:
    result = evaluate(ConstantLM("maybe"), ["pubmedqa"], manager)["results"]["pubmedqa"]
    assert result["acc,none"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("letters", ["B", "ABD"])
def test_a_constant_generated_answer_scores_its_frequency(
    manager: Any, tasks: dict[str, Any], letters: str
) -> None:
    phrases = {"zh": f"答案为{letters}", "en": f"The answer is {letters}."}
    model = OracleLM(lambda doc: phrases[doc["language"]], lambda *_: 0.0)
    results = evaluate(model, GENERATED, manager)["results"]
    for name in GENERATED:
        found = rows("cmexam" if name.startswith("cmexam") else tasks[name].config.metadata["dataset"])
        if name in SEVERAL:
            found = [row for row in found if len(row["answer"]) > 1]
        elif name.startswith("cmb_exam"):
            found = [row for row in found if len(row["answer"]) == 1]
        # The exact set of letters: "B" is worth nothing where "ABD" is right, and the other way round.
        frequency = sum(row["answer"] == letters for row in found) / len(found)
        assert results[name]["acc,none"] == pytest.approx(frequency, abs=1e-12), name


def test_empty_answers_score_nothing_and_do_not_fail(manager: Any) -> None:
    results = evaluate(EmptyLM(), [*LETTERS, *GENERATED, *RATIONALES], manager)["results"]
    for name in GENERATED:
        assert results[name]["acc,none"] == results[name]["extracted,none"] == 0.0, name
    for name in RATIONALES:
        assert results[name]["rouge_1,none"] < 0.1


def test_groups_have_their_members() -> None:
    groups = {}
    for path in TASKS.rglob("*.yaml"):
        # A group names no function, so that a plain reader does.
        if (text := path.read_text(encoding="utf-8")).startswith("group:"):
            group = yaml.safe_load(text)
            assert len(set(group["task"])) == len(group["task"])
            groups[group["group"]] = (group["task"], group["metadata"]["macro"])
    prompted = groups["promptcblue"][0]
    expected = {
        "exams_en": (EXAMS_EN, True),
        "exams_zh": (EXAMS_ZH, True),
        "ming_moe": ({*NINE, *prompted}, True),
        "ming_moe_cot": ({*(f"{name}_cot" for name in NINE), *prompted}, True),
        "medbench_all": ({"exams_en", "exams_zh", "promptcblue", "mmedbench_rationale"}, True),
        "mmedbench_rationale": (set(RATIONALES), True),
        "promptcblue": (set(prompted), True),
        **{name: ({f"{name}_single", f"{name}_multiple"}, False) for name in PARTED},
    }
    for name, subjects in SUBJECTS.items():
        for protocol in ("", "_cot", "_direct"):
            members = {f"{name}_{subject}{protocol}" for subject in subjects}
            expected[f"{name}{protocol}"] = (members, True)
    ours = {name: group for name, group in groups.items() if name not in AUTHORS_GROUPS}
    assert {name: (set(members), macro) for name, (members, macro) in ours.items()} == expected
    assert len(groups["ming_moe"][0]) == len(groups["ming_moe_cot"][0]) == 25


def test_the_whole_suite_holds_every_default_protocol(manager: Any) -> None:
    loaded = manager.load("medbench_all")
    prompted = {name for name in loaded["tasks"] if name.startswith("promptcblue")}
    assert len(prompted) == 16
    # The published file of CMB-Exam has single answers only.
    assert set(loaded["tasks"]) == {*LETTERS, *SEVERAL, *RATIONALES, *prompted} - {"cmb_exam_multiple"}


def test_options_can_be_shuffled_without_touching_a_definition() -> None:
    names = ["medqa_us", "cmexam_multiple", "pubmedqa", "cmmlu_medical_virology_cot"]
    shuffled = _manager(data_source="samples", shuffle_options=11)
    results = evaluate(GoldLM(), names, shuffled)["results"]
    assert all(results[name]["acc,none"] == 1.0 for name in names)
    task = shuffled.load("medqa_us")["tasks"]["medqa_us"]
    before = {row["id"]: row for row in rows("medqa_us")}
    moved = [doc for doc in task.eval_docs if doc["options"] != before[doc["id"]]["options"]]
    assert len(moved) > len(task.eval_docs) / 2
    for doc in moved:
        old = before[doc["id"]]
        assert (
            doc["options"][doc["letters"].index(doc["answer"])]
            == old["options"][old["letters"].index(old["answer"])]
        )


def test_every_rotation_of_the_options_can_be_asked_for() -> None:
    rotated = _manager(data_source="samples", circular=True)
    names = ["cmb_exam", "ple_tcm_multiple", "medmcqa_direct"]
    results = evaluate(GoldLM(), names, rotated)["results"]
    for name in names:
        task = rotated.load(name)["tasks"][name]
        kept = {doc["id"].rpartition("@")[0] for doc in task.eval_docs}
        found = [row for row in rows(task.config.metadata["dataset"]) if row["id"] in kept]
        assert len(task.eval_docs) == sum(len(row["options"]) for row in found)
        assert results[name]["acc,none"] == 1.0


@pytest.mark.slow
def test_real_files_render_and_score(shared: Path) -> None:
    real = _manager(data_source="folder", data_dir=str(shared / "data"))
    names = [name for name in (*LETTERS, *SEVERAL, *RATIONALES, *COT) if not name.startswith(NO_FILES)]
    # Other subjects differ from these in the file alone.
    names = [name for name in names if name not in COT or not name.startswith(tuple(SUBJECTS))]
    for name in names:
        task = real.load(name)["tasks"][name]
        docs = task.eval_docs.select(range(min(20, len(task.eval_docs))))
        for doc in docs:
            prompt = task.fewshot_context(doc, num_fewshot=0)
            assert doc["question"] in prompt
            assert task.doc_to_target(doc)
            if name != "pubmedqa":
                assert _options(doc) in prompt
    model = GoldLM()
    scored = [name for name in names if name not in RATIONALES]
    results = evaluate(model, scored, real, limit=20)["results"]
    for name in scored:
        assert results[name]["acc,none"] == 1.0, name
    assert all(prompt.strip() for prompt in model.prompts)
    from medbench.errors import DataError

    with pytest.raises(DataError, match="several right answers"):
        real.load("cmb_exam_multiple")
