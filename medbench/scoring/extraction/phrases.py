"""The phrases with which people, and models that learnt from them, commit to an answer or take it back.

Every pattern is a plain alternation with bounded repetition, so that matching stays linear in the text. They
expect tidied text: half-width punctuation except ``。`` and ``、``.
"""

# Long alternations and texts are read more easily unbroken.
# ruff: noqa: E501
from __future__ import annotations

import re

__all__ = [
    "ANSWER_AFTER",
    "APART",
    "ASKS_FOR_WRONG",
    "CALLED_WRONG",
    "CLAUSE_BREAK",
    "CLEAN_END",
    "CONTRAST",
    "CUE",
    "ENGLISH_FOLLOWERS",
    "FILLER",
    "HEDGED",
    "HYPOTHETICAL",
    "NEGATED",
    "NEGATED_BEFORE",
    "NOT",
    "POINTED_AT",
    "QUESTION",
    "RECOMMENDS",
    "RIGHT_AFTER",
    "SETS_ASIDE",
    "TERM_AFTER",
    "TURN",
    "TURN_END",
    "VERDICT_BESIDE",
    "VERDICT_LATER",
    "WRONG_BUT_ASKED_FOR",
    "WRONG_ONES",
    "WRONG_ONE_IS",
]

_I = re.IGNORECASE

# --- before the letter ---------------------------------------------------------------------------------

#: Something that announces an answer. The group says how much must follow for it to count:
#: ``says`` nothing more, ``turns`` (so, but, it is) a clean end of the clause after the letters.
CUE = re.compile(
    r"""
    (?P<says>
        答案 | 正解 | 选项(?=\s?[A-J]的(?:理由|原因)) | (?<![回解作问对应])答(?=\s?:)
      | (?<!不)(?:正确|最佳|最优|最终|最后|最合适|最恰当|最适当|最符合题意|符合题意|当选|所选|应选)的?(?:选项|选择|一项|那项|项)
      | (?<!不)(?:正确|符合题意|符合题干|符合要求|最符合|最恰当|最合适|最佳|对)的(?:一项)?(?:应该?)?(?:是|为|有|包括|只有)
      | (?<![筛候备多单任挑优竞大])选(?:择|定|取|出)?(?![项手区题举修])
      | 应(?:该|当)?(?:是|为) | 而(?:应该?|应当)?(?:是|为)
      | \b(?:answers?|ans|key)\b(?:(?<=\bans)\.)?
      | \b(?:correct|right|best|appropriate|likely|final|chosen|selected|accurate|suitable|proper|true)\s
        (?:answer|choice|option|response|one|statement|selection)s?\b
      | \b(?:choose|chose|pick|picked|select|selected|opt\sfor
            |(?:go|went)\s(?:with|for)|settle\son|say|guess|leav(?:es|ing)|going\swith)\b | 剩下?的?(?=[A-J])
      | (?:^|[\n.。;])[\s\[]{0,4}(?:correct|right|true|正确|对)\]?\s?:
      | (?:^|\n)[\s\[]{0,4}(?:option|choice|response|result|solution|选项|结果|结论|解答)\]?\s?:
    )
    | (?P<turns>
        综上(?:所述|分析)? | 总之 | 因此 | 所以 | (?<![缘事何无])故(?![障事意]) | 于是 | 可见 | 综合(?:分析|考虑|以上)?
      | \b(?:therefore|thus|hence|so|overall|accordingly|finally|but|rather|conclusion)\b
      | \b(?:it|this)(?:'s|\s(?:is|must\sbe|has\sto\sbe|should\sbe|would\sbe))
      | (?:->|→|⇒|=>)
    )
    """,
    _I | re.VERBOSE,
)

#: Words between a cue and its letters that change nothing. It always matches, possibly nothing.
FILLER = re.compile(
    r"""(?:
        [\s:="'(\[\]{<>→]
      | -(?!\d) | ,(?=\s?(?:option|choice|选项))
      | (?:is|are|was|were|be|would|will|should|must|has|have|could|might|may|can|seems?|appears?|to|likely|probably|most
          |clearly|therefore|thus|hence|indeed|definitely|certainly|simply|actually|still|options?|choices?|letters?|answers?
          |both|either|the|only|just|here|then|again|that|given|by|for|this|question|in|case|correct|right|best|final|my
          |I|think|believe|conclude|we|statements?|of|as|selected|chosen|choose|single)\b
      | 's\b
      | 可能 | 大概 | 也许 | 或许 | 应该 | 应当 | 认为 | 觉得 | 本题 | 此题 | 该题 | 这道题 | 这题 | 题目 | 最佳 | 最合适 | 最恰当 | 正确
      | 选项 | 选择 | 包括 | 如下 | 以下 | 字母 | 编号 | 当属 | 属于 | 显然 | 必然 | 确实 | 肯定 | 一定 | 只能 | 只有 | 最终
      | [是为应该当选择即乃有将会就必仍还的了项题我]
    ){0,24}""",
    _I | re.VERBOSE,
)

#: A denial between cue and letters.
NOT = re.compile(
    r"\s{0,2}(?:is|are|was|be|would|can|could|should|do|does)?\s?(?:not\b|n't\b|never\b|cannot\b)|并?[不非]|绝不",
    _I,
)

#: Where the clause to the left of a cue begins.
CLAUSE_BREAK = re.compile(
    r"[,.。;:!?\n()\[\]]|\b(?:but|however|so|therefore|thus|hence|then|and)\b|但是?|而(?!非)|所以|因此|故|那么",
    _I,
)

#: A clause that supposes, doubts or reports instead of answering.
HYPOTHETICAL = re.compile(
    r"\b(?:if|suppose|supposing|assuming|assume|whether|unless|wrongly|incorrectly|mistakenly|erroneously|tempting|tempted"
    r"|students?|many|some|people|others|why|not|never|n't|cannot|avoid|wrong|incorrect)\b|n't\b"
    r"|如果|假如|假设|假定|要是|倘若|若|即使|是否|能否|为什么|为何|有人|很多人|不少人|部分(?:考生|学生|同学)|考生|误认为|误以为|错误地"
    r"|请(?:用|在|以|按|从|直接)|格式",
    _I,
)
# The habitual way of committing under doubt is no supposition.
_MUST_CHOOSE = (
    r"if I (?:had|have|must|were|need)(?: to)? (?:choose|pick|guess|select)|如果(?:必须|一定要|只能|非要)选"
)

#: What takes a choosing verb, or an answer, back from its left.
NEGATED_BEFORE = re.compile(
    r"(?:其[他它余](?:的|错误)?|\b(?:other|remaining|remainder of the|rest of the|incorrect|wrong)\s|不(?:应该?|应当|能够?|可以?|可能|会|要|宜|该|必|予|再|考虑|建议|得|适合)?|勿|别|(?<![A-J项])(?<![A-J项]错)[误错]|未|没有?|[并而]非|(?:不|并非)是|无法|难以|避免|排除"
    r"|(?:(?:不是|并非|非).{0,6}))"
    r"(?:使用|选用|应用|采用|给予|用|选择?|考虑)?[\s\"'(\[]{0,3}$"
)

# --- after the letters ---------------------------------------------------------------------------------

#: The letters just read are denied.
NEGATED = re.compile(
    r"""(?:[ \t]{0,2}|\n(?=[^\n:]{1,12}(?:\n|$)))(?:
        (?:[都均皆全也就则显然明是为的属于]|选项|项|说法|叙述|描述|表述|答案){0,6}
        (?:错误|错(?![,。]?为?本题)|不正确|不准确|不对|有误|不符|不成立|不恰当|不合适|不妥|不适[合宜当用]|不当选|不选(?!\s?[A-J])|不考虑|不是(?!\s?[A-J])
           |不(?![仅但只难错过]|[选是]\s?[A-J])|未|没有|难以|无法|无效|并非|被?排除|可(?:以)?排除|应(?:予|该)?排除|除外|无关|非本题|非正确|×|✗|✘|❌)
      | (?:[-:,]\s?)?(?:(?:is|are|was|were|would\sbe|seems?|looks?|can\sbe|could\sbe|must\sbe|both|also|all|clearly|therefore|thus|likely)\s){0,3}
        (?:(?:is|are|was|were|would|does|do|can|could|should|must)\s?(?:not\b|n't\b)|isn't\b|aren't\b|wasn't\b|can't\b|cannot\b
           |doesn't\b|incorrect\b|wrong\b|false\b|ruled\sout|eliminated|excluded|unlikely|less\slikely|inappropriate|contraindicated|×|✗|✘|❌)
    )""",
    _I | re.VERBOSE,
)

#: One letter set apart from all others: ``除B外均错误``. Group ``no`` when the others are called wrong.
APART = re.compile(
    r"""
    (?:除了?\s?(?:选项)?\s?(?P<zh>[A-J])\s?(?:选项|项)?(?:以|之)?外,?(?:其[余他])?(?:选项|各项|的)?[都均皆全]?(?:为|是)?
      |\b(?:all|every(?:thing|one)?)\s(?:(?:of\sthe|the|other|others|options?|choices?|statements?)\s){0,3}
        (?:but|except(?:\sfor)?)\s(?:option\s)?\(?(?P<all_but>[A-J])\)?\s(?:is|are|can\sbe|may\sbe)\s
      |\b(?:except(?:\sfor)?|apart\sfrom|other\sthan)\s(?:option\s)?\(?(?P<but>[A-J])\)?,?\s
        (?:all|every(?:thing|one)?)\s(?:(?:of\sthem|the|other|others|options?|choices?|statements?)\s){0,3}(?:is|are)\s)
    (?:(?P<no>错误?|不正确|不对|不符合?|wrong\b|incorrect\b|false\b)|(?P<yes>正确|对|correct\b|right\b|true\b)|(?=[a-z]{3}))""",
    _I | re.VERBOSE,
)

#: The letters just read are merely possible.
HEDGED = re.compile(
    r"\s{0,2}(?:选项|项)?[都均皆全也]{0,2}(?:有可能|可能|有一定道理|可以考虑|需要?考虑|不能排除|似乎)"
    r"|\s(?:is|are|seem|may|might|could|can)\s(?:(?:all|both|also|each|be|seem)\s){0,3}(?:possible|plausible|tempting|reasonable|considered|candidates?|close)\b",
    _I,
)

#: The letters just read are only asked about.
QUESTION = re.compile(
    r"\s{0,2}(?:选项|项|正确|对|是正确的?|合适)?(?:吗|呢|么|还是)|[\s\"')\]]{0,3}(?:,?\s?(?:right|correct|yes))?\s?\?"
    r"|\s?(?:the )?(?:correct|right|best)?\s?(?:answer|choice|option)?\s?\?",
    _I,
)

#: Nothing else is said about the letters in this clause.
CLEAN_END = re.compile(
    r"""\s{0,2}(?:$|[.。;!)\]}>"'\n,?]|因(?!子)|由于|吧|均|都|皆|全|符合|正确|对(?![照于应])|两|三|四|-|\(
        |\s(?:because|since|as|due|given|are|for|based|over|instead|rather|not|here)\b)""",
    _I | re.VERBOSE,
)

#: The same for a mere "so": a verdict on several letters is no conclusion.
TURN_END = re.compile(
    r"\s{0,2}(?:$|[.。;!)\]}>\"'\n,?]|因(?!子)|由于|吧|-|\(|\s(?:because|since|as|due|given|based|over|instead|rather|not|here)\b)",
    _I,
)

#: English words that may follow a letter without making it an article or part of a name.
ENGLISH_FOLLOWERS = frozenset(
    [
        "because",
        "since",
        "as",
        "for",
        "over",
        "instead",
        "rather",
        "which",
        "due",
        "given",
        "based",
        "and",
        "or",
        "but",
        "not",
        "here",
        "from",
        "in",
        "on",
        "with",
        "is",
        "are",
        "was",
        "will",
        "would",
        "can",
        "cannot",
        "that",
        "this",
        "it",
        "if",
        "when",
        "while",
        "where",
        "so",
        "therefore",
        "thus",
        "although",
        "though",
        "by",
        "at",
        "has",
        "have",
        "does",
        "do",
        "than",
        "to",
        "according",
        "corresponds",
        "refers",
        "represents",
        "describes",
        "states",
        "option",
        "choice",
        "only",
        "alone",
        "first",
        "i",
        "we",
        "isn",
        "doesn",
        "seems",
        "appears",
        "looks",
        "fits",
        "remains",
        "applies",
        "makes",
    ]
)

#: What makes a letter part of a term: B超, A型, D二聚体, B细胞, C反应蛋白.
TERM_AFTER = re.compile(
    r"[型超族级链环波线区段肽酶群类组期]|细胞|反应|淋巴|二聚|因子|受体|抗原|抗体|蛋白|溶血|病毒|肝|淋|柱|管|伞"
)

#: The letters are called the answer.
ANSWER_AFTER = re.compile(
    r"""\s{0,2}(?:
        (?:[才就即便也均都皆则又全对]|正确|当然|显然|无疑|最终){0,3}(?:应|应该)?(?:是|为)?
          (?:本题|该题|此题|这道题|题目|唯一|最佳|最终|最合适|最恰当|最优|正确|标准|参考|的|应选){0,4}(?:答案|选项|选择)(?![错不有])
      | (?:项|选项)?(?:[才就最均都]|更|完全|应){0,2}(?:当选|入选|符合题[意干目]|符合要求|为宜|为佳|应选|为首选|是首选)
      | (?:(?:is|are|was|would\sbe|must\sbe|should\sbe|has\sto\sbe|seems?\sto\sbe|appears?\sto\sbe|remains?|=)\s)?
        (?:(?:clearly|therefore|thus|indeed|most\slikely|probably|likely|also|definitely|still|both)\s){0,2}
        (?:(?:the|my|our|your|most|single|best|correct|right|only|final|appropriate|likely|accurate|suitable|proper|preferred|true
            |overall|next)\s){1,6}(?:answers?|choices?|options?|responses?|ones?|selections?)\b
      | it\sis(?=\s?(?:$|[.!;\n]))
      | makes\s(?:the\smost|more|perfect)\ssense\b
    )""",
    _I | re.VERBOSE,
)

#: "A is wrong, which is why it is the answer": questions that ask for the wrong statement.
WRONG_BUT_ASKED_FOR = re.compile(
    r"(?:项|选项)?(?:的?(?:说法|叙述|描述|表述))?(?:是)?(?:错误|错|不正确|不对|有误)的?\s?,?\s?(?:因此|因而|故|所以)?,?(?:[应为是]){0,2}(?:本题的?)?(?:正确)?(?:答案|选项|当选)(?![错不]|\s?[A-J])"
    r"|(?:项|选项)?(?:的?(?:说法|叙述|描述|表述))?(?:错误|错|不正确|不对|有误),?\s?(?:因此|故|所以)?(?:当选|符合题意|为本题)"
)

#: The letters are called right, without being called the answer.
RIGHT_AFTER = re.compile(
    r"""\s{0,2}(?:
        (?:[-:,.]\s?)?(?:选项|项|的|说法|叙述|描述|表述|判断|观点|做法|内容|陈述|诊断|[也都均皆全是为才最则更应]|完全|基本|显然|无疑|该){0,6}
        (?:正确(?![率性])|对(?=$|[\s,.。;:!)、"'\]A-J]|的)|合适|恰当|准确|适宜|最符合|符合|√|✓|✔|✅)
      | (?:[-:.]\s?)?(?:(?:is|are|was|would\sbe|must\sbe|should\sbe|seems?|appears?|looks?|to\sbe|also|clearly|therefore|thus|indeed|most\slikely
            |definitely|both|all|therefore|the|likely|probably)\s){0,4}
        (?:correct\b|right\b|true\b|accurate\b|best\b|(?:the\s)?most\s[a-z]{4,20}\b|√|✓|✔|✅)
    )""",
    _I | re.VERBOSE,
)

#: A verdict set beside letters or an option: ``A：错误``, ``B（正确）``, ``C. wrong``. Group ``no`` when it is a
#: denial. The first group of marks may also stand between two sentences, where something else begins.
VERDICT_BESIDE = re.compile(
    r"""["')\]]{0,2}(?:选项|项)?\s?(?:(?P<loose>[.、,;?])|[:(\[\-=→|]){1,2}\s?[(\[|]?\s?
        (?:(?:该|此|这)?(?:选项|项|说法|叙述|描述|表述)?\s?(?:是|为)?|(?:this|it)?\s?(?:option|statement|choice)?\s?(?:is|would\sbe)\s)
        (?:(?P<no>错误?的?|不正确|不对|不选|有误|非|×|✗|✘|❌|x(?=[\s)|])|wrong|incorrect|false|not\s(?:correct|true|right|the\sanswer)|no)
          |(?P<yes>正确|对的?|是|√|✓|✔|✅|correct|right|true|yes))
        (?=\s?(?:$|[\n,.。;:!)\]|、"'-]|因|because\b|since\b|as\b|[A-J][.、:)(]))""",
    _I | re.VERBOSE,
)

#: A mark in front of an option: ``✓ B``.
VERDICT_MARK = re.compile(
    r"(?P<begins>^[ \t\-•]{0,4})?(?:(?P<yes>[√✓✔✅☑])|(?P<no>[×✗✘❌✖]))\ufe0f?\s{0,2}(?=(?:选项|option\s|choice\s)?[(\[\"']?[A-J](?![A-Za-z0-9]))",
    _I | re.MULTILINE,
)

#: A verdict at the end of a sentence that began with the letters. Group ``no`` when it is a denial.
VERDICT_LATER = re.compile(
    r"(?:该项|该选项|此项|此选项|该说法|这一说法|故|因此|所以|说法|叙述|描述|表述)(?:说法|叙述|描述|表述|是|为|选项|本项|[,\s]){0,3}"
    r"(?:(?P<no>错误|错(?=$|[\s,.。;!])|不正确|不对|有误|不选)|正确|对(?=$|[\s,.。;!]))"
    r"|\b(?:is|are)\s(?:(?P<no_en>incorrect|wrong|false|not\s(?:correct|the))|(?:correct|true|right))\b",
    _I,
)

#: A letter named after the answer was given in words: "… (C)", "which is option C", 即C.
POINTED_AT = re.compile(
    r"\(\s?(?:option\s|选项)?([A-J])\s?\)|\b(?:option|choice)\s\(?([A-J])\b|选项\s?([A-J])(?![A-Za-z0-9])|即\s?([A-J])(?![A-Za-z0-9])",
    _I,
)

#: "not B but C", 不是B而是C: what stands after a denied letter.
CONTRAST = re.compile(
    r"\s?[,.;。]?\s?(?:而(?:应该?|应当)?[是为选]|[应而]?(?:该|当)?[是为选]|but(?:\srather|\sinstead)?|rather|it(?:'s|\sis))\s?",
    _I,
)

#: The writer changes their mind; only at the start of a sentence.
TURN = re.compile(
    r"(?:^|[\n.。!?;,]|\.\.\.|…)\s{0,3}(?:wait|no\b|hmm|actually|correction|on second thought|let me reconsider|let me re-?check|sorry|oops"
    r"|等等|等一下|不对(?=[,。!])|更正|修正|纠正|重新(?:考虑|分析|审题)|再(?:想想|看)|抱歉|不,)",
    _I,
)

#: The letters are called wrong as statements, which is what some questions ask for.
CALLED_WRONG = re.compile(
    r"\s{0,2}[×✗✘❌]|\s{0,2}(?:[都均皆全也就则显然明是为的属于该]|选项|项|说法|叙述|描述|表述){0,6}(?:错误|错|不正确|不准确|不对|有误|不属于|不包括|不是(?!正确|本题|答案|该题)|不应|不宜|不会|不能)"
    r"|\s{0,2}(?:[-:,]\s?)?(?:(?:is|are|was|were|both|also|clearly|therefore|thus)\s){0,3}(?:incorrect|wrong|false|(?:not|n't)\s(?:true|correct|accurate))\b"
    r"|\s(?:is|are|does|do)(?:\snot|n't)\b(?!\s(?:(?:the|an?|our|my)\s)?(?:\w{1,12}\s)?(?:answer|choice|option|exception|right|best|likely))",
    _I,
)

#: A question that asks for what is wrong or missing.
ASKS_FOR_WRONG = re.compile(
    r"(?:错误|不正确|不准确|不恰当|不当|不对|有误|不属于|不包括|不符合|不应|不宜|不可能|不是|不需|不支持|无关|除外|最不|[哪何][一项个种者]{0,2}不)[^。;]{0,20}$"
    r"|\b(?:except|false|incorrect|least|NOT)\b|\bnot\b(?=[^.?]{0,80}\?\s*$)",
    _I,
)

#: A sentence that recommends, diagnoses or concludes.
RECOMMENDS = re.compile(
    r"\b(?:best|most|correct|right|diagnosis|of choice|next step|recommended|first-line|should|indicated|therefore|thus|hence|give|start)\b"
    r"|最|首选|首先考虑|应|诊断[为是]|正确|因此|所以",
    _I,
)

#: A sentence that sets options aside, or weighs them.
SETS_ASIDE = re.compile(
    r"\b(?:other|others|although|while|may|less|neither|nor|no|not|n't|rather than|instead of|unlike|whereas|incorrect|wrong|without|against|contraindicated|used for)\b|n't\b"
    r"|其[他它余]|而不是|而非|不如|排除|错误|均不|都不|虽然|也可|并非",
    _I,
)

#: What introduces letters that are called wrong.
WRONG_ONES = re.compile(
    r"(?:错误|不正确|不对|有误|错)(?:的?(?:选项|说法|项|答案|有|包括))?\s?:?\s?$"
    r"|\b(?:incorrect|wrong|false|eliminated?|ruled out|excluded?)(?:\s(?:options?|answers?|choices?|statements?|ones?))?(?:\s(?:are|is|include))?\s?:?\s?$",
    _I,
)

#: "The wrong one is C": an answer only if nothing else is said.
WRONG_ONE_IS = re.compile(
    r"(?:错误|不正确|不对|不属于|不包括|有误|不恰当|除外|不符合)[^,.。;\n]{0,12}的?(?:一项|选项)?(?:应)?(?:是|为):?\s?$"
)


def supposes(clause: str) -> bool:
    """Say whether a clause only supposes, doubts or reports what follows."""
    return HYPOTHETICAL.search(re.sub(_MUST_CHOOSE, "", clause, flags=_I)) is not None


__all__ += ["supposes"]
