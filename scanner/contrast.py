"""In what two rows that read alike may still differ: numbers, negation, names, code.

    texts -> traits of each (numbers, negations, names, code) -> "numbers, negation" where they disagree

A vector of meaning hardly moves when a number, a "not" or a name changes, although the task then is another. The check
is lexical and cheap: it finds digits and English words for numbers, negations and opposites, capitalised words inside
sentences, and lines that look like code. It overlooks what other languages spell out.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import polars as pl

KINDS = ("numbers", "negation", "names", "code")
"""What `differences` may name, in this order."""
DECISIVE = KINDS[:2]
"""Pairs by meaning that differ in one of these are never dropped for one another."""

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
# subtle: \s would go on over line after empty line, from each of them anew
_NUMBERING = re.compile(r"^[^\S\n]*(?:\d+[.):]|[-*])\s+", re.MULTILINE)  # of a list; says nothing about its content
_NAME = re.compile(r"(?<![.!?:\n\"“„'(\]])[ ]([A-ZÀ-ÖØ-Þ][^\W\d_]{2,})")
_CODE = re.compile(
    r"```|^[^\S\n]*(?:def|class|import|from|function|const|let|var|public|private|#include|return)\b\s*\S"
    r"|[{};][^\S\n]*$|^[^\S\n]*(?:SELECT|INSERT|UPDATE|DELETE|CREATE)\b",
    re.MULTILINE,
)
_NUMBER_WORDS = {
    "zero": "0", "two": "2", "pair": "2", "three": "3", "trio": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "dozen": "12",
}  # fmt: skip
"""Without "one", which mostly is a pronoun."""
_NEGATIONS = frozenset({
    "not", "no", "never", "none", "neither", "nor", "cannot", "without", "nobody", "nothing", "nowhere", "dont", "cant",
    "false", "incorrect", "nicht", "kein", "keine", "keinen", "nie", "ohne", "ne", "pas", "jamais", "sans", "nunca",
})  # fmt: skip
_OPPOSITES = (
    ("ascending", "descending"), ("largest", "smallest"), ("biggest", "smallest"), ("maximum", "minimum"),
    ("max", "min"), ("highest", "lowest"), ("longest", "shortest"), ("increase", "decrease"), ("best", "worst"),
    ("increasing", "decreasing"), ("advantages", "disadvantages"), ("benefits", "drawbacks"), ("pros", "cons"),
    ("synonym", "antonym"), ("synonyms", "antonyms"), ("first", "last"), ("before", "after"), ("encode", "decode"),
    ("encrypt", "decrypt"), ("even", "odd"), ("positive", "negative"), ("for", "against"), ("most", "least"),
    ("add", "remove"), ("add", "subtract"), ("safe", "unsafe"), ("active", "passive"), ("formal", "informal"),
    ("uppercase", "lowercase"), ("inflation", "deflation"),
)  # fmt: skip


def alike_beyond_templates(jaccard: float) -> pl.Expr:
    """Of pairs.parquet: pairs whose rows are alike in what they put into a template, or follow none."""
    return pl.col("payload_similarity").fill_null(math.nan).fill_nan(1.0) >= jaccard


@dataclass(frozen=True)
class Traits:
    """What `differences` compares of one text."""

    numbers: frozenset[str]
    negated: bool
    words: frozenset[str]  # lower case
    names: frozenset[str]  # lower case
    code: bool


def traits(text: str) -> Traits:
    """The traits of one prompt or one answer."""
    plain = _NUMBERING.sub("", text)
    words = frozenset(word.lower().replace("’", "'") for word in _WORD.findall(plain))
    numbers = {_value(n) for n in _NUMBER.findall(plain)} | {_NUMBER_WORDS[w] for w in words if w in _NUMBER_WORDS}
    negated = any(word.replace("'", "") in _NEGATIONS or word.endswith("n't") for word in words)
    names = frozenset(name.lower() for name in _NAME.findall(plain))
    return Traits(frozenset(numbers), negated, words, names, _CODE.search(text) is not None)


def differences(prompts: tuple[Traits, Traits], answers: tuple[Traits, Traits]) -> str:
    """The KINDS in which two rows differ, joined by ", "; "" where none was seen.

    numbers: those of the prompts are not the same, or each answer has one that the other row lacks. negation: one
    prompt or one answer is negated and its counterpart is not, or they use opposite words. names: each row has a name
    that the other does not mention. code: one answer is code, the other is not.
    """
    (pa, pb), (aa, ab) = prompts, answers
    both = ((pa, pb), (aa, ab))
    in_a, in_b = pa.numbers | aa.numbers, pb.numbers | ab.numbers
    other_names = (pa.names | aa.names) - pb.words - ab.words and (pb.names | ab.names) - pa.words - aa.words
    seen = {
        "numbers": pa.numbers != pb.numbers or bool(aa.numbers - in_b and ab.numbers - in_a),
        "negation": any(x.negated != y.negated for x, y in both) or _opposed(pa.words, pb.words),
        "names": bool(other_names),
        "code": aa.code != ab.code,
    }
    return ", ".join(kind for kind in KINDS if seen[kind])


def _opposed(a: frozenset[str], b: frozenset[str]) -> bool:
    """Whether one text uses a word and the other, in its place, the opposite."""
    return any((x in a and x not in b and y in b and y not in a) or (y in a and y not in b and x in b and x not in a)
               for x, y in _OPPOSITES)  # fmt: skip


def _value(number: str) -> str:
    """1,000 and 1000 are one number, and so are 2.50 and 2.5."""
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", number):
        number = number.replace(",", "")
    return number.rstrip("0").rstrip(".") if "." in number else number
