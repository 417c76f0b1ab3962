"""Kinds of responses on which a reader goes wrong, each in many forms and in two languages.

The key of some texts is (options, reading); a question has a single answer unless its kind is in ``SEVERAL``.
"""

# Texts are read more easily unbroken.
from __future__ import annotations

from tests.scoring.readings_marks import MARKS
from tests.scoring.readings_verdicts import VERDICTS

__all__ = ["CHOICES", "QUESTIONS", "READINGS", "SEVERAL"]

CHOICES: dict[str, tuple[str, ...]] = {
    "drugs": ("Ampicillin", "Ceftriaxone", "Doxycycline", "Nitrofurantoin"),
    "tests": ("ECG", "Troponin I", "Chest X-ray", "CT angiography"),
    "药": ("头孢曲松", "青霉素", "阿奇霉素", "万古霉素", "甲硝唑"),
    # texts that are letters
    "groups": ("O", "A", "B", "AB"),
    "statements": ("a", "c", "bc", "ad"),
    "bases": ("U", "C", "G", "T"),
    "rotated": ("B", "C", "D", "A"),
    "vitamins": ("E", "D", "C", "B", "A"),
    # texts that combine letters
    "both": ("Fever", "Rash", "Both A and B", "None of the above"),
    "only": ("Fever", "Rash", "A only", "Both A and B"),
    "hormones": ("Prolactin", "Growth hormone", "Both prolactin and growth hormone", "Neither"),
    "all": ("Fever", "Rash", "Cough", "All of the above"),
    "均是": ("重复", "缺失", "A和C均是", "转位"),
    "选项均是": ("腺嘌呤", "尿嘧啶", "A、B选项均是", "以上都不是"),
    "以上": ("咳嗽", "发热", "皮疹", "以上都是"),
    # texts that begin like what stands between a cue and a letter
    "limits": ("> 50 %", "< 50 %", "= 50 %", "-50 %"),
    "words": ("is absent", "The heart", "Only the lungs", "most of the liver"),
    "判断": ("正确", "错误"),
    "truth": ("True", "False"),
    "pubmed": ("yes", "no", "maybe"),
    # more that are, hold or resemble letters
    "AB first": ("AB", "O", "A", "B"),
    "numerals": ("I", "II", "III", "IV"),
    "pairs": ("A, B", "B, C", "A, C", "A, B, C"),
    "sums": ("A+B", "B+C", "C+D", "A+D"),
    "ranges": ("A-B", "B-C", "C-D", "D-A"),
    "orders": ("A > B > C", "B > A > C", "C > B > A", "A = B = C"),
    "bracketed": ("(A)", "(B)", "(C)", "(D)"),
    "labels": ("A. x", "B. y", "C. z", "D. w"),
    "small": ("d", "c", "b", "a"),
    "articles": ("an A", "the B", "a C", "D."),
    "species": ("C. difficile", "B. fragilis", "A. baumannii", "E. coli"),
    "verdicts": ("wrong", "right", "incorrect", "correct"),
    "对错": ("错", "对", "不对", "都不对"),
    "是否": ("是", "否", "不确定", "B"),
    "血型": ("A型", "B型", "AB型", "O型"),
    "组合": ("a和b", "b和c", "A、B、C", "以上都是"),
    "genotypes": ("GG", "gg", "Gg", "gG"),
    "crosses": ("Bb和Bb", "Bb和bb", "BB和BB", "BB和Bb"),
    "prefixed": ("血氧含量↓", "PaO₂↓", "A血氧含量↓", "血氧饱和度正常"),
    "cues": ("answer", "option", "choice", "letter"),
    "above": ("None of the above", "All of the above", "A and B", "B and C"),
    "long": (
        "A text that is much longer than most responses and names no letter at all",
        "Another one of this kind, so that it cannot stand before a short response",
        "A third",
        "A fourth",
    ),
}

QUESTIONS: dict[str, str] = {
    "drugs": "Which drug is best for early Lyme disease in an adult?",
    "药": "治疗社区获得性肺炎首选的药物是",
}

SEVERAL = frozenset({"several letters judged"})

READINGS: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {
    "a letter whatever the options say": {
        ("groups", "A"): (
            "The answer is A",
            "The answer is A.",
            '{"answer": "A"}',
            "A. O",
            "The answer is O.",
        ),
        ("groups", "B"): (
            "Answer: B",
            "B",
            "(B)",
            "\\boxed{B}",
            "Therefore, the correct option is B.",
        ),
        ("groups", "C"): (
            "The answer is C. B",
            "The answer is C (B).",
        ),
        ("groups", "D"): (
            "The answer is AB.",
            "AB",
        ),
        ("statements", "C"): (
            "The answer is C",
            "The answer is C.",
            "Answer: bc",
        ),
        ("statements", "A"): ("Final answer: **A**",),
        ("statements", "B"): ("\\boxed{B}",),
        ("statements", "D"): ("The answer is ad.",),
        ("bases", "C"): (
            "答案为C",
            "正确答案是C。G",
            "正确答案是C。因为该碱基只见于RNA",
            "【答案】C",
            "选项C正确。",
        ),
        ("bases", "B"): ("故选B。",),
        ("bases", "A"): ("答案为U",),
        ("rotated", "A"): ("答案：A",),
        ("rotated", "D"): (
            "本题选D。",
            "Option D is correct.",
            "D is the correct answer.",
        ),
        ("rotated", "B"): ("The answer is B",),
        ("rotated", "C"): ("I would choose C.",),
        ("vitamins", "E"): (
            "答案是E。",
            "The answer is E",
        ),
        ("vitamins", "A"): ("答案为A",),
        ("vitamins", "B"): ("B. D",),
    },
    "one question, one answer": {
        ("both", "C"): (
            "The answer is Both A and B",
            "The answer is Both A and B.",
            "The answer is A and B.",
            "Both A and B",
            "Answer: A & B",
            "Both A and B are correct.",
            "The answer is C. Both A and B",
            "C) Both A and B",
            "A, B",
        ),
        ("both", ""): ("The answer is A and D.",),
        ("only", "C"): ("The answer is A only.",),
        ("only", "A"): ("The answer is A.",),
        ("only", "D"): ("The correct answers are A and B.",),
        ("all", "D"): (
            "The answer is A, B and C.",
            "The answer is all of the above.",
            "A, B, and C are all correct.",
        ),
        ("均是", "C"): (
            "A和C均是",
            "答案为A和C均是",
            "答案：A和C均是。",
            "答案为AC",
        ),
        ("均是", ""): ("答案为A和B",),
        ("选项均是", "C"): (
            "A、B选项均是",
            "故选A、B选项均是。",
            "答案为AB",
        ),
        ("以上", "D"): (
            "答案为以上都是",
            "A、B、C均正确，答案为D。",
            "答案为ABC",
        ),
        ("drugs", ""): (
            "The answer is A or C.",
            "The answers are B and D.",
            "AB",
        ),
        ("药", ""): (
            "答案为A、C。",
            "答案为ABCDE",
        ),
        ("药", "B"): ("A和C都有可能，但B最合适",),
        ("drugs", "B"): ("A and C are both possible, but B is best.",),
        ("drugs", "C"): ("I am torn between A and C. The answer is C.",),
    },
    "an option in full": {
        ("hormones", "C"): (
            "The answer is Both prolactin and growth hormone",
            "The answer is both prolactin and growth hormone.",
        ),
        ("hormones", "A"): ("The answer is prolactin.",),
        ("hormones", "B"): ("Answer: Growth hormone",),
        ("hormones", "D"): ("The answer is Neither.",),
        ("limits", "A"): ("The answer is > 50 %",),
        ("limits", "B"): ("The answer is < 50 %.",),
        ("limits", "C"): ("Answer: = 50 %",),
        ("limits", "D"): ("The answer is -50 %",),
        ("words", "A"): ("The answer is is absent",),
        ("words", "B"): (
            "The answer is the heart.",
            "The answer is The heart",
        ),
        ("words", "C"): ("The answer is Only the lungs.",),
        ("words", "D"): ("The answer is most of the liver.",),
        ("判断", "A"): (
            "答案为正确",
            "正确。",
            "A. 正确",
        ),
        ("判断", "B"): (
            "答案：错误",
            "错误",
            "答案为B、错误",
            "答案是正确的选项B",
        ),
        ("truth", "B"): (
            "The answer is False.",
            "B: False",
            "False",
        ),
        ("truth", "A"): ("A. True",),
        ("pubmed", "B"): (
            "B. no",
            "The answer is no.",
        ),
        ("both", "D"): ("The answer is None of the above.",),
    },
    **VERDICTS,
    **MARKS,
}
