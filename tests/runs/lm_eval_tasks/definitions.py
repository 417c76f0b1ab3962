"""The definitions, and the code that some of them name."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CODE", "GROUPS", "TASKS", "write_tasks"]

_JSON = """
dataset_path: json
dataset_kwargs:
  data_files: {train: DATA/train.jsonl, dev: DATA/dev.jsonl, test: DATA/test.jsonl}
test_split: test
"""
_CHOICE = (
    _JSON
    + """
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: choices
doc_to_target: gold
"""
)
_DRUG = (
    _JSON
    + """
output_type: multiple_choice
doc_to_text: "Is this a drug? {{word}}\\nAnswer:"
doc_to_choice: ["no", "yes"]
doc_to_target: label
"""
)
_WRITE = (
    _JSON
    + """
output_type: generate_until
doc_to_text: "Summarise.\\n{{note}}\\nSummary:"
doc_to_target: summary
generation_kwargs: {until: ["\\n"], max_gen_toks: 12}
"""
)
_NUMBER = (
    _JSON
    + """
output_type: generate_until
doc_to_text: "How many letters has {{word}}?\\nAnswer:"
doc_to_target: "{{word|length}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8}
"""
)
_EXACT = "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]"
_TWO = "metric_list: [{metric: acc}, {metric: acc_norm}]"
_ACC = "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]"
_SHOTS = _CHOICE + _ACC + "\nnum_fewshot: 2\n"

#: YAML by name; ``DATA`` stands for the folder with the data.
TASKS: dict[str, str] = {
    "mc_acc": _CHOICE + _TWO,
    "mc_default_metrics": _CHOICE,
    "mc_mutual_info": _CHOICE
    + "metric_list: [{metric: acc_mutual_info}, {metric: acc_bytes}, {metric: acc}]",
    "mc_exact_match": _CHOICE
    + "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]",
    "mc_f1": _DRUG + "metric_list: [{metric: f1}]",
    "mc_mcc": _CHOICE + "metric_list: [{metric: mcc}]",
    "mc_brier": _CHOICE + "metric_list: [{metric: brier_score}, {metric: acc}]",
    "mc_choice_dict": _DRUG.replace('["no", "yes"]', "{first: no drug, second: a drug}") + _ACC,
    "mc_choice_template": _CHOICE.replace(
        "doc_to_choice: choices", 'doc_to_choice: "{{[choices[0], choices[1], word, note]}}"'
    )
    + _ACC,
    "mc_target_text": _DRUG.replace("doc_to_target: label", "doc_to_target: name") + _ACC,
    "mc_target_digits": _CHOICE.replace("doc_to_target: gold", 'doc_to_target: "{{gold}}"') + _ACC,
    "mc_several_targets": _CHOICE.replace("doc_to_target: gold", "doc_to_target: golds")
    + "metric_list: [{metric: acc}, {metric: acc_norm}]",
    "mc_no_delimiter": _CHOICE + _ACC + '\ntarget_delimiter: ""',
    "mc_wide_delimiter": _CHOICE + _ACC + '\ntarget_delimiter: "\\n- "',
    "mc_several_inputs": _JSON
    + """
output_type: multiple_choice
doc_to_text: label
doc_to_choice: "{{['It is a table', 'It is ' + word]}}"
doc_to_target: "that they sell."
metric_list: [{metric: acc}]
""",
    "mc_prefix": _CHOICE + _ACC + '\ngen_prefix: "It is"',
    "mc_described": _CHOICE + _ACC + '\ndescription: "All about {{word}}.\\n\\n"',
    "shots_train": _SHOTS + "training_split: train",
    "shots_dev_first": _SHOTS + "fewshot_split: dev\nfewshot_config: {sampler: first_n}",
    "shots_dev": _SHOTS + "fewshot_split: dev\nfewshot_delimiter: ' | '",
    "shots_listed": _SHOTS
    + """
fewshot_config:
  samples:
    - {question: "Which is first?", choices: ["one", "two", "three", "four"], gold: 0}
    - {question: "Which is last?", choices: ["one", "two", "three", "four"], gold: 3}
""",
    "shots_otherwise": _SHOTS
    + """
fewshot_split: train
fewshot_config: {doc_to_text: "Q {{question}}", doc_to_target: "{{choices[gold]}}", target_delimiter: " -> "}
""",
    "shots_validation": _SHOTS + "validation_split: dev",
    "shots_from_test": _SHOTS,
    "shots_from_test_named": _SHOTS + "fewshot_split: test",
    "shots_generated": _WRITE + _EXACT + "\nnum_fewshot: 1\nfewshot_split: dev",
    "no_shots": _CHOICE + _ACC + "\nnum_fewshot: 0\nfewshot_split: dev",
    "validation_only": _CHOICE.replace("test_split: test", "validation_split: dev") + _ACC,
    "data_csv": _DRUG.replace("dataset_path: json", "dataset_path: csv").replace(".jsonl", ".csv") + _ACC,
    "data_parquet": """
dataset_path: parquet
dataset_kwargs: {data_files: {test: DATA/test.parquet}}
"""
    + _CHOICE.partition("test.jsonl}\n")[2]
    + _ACC,
    "data_arrow": """
dataset_path: arrow
dataset_kwargs: {data_files: {test: DATA/saved/test/data-00000-of-00001.arrow}}
"""
    + _CHOICE.partition("test.jsonl}\n")[2]
    + _ACC,
    "data_saved": "dataset_path: DATA/saved\n" + _CHOICE.partition("test.jsonl}\n")[2] + _ACC,
    "data_one_file": """
dataset_path: json
dataset_kwargs: {data_files: DATA/test.jsonl}
test_split: train
"""
    + _CHOICE.partition("test_split: test\n")[2]
    + _ACC,
    "included": "include: _template\n" + _ACC,
    "write_exact": _WRITE + _EXACT,
    "write_defaults": _JSON + 'doc_to_text: "{{note}} In short:"\ndoc_to_target: summary',
    "write_ignoring": _WRITE
    + """
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
    ignore_punctuation: true
    ignore_numbers: true
    regexes_to_ignore: ["in case", " "]
""",
    "write_texts": _WRITE + "metric_list: [{metric: bleu}, {metric: chrf}, {metric: ter}, {metric: chrf++}]",
    "write_any_of": _WRITE.replace("doc_to_target: summary", "doc_to_target: answers") + _EXACT,
    "write_choice": _NUMBER.replace('doc_to_target: "{{word|length}}"', "doc_to_target: gold")
    + "doc_to_choice: choices\n"
    + _EXACT,
    "write_bypass": _WRITE + "metric_list: [{metric: bypass}]",
    "filters_two": _NUMBER
    + _EXACT
    + """
filter_list:
  - name: strict
    filter: [{function: regex, regex_pattern: "(\\\\d+)"}, {function: take_first}]
  - name: flexible
    filter: [{function: regex, regex_pattern: "(\\\\w)", group_select: -1}, {function: take_first}]
""",
    "filters_chain": _NUMBER
    + _EXACT
    + """
filter_list:
  - name: mapped
    filter:
      - {function: lowercase}
      - {function: remove_whitespace}
      - {function: map, mapping_dict: {"7": "seven"}, default_value: none}
      - {function: take_first}
""",
    "filters_votes": _NUMBER.replace(
        "max_gen_toks: 8}", "max_gen_toks: 4, do_sample: true, temperature: 0.9}"
    )
    + _EXACT
    + """
repeats: 3
filter_list:
  - name: first
    filter: [{function: take_first}]
  - name: vote
    filter: [{function: majority_vote}, {function: take_first}]
  - name: two
    filter: [{function: take_first_k, k: 2}, {function: majority_vote}, {function: take_first}]
""",
    "loglikelihood": _JSON
    + """
output_type: loglikelihood
doc_to_text: "{{sentence.split(' ')[:-1]|join(' ')}}"
doc_to_target: " {{sentence.split(' ')[-1]}}"
metric_list: [{metric: perplexity}, {metric: acc}]
""",
    "loglikelihood_defaults": _JSON
    + 'output_type: loglikelihood\ndoc_to_text: "{{word}}"\ndoc_to_target: " is {{name}}"',
    "rolling": _JSON
    + """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{sentence}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
""",
    "rolling_defaults": _JSON + 'output_type: loglikelihood_rolling\ndoc_to_text: ""\ndoc_to_target: note',
    "code_choice": _CHOICE.replace("doc_to_choice: choices", "doc_to_choice: !function utils.choices") + _ACC,
    "code_process_docs": _CHOICE + _ACC + "\nprocess_docs: !function utils.process",
    "code_chance": _CHOICE
    + _ACC
    + "\nprocess_docs: !function utils.shuffle\nnum_fewshot: 1\ntraining_split: train",
    "code_likelihood": _CHOICE
    + "metric_list: [{metric: likelihood, aggregation: !function utils.likelihood, higher_is_better: true}]",
    "code_results": _WRITE
    + """
process_results: !function utils.results
metric_list:
  - {metric: length, aggregation: median, higher_is_better: false}
  - {metric: sometimes, aggregation: nanmean, higher_is_better: true}
  - {metric: rare, aggregation: mean, higher_is_better: true}
  - {metric: found, aggregation: !function medbench.scoring.aggregation.micro_f1, higher_is_better: true}
  - {metric: class, aggregation: !function medbench.scoring.aggregation.macro_f1, higher_is_better: true}
  - {metric: spread, aggregation: !function utils.spread, higher_is_better: true}
  - {metric: mean, aggregation: !function utils.mean, higher_is_better: true}
  - {metric: partial, aggregation: !function utils.PARTIAL, higher_is_better: true}
""",
    "code_metric": _WRITE
    + """
metric_list:
  - {metric: !function utils.overlap, aggregation: !function utils.mean, higher_is_better: true}
""",
    "code_filter": _NUMBER
    + _EXACT
    + """
filter_list:
  - {name: own, filter: [{function: custom, filter_fn: !function utils.last_word}]}
""",
    "code_data": """
custom_dataset: !function utils.documents
dataset_kwargs: {n: 3}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: ["a", "b"]
doc_to_target: gold
"""
    + _ACC,
    "code_class": "class: !function utils.Written",
}

#: Groups, tags and all.
GROUPS: dict[str, str] = {
    "by_size": """
task: [mc_acc, validation_only]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
""",
    "equally": """
task: [mc_acc, validation_only, mc_mutual_info]
aggregate_metric_list:
  - {metric: acc, weight_by_size: false}
  - {metric: acc_norm, weight_by_size: true}
""",
    "filtered": """
task: [filters_two, write_exact]
aggregate_metric_list:
  - {metric: exact_match, aggregation: mean, filter_list: [strict, flexible]}
  - {metric: exact_match, aggregation: mean, filter_list: none}
""",
    "nested": "task: [by_size, tagged]\naggregate_metric_list: {metric: acc, weight_by_size: false}",
}
_TAGGED = ("mc_choice_dict", "mc_target_text")

CODE = '''
import random
from functools import partial

import datasets
import numpy as np
from lm_eval.api.task import ConfigurableTask


def choices(doc):
    return [doc["word"], doc["note"], "neither", "both"]


def process(docs):
    return docs.filter(lambda doc: doc["label"] == 1).map(lambda doc: {"question": doc["note"]})


def shuffle(docs):
    order = list(range(len(docs)))
    random.shuffle(order)
    return docs.select(order[:4])


def likelihood(items):
    return float(np.mean([lls[gold] for gold, lls in items]))


def results(doc, responses):
    text = responses[0]
    found = {
        "length": len(text),
        "sometimes": float("nan") if doc["label"] else 1.0,
        "found": (text.count("a"), text.count("e"), text.count("i") + 1),
        "class": (doc["name"], "yes" if "e" in text else "no"),
        "spread": {"length": len(text)},
        "mean": (len(text), 2),
        "partial": len(text),
    }
    return found | ({"rare": 1.0} if doc["label"] else {})


def spread(items):
    lengths = [item["length"] for item in items]
    return max(lengths) - min(lengths)


def mean(items):
    """A function of this name that is no mean."""
    return sum(item[0] if isinstance(item, tuple) else item for item in items) / 1000


PARTIAL = partial(max)


def overlap(references, predictions, **_):
    return len(set(references[0]) & set(predictions[0])) / len(set(references[0]))


def last_word(responses, docs):
    return [(texts[0].split() or [""])[-1] for texts in responses]


def documents(n, **_):
    rows = [{"question": f"Is it {i}?", "gold": i % 2} for i in range(n)]
    return {"test": datasets.Dataset.from_list(rows)}


class Written(ConfigurableTask):
    """A task in Python that asks for a text and for a log-likelihood at once."""

    VERSION = 2

    def __init__(self, config=None):
        super().__init__(config={
            "task": "code_class", "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": "DATA/test.jsonl"}}, "test_split": "test",
            "doc_to_text": "{{note}}", "doc_to_target": "summary",
            "generation_kwargs": {"until": ["\\\\n"], "max_gen_toks": 6}, "metadata": {"version": 2},
        })

    def construct_requests(self, doc, ctx, **kwargs):
        from lm_eval.api.instance import Instance

        for unused in ("apply_chat_template", "chat_template"):
            kwargs.pop(unused, None)
        return [
            Instance("generate_until", doc, (ctx, {"until": ["\\\\n"], "max_gen_toks": 6}), 0, **kwargs),
            Instance("loglikelihood", doc, (ctx, " " + doc["summary"]), 1, **kwargs),
        ]

    def process_results(self, doc, results):
        return {"length": len(results[0]), "logprob": results[1][0]}

    def aggregation(self):
        return {"length": max, "logprob": partial(sum)}

    def higher_is_better(self):
        return {"length": True}
'''


def write_tasks(folder: Path, data: Path, names: list[str] | None = None) -> None:
    """Write definitions, all by default, with their code beside them."""
    (folder / "utils.py").write_text(CODE.replace("DATA", data.as_posix()), encoding="utf-8")
    (folder / "_template").write_text(_CHOICE.replace("DATA", data.as_posix()), encoding="utf-8")
    for name, text in TASKS.items():
        if names is None or name in names:
            head = f"task: {name}\n" + ("tag: tagged\n" if name in _TAGGED else "")
            path = folder / f"{name}.yaml"
            path.write_text(head + text.replace("DATA", data.as_posix()) + "\n", encoding="utf-8")
    for name, text in GROUPS.items() if names is None else ():
        (folder / f"{name}.yaml").write_text(f"group: {name}\n{text}\n", encoding="utf-8")
