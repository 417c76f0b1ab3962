"""Which rule each repository applies to which dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from medbench.common.suggest import suggestion
from medbench.errors import ScoringError
from medbench.scoring.authors import rules
from medbench.scoring.authors.rules import Rule

__all__ = ["COMMITS", "RULES", "rule", "verdict"]

#: Repository and commit that each name stands for.
COMMITS: Mapping[str, str] = {
    "ming_april": "MediaBrain-SJTU/MING@eeb2574",
    "ming": "MediaBrain-SJTU/MING@8efa8cb",
    "ming_dev": "MediaBrain-SJTU/MING@a9f6b44",
    "medcare": "BlueZeros/MedCare@fcf9a3f",
}

_Value = TypeVar("_Value")

_DIRECT = ("mmlu", "ceval", "cmmlu", "PLE_TCM", "PLE_Pharmacy", "mmedbench_en", "mmedbench_zh")
_CHINESE = ("ceval", "cmmlu", "CMExam", "CMB", "PLE_TCM", "PLE_Pharmacy")
_ENGLISH = ("mmlu", "MedQA", "MedMCQA")


def _ming(chinese: Rule, english: Rule) -> dict[str, Rule]:
    """The table of MING's scorer, whose reasoning datasets end in ``_cot``."""
    return {
        **dict.fromkeys(_DIRECT, rules.direct),
        **{f"{dataset}_cot": chinese for dataset in _CHINESE},
        **{f"{dataset}_cot": english for dataset in _ENGLISH},
        "mmedbench_en_cot": rules.mmedbench_english,
        "mmedbench_zh_cot": rules.mmedbench_chinese,
    }


#: The rule of a dataset, by repository and the repository's own key for the dataset.
RULES: Mapping[str, Mapping[str, Rule]] = {
    "ming_april": _ming(rules.chinese_april, rules.english_dot),
    "ming": _ming(rules.chinese, rules.english_dot),
    "ming_dev": _ming(rules.chinese_cut, rules.english_bare) | {"CMB_val_cot": rules.chinese_cut},
    # MedCare's keys lost the suffix, and it has no direct protocol any more.
    "medcare": {
        **dict.fromkeys((*_CHINESE, "mmedbench_zh", "medqa_mainland"), rules.chinese_cut),
        **dict.fromkeys(_ENGLISH, rules.english_bare),
        "mmedbench_en": rules.mmedbench_english,
    },
}


def rule(repository: str, dataset: str) -> Rule:
    """The rule that a repository's scorer applies to a dataset.

    Args:
        repository: ``ming_april``, ``ming``, ``ming_dev`` or ``medcare``.
        dataset: The repository's own key for the dataset.

    Raises:
        ScoringError: The scorer has no such key; the authors' scripts stop there, too.
    """
    datasets = _known(RULES, repository, "there is no protocol of the repository")
    return _known(datasets, dataset, f"{COMMITS[repository]} scores no dataset")


def verdict(repository: str, dataset: str, language: str, text: str, gold: str) -> bool:
    """Whether a repository's scorer counts an answer as right.

    Args:
        repository: ``ming_april``, ``ming``, ``ming_dev`` or ``medcare`` (:data:`COMMITS`).
        dataset: The repository's own key for the dataset, such as ``CMExam_cot``.
        language: Language of the dataset, ``zh`` or ``en``; the key already decides the rule, so this only
            guards against a key of the other language.
        text: The text that is scored, both passes where there are two.
        gold: The gold letters as one string, such as ``"B"`` or ``"ACE"``.

    Raises:
        ScoringError: The repository, the dataset or its language is not known, or there is no gold.
    """
    judge = rule(repository, dataset)
    if not gold:
        raise ScoringError("there is no gold letter to judge by", where=dataset)
    if language != _language(dataset):
        raise ScoringError(
            f"the language is {language!r}", where=dataset, hint=f"{dataset} is {_language(dataset)}"
        )
    return judge(text, gold)


def _language(dataset: str) -> str:
    name = dataset.removesuffix("_cot")
    return "en" if name in (*_ENGLISH, "mmedbench_en") else "zh"


def _known(table: Mapping[str, _Value], name: str, what: str) -> _Value:
    if name in table:
        return table[name]
    raise ScoringError(f"{what} {name!r}", hint=suggestion(name, table, "there are"))
