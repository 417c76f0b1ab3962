"""Responses that weigh options against each other, list them in words or give reasons; see :mod:`tests.scoring.readings`.

The key of some texts is (options, question, gold, reading); a gold of one letter makes a question with one answer.
"""

# Texts are read more easily unbroken.
# ruff: noqa: E501
from __future__ import annotations

__all__ = ["WEIGHED"]

_WRONG_EN = "All of the following are features EXCEPT"
_WRONG_ZH = "下列哪项是错误的"

WEIGHED: dict[str, dict[tuple[str, str, str, str], tuple[str, ...]]] = {
    "options listed in words": {
        ("药", "", "AC", "AC"): (
            "答案为头孢曲松、阿奇霉素。",
            "正确答案是头孢曲松和阿奇霉素",
            "头孢曲松、阿奇霉素",
            "答案是头孢曲松（A）、阿奇霉素（C）。",
            "答案：头孢曲松；阿奇霉素",
            "正确答案：\n头孢曲松\n阿奇霉素",
            "（A）（C）",
            "正确答案包括：\n- A. 头孢曲松\n- C. 阿奇霉素",
            "正确选项：A C\n错误选项：B D E",
        ),
        ("drugs", "", "AC", "AC"): (
            "The answers are ampicillin and doxycycline.",
            "The answers are ampicillin (A) and doxycycline (C).",
            "Ampicillin, doxycycline.",
            "Answer: Ampicillin; Doxycycline",
        ),
        ("drugs", "", "C", ""): (
            "The answer is ampicillin and doxycycline.",
            "The answer is ampicillin or doxycycline.",
            "Ampicillin, ceftriaxone and doxycycline are all antibiotics.",
        ),
        ("drugs", "", "C", "C"): (
            "The answer is doxycycline, ampicillin is not needed.",
            "The answer is doxycycline, not ampicillin.",
            "The answer is doxycycline and ampicillin only covers others.",
            "Answer: doxycycline (C), ampicillin (A) covers others.",
            "So, doxycycline.",
        ),
        ("hormones", "", "C", "C"): ("The answer is both prolactin and growth hormone.",),
        ("both", "", "C", "C"): ("The answer is both fever and rash.", "Fever and rash."),
        ("all", "", "D", "D"): ("The answer is fever, rash, and cough.",),
    },
    "all or all but one": {
        ("药", "", "ABCDE", "ABCDE"): (
            "全选",
            "以上都对",
            "以上选项均正确，全选。",
            "五项全对",
            "答案：全部正确",
        ),
        ("药", "", "ABCD", "ABCD"): ("除E外都正确", "除了E以外，其余均正确", "除E之外，其他选项都正确。"),
        ("药", "", "AC", ""): ("不能全选", "以上都不对", "不是全选"),
        ("drugs", "", "ABCD", "ABCD"): (
            "All of the above are correct.",
            "All are correct.",
            "All of them are true",
        ),
    },
    "one option ranked above another": {
        ("药", "", "C", "C"): (
            "C比B更合适",
            "C优于A",
            "A不如C",
            "C比A更合适，故选C",
            "A比B更合适，但C最合适",
            "C优于B，B优于A",
            "选项C比选项B更恰当。",
        ),
        ("drugs", "", "C", "C"): (
            "C is better than A.",
            "C is more appropriate than B.",
            "Option C is a better choice than option A.",
            "A is better than B, but C is best.",
            "(C) is preferable to (B).",
        ),
    },
    "an option that another is only compared with": {
        ("drugs", "", "C", "C"): (
            "Unlike options A, B, and D, C is the right choice.",
            "Unlike A and B, C is correct.",
            "Compared with A, C is better than B.",
            "In contrast to A, option C is correct.",
            "As opposed to options A and D, C is the best choice.",
        ),
        ("药", "", "C", "C"): (
            "与A、B相比，C更合适，选C。",
            "与B相比，选C。",
            "相比于A、D，C正确。",
            "C与B不同，C为首选，故选C。",
            "比起A，C更恰当",
        ),
    },
    "merely possible, or right in another case": {
        ("药", "", "C", ""): (
            "可能是A也可能是B",
            "可能选A，也可能选B",
            "也许是A，也许是D",
            "大概是A，或许是B",
        ),
        ("药", "", "C", "C"): ("可能是C", "大概选C", "可能是A，但答案是C"),
        ("drugs", "", "C", ""): (
            "It might be A. It might be B.",
            "If he had diabetes, the answer would be A.",
            "If the patient were pregnant, I would choose A.",
            "Had he a fever, the answer might be B.",
            "If he had diabetes, the answer would be ampicillin.",
        ),
        ("drugs", "", "C", "C"): (
            "It may be C.",
            "If the patient had diabetes, A would be right, but here C is correct.",
            "If I had to choose, I would pick C.",
            "If we consider the cost, the answer is C.",
            "Given his age, the answer would be C.",
        ),
    },
    "an answer and the reasons below it": {
        ("drugs", "", "C", "C"): (
            "C. Doxycycline\n\nExplanation: ampicillin (A) covers others.",
            "**C. Doxycycline**\n\n**Rationale:** A. Ampicillin is for others; B. Ceftriaxone is not first.",
            "C. Doxycycline - oral. Ampicillin (A) is not.",
            "C. Doxycycline\n\nA. Ampicillin covers others.\nB. Ceftriaxone is given by vein.",
            "C. Doxycycline\n\nWhy not the others?\nA. Ampicillin: others.\nD. Nitrofurantoin: urine.",
            "C. Doxycycline\n\nIncorrect options:\nA. Ampicillin: others.\nB. Ceftriaxone: vein.",
            "Doxycycline (C). Ceftriaxone (B) is given by vein.",
            "Not A, B or D. C it is.",
        ),
        ("药", "", "A", "A"): (
            "A. 头孢曲松\n分析：\nB. 青霉素：替代\nC. 阿奇霉素：替代",
            "A. 头孢曲松。青霉素（B）用于过敏者。",
            "头孢曲松（A）。青霉素（B）用于过敏者。",
            "A. 头孢曲松\n\n【解析】\nB. 青霉素用于别的病。",
        ),
        ("药", "", "A", ""): (
            "A. 头孢曲松：首选药物。\nB. 青霉素：替代。\nC. 阿奇霉素：替代。\nD. 万古霉素：无效。\nE. 甲硝唑：无效。",
        ),
        ("drugs", "", "C", ""): (
            "A. Ampicillin covers others. B. Ceftriaxone is given by vein. C. Doxycycline is oral. D. Nitrofurantoin is for urine.",
        ),
    },
    "what a question for the wrong one asks for": {
        ("drugs", _WRONG_EN, "D", "D"): (
            "The exception is nitrofurantoin.",
            "D is not a feature.",
            "A, B, C are seen here. D is not.",
            "All except D are features.",
            "Nitrofurantoin is not a feature of it.",
            "A is a feature. B is a feature. C is a feature. D isn't a feature.",
            "Ampicillin, ceftriaxone and doxycycline are features. The exception is nitrofurantoin.",
        ),
        ("drugs", _WRONG_EN, "D", ""): ("A is not the answer.", "A is not the exception."),
        ("药", _WRONG_ZH, "C", "C"): (
            "阿奇霉素是错误的",
            "C不属于正确处理",
            "错误的处理是阿奇霉素",
            "阿奇霉素不正确",
            "A、B、D、E为正确处理，C不是",
        ),
        ("药", _WRONG_ZH, "C", ""): ("C不是答案",),
    },
    "acronyms among longer options": {
        ("tests", "", "A", "A"): (
            "The next best step is an ECG.",
            "I would order an ECG.",
            "Obtain an ECG immediately.",
            "The best initial test is ECG.",
            "Therefore, ECG.",
            "应首先做ECG检查。",
        ),
        ("tests", "", "A", ""): (
            "ECG should be done first; troponin I comes later.",
            "ECG and troponin I are both useful.",
            "先做ECG，再查Troponin I",
        ),
        ("tests", "", "D", "D"): ("CT angiography, not ECG.", "So, CT angiography."),
    },
}
