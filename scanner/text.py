"""Words about text: token classes, normalisation, masking. The kernels work with the same definitions, faster.

A **token** is a maximal run of letters, marks or digits, one CJK character, or one punctuation mark or symbol;
white space, control and format characters separate tokens and are none. The four classes come from the general
category of each code point (Unicode version of the running Python).
"""

from __future__ import annotations

import functools
import unicodedata

import numpy as np

from scanner.objects import UInt8

SEPARATOR, WORD, SINGLE, PUNCTUATION = 0, 1, 2, 3

CJK_RANGES = (
    (0x3005, 0x3007), (0x3021, 0x3029), (0x3031, 0x3035), (0x303B, 0x303B), (0x3040, 0x30FF), (0x31F0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip
"""Han, Hiragana and Katakana: written without spaces, so one character is one token. Hangul has spaces."""

CODE_POINTS = 0x110000
_UNIFORM_FROM = 0x20000  # above it: CJK, a few tags, and planes without letters; see code_point_classes


@functools.cache
def code_point_classes() -> UInt8:
    """(0x110000,) class of every code point: SEPARATOR, WORD, SINGLE or PUNCTUATION."""
    by_category = {"L": WORD, "M": WORD, "N": WORD, "Z": SEPARATOR}
    separators = {"Cc", "Cf", "Cs"}
    table = np.full(CODE_POINTS, PUNCTUATION, np.uint8)
    # Planes 4 to 13 are unassigned and 15 and 16 private use: both are PUNCTUATION, so only the others are looked up.
    for start, stop in ((0, _UNIFORM_FROM), (0xE0000, 0xE0200)):
        for point in range(start, stop):
            category = unicodedata.category(chr(point))
            table[point] = SEPARATOR if category in separators else by_category.get(category[0], PUNCTUATION)
    for first, last in CJK_RANGES:
        table[first : last + 1] = SINGLE
    return table


def token_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of every token, in code points; the slow, obvious twin of the token kernel."""
    classes = code_point_classes()
    spans: list[tuple[int, int]] = []
    run = -1
    for i, character in enumerate(text):
        kind = classes[ord(character)]
        if kind == WORD:
            run = i if run < 0 else run
            continue
        if run >= 0:
            spans.append((run, i))
            run = -1
        if kind != SEPARATOR:
            spans.append((i, i + 1))
    if run >= 0:
        spans.append((run, len(text)))
    return spans


@functools.cache
def folded_code_points() -> np.ndarray:
    """(0x20000,) int32: the lower-case form of each code point where it is one code point, else itself."""
    table = np.arange(_UNIFORM_FROM, dtype=np.int32)
    for point in range(_UNIFORM_FROM):
        lower = chr(point).lower()
        if len(lower) == 1:
            table[point] = ord(lower)
    return table


def normalise(text: str) -> str:
    """Tokens in lower case, joined by single spaces: what "the same up to case and spacing" means here."""
    fold = folded_code_points()

    def lower(character: str) -> str:
        return chr(fold[ord(character)]) if ord(character) < _UNIFORM_FROM else character

    return " ".join("".join(map(lower, text[a:b])) for a, b in token_spans(text))


def masked(text: str, spans: list[tuple[int, int, str]]) -> str:
    """`text` with each (start, end, label) replaced by [label]; spans may overlap, the union is masked."""
    out, at = [], 0
    for start, end, label in sorted(spans):
        if end <= at:
            continue
        if start >= at:
            out += [text[at:start], f"[{label}]"]
        at = end
    return "".join(out) + text[at:]


def one_line(text: str, limit: int = 80) -> str:
    """Text for a terminal line: control and format characters become visible, long text is cut in the middle."""
    shown = "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)
    shown = " ".join(shown.split())
    if len(shown) <= limit:
        return shown
    head = (limit - 3) * 2 // 3
    return f"{shown[:head]} … {shown[len(shown) - (limit - 3 - head) :]}"
