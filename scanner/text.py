"""Words about text: token classes, normalisation, scripts, masking. The kernels work with the same tables, faster.

A **token** is a maximal run of letters, marks or digits, one CJK character, or one punctuation mark or symbol;
white space, control and format characters and variation selectors separate tokens and are none. The four classes come
from the general category of each code point (Unicode version of the running Python).

**Unicode normalisation** is a choice, and this one is made code point by code point, so that it costs one look into a
table and every token stays where it stands in the text. Equal are: upper and lower case (final and long s too), full
and half width, compatibility ideographs and their unified forms, signs that Unicode holds equal to a letter (Kelvin,
Angstrom, Ohm), Arabic letters in their positional forms, an emoji with and without variation selector. Different stay:

    composed and decomposed     é and e + U+0301, Hangul syllables and their jamo, half-width kana with a voicing mark
    what carries meaning        x² and x2, ① and 1, mathematical alphabets, hiragana and katakana, skin tones
    marks that can be left out  Hebrew points, Arabic vowels, tatweel
    several letters for one     ß and ss, the ligature U+FB01 and fi; traditional and simplified Han
    the dotless i               ı stays; İ becomes i, and I too, as in every language but the Turkic ones
"""

from __future__ import annotations

import functools
import unicodedata

import numpy as np

from scanner.objects import UInt8

OWN_UNIT = "word, CJK character or punctuation mark"
"""What a token is where no --tokenizer says otherwise."""

SEPARATOR, WORD, SINGLE, PUNCTUATION = 0, 1, 2, 3

CJK_RANGES = (
    (0x3005, 0x3007), (0x3021, 0x3029), (0x3031, 0x3035), (0x303B, 0x303B), (0x3040, 0x30FF), (0x31F0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip
"""Han, Hiragana and Katakana: written without spaces, so one character is one token. Hangul has spaces."""

VARIATION_SELECTORS = ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
"""They choose between drawings of one character; by category they are marks and would count as a word of their own."""

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
    for first, last in VARIATION_SELECTORS:
        table[first : last + 1] = SEPARATOR
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


_SAME_LETTER = ("<wide>", "<narrow>", "<isolated>", "<initial>", "<medial>", "<final>")
"""Compatibility decompositions (Unicode Standard Annex 44) that change how a character is drawn, not what it says."""


@functools.cache
def folded_code_points() -> np.ndarray:
    """(0x20000,) int32: the code point that stands for each one when texts are compared (see above), often itself."""
    classes = code_point_classes()
    table = np.arange(_UNIFORM_FROM, dtype=np.int32)
    for point in range(_UNIFORM_FROM):
        folded = _folded(chr(point))
        if folded != point and classes[folded] == classes[point]:  # subtle: folding never moves a token's edges
            table[point] = folded
    return table


def _folded(character: str) -> int:
    """One step to one code point where there is one, until nothing changes."""
    while True:
        before = character
        kind, _, target = unicodedata.decomposition(character).rpartition(" ")
        if target and (not kind or kind in _SAME_LETTER):
            character = chr(int(target, 16))
        if len(lower := character.lower()) == 1:
            character = lower
        elif character == "\u0130":
            character = "i"
        # subtle: Cherokee folds to upper case, and a combining iota to a letter
        if len(folded := character.casefold()) == 1 and folded.islower() and character.isalpha():
            character = folded
        if character == before:
            return ord(character)


def normalise(text: str) -> str:
    """Folded tokens joined by single spaces: what "the same up to case and spacing" means here."""
    fold = folded_code_points()

    def lower(character: str) -> str:
        return chr(fold[ord(character)]) if ord(character) < _UNIFORM_FROM else character

    return " ".join("".join(map(lower, text[a:b])) for a, b in token_spans(text))


SCRIPTS = (
    "none", "Han", "Kana", "Hangul", "Latin", "Greek", "Cyrillic", "Armenian", "Hebrew", "Arabic", "Devanagari",
    "Bengali", "Gurmukhi", "Gujarati", "Tamil", "Telugu", "Kannada", "Malayalam", "Sinhala", "Thai", "Lao", "Tibetan",
    "Myanmar", "Georgian", "Ethiopic", "Khmer", "Mongolian", "other",
)  # fmt: skip
"""Scripts that are told apart; kana stand for Japanese, whatever Han characters stand beside them. Han, kana and Hangul
come first: the kernel weighs their characters more than letters."""

_BLOCKS = (
    ("Latin", "0041-005A 0061-007A 00AA 00BA 00C0-00D6 00D8-00F6 00F8-02AF 1E00-1EFF 2C60-2C7F A722-A7FF AB30-AB64 "
     "FB00-FB06 FF21-FF3A FF41-FF5A"),
    ("Greek", "0370-03FF 1F00-1FFF"), ("Cyrillic", "0400-052F 1C80-1C8F 2DE0-2DFF A640-A69F"),
    ("Armenian", "0531-0588"), ("Hebrew", "05D0-05F2 FB1D-FB4F"),
    ("Arabic", "0620-064A 066E-06D3 06FA-06FF 0750-077F 08A0-08C9 FB50-FDFF FE70-FEFC"),
    ("Devanagari", "0900-0963 0971-097F"), ("Bengali", "0980-09E3"), ("Gurmukhi", "0A00-0A65"),
    ("Gujarati", "0A80-0AE5"), ("Tamil", "0B80-0BE5"), ("Telugu", "0C00-0C65"), ("Kannada", "0C80-0CE5"),
    ("Malayalam", "0D00-0D65"), ("Sinhala", "0D80-0DE5"), ("Thai", "0E01-0E4E"), ("Lao", "0E80-0ECE"),
    ("Tibetan", "0F40-0FBC"), ("Myanmar", "1000-103F"), ("Georgian", "10A0-10FF 1C90-1CBF 2D00-2D2F"),
    ("Hangul", "1100-11FF 3131-318E A960-A97C AC00-D7FB FFA0-FFDC"), ("Ethiopic", "1200-135A 1380-139F"),
    ("Khmer", "1780-17B3"), ("Mongolian", "1820-18AA"), ("Kana", "3041-3096 309D-309F 30A1-30FA 30FC-30FF 31F0-31FF "
     "FF66-FF9D"),
    ("Han", "3005-3007 3400-4DBF 4E00-9FFF F900-FAFF 20000-3FFFF"),
)  # fmt: skip
"""Where the letters of each script stand (Blocks.txt of the Unicode Character Database, letters only)."""


@functools.cache
def code_point_scripts() -> UInt8:
    """(0x110000,) index into SCRIPTS of every letter; 0 for what is no letter."""
    classes = code_point_classes()
    table = np.zeros(CODE_POINTS, np.uint8)
    for point in range(0x80, _UNIFORM_FROM):
        if classes[point] in (WORD, SINGLE) and chr(point).isalpha():
            table[point] = SCRIPTS.index("other")
    for name, ranges in _BLOCKS:
        for part in ranges.split():
            first, _, last = part.partition("-")
            table[int(first, 16) : int(last or first, 16) + 1] = SCRIPTS.index(name)
    return table


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


JOINERS = ("\u200c", "\u200d")
"""Format characters that shape letters (Persian, Devanagari) and emoji, and steer nothing."""


_KEEP = {"\n", "\t", *JOINERS}


def visible(text: str) -> str:
    """Control and format characters as visible signs, so that text cannot steer what shows it."""
    if text.isprintable():
        return text
    return "".join(c if c in _KEEP or c.isprintable() or (c.isspace() and ord(c) > 0x20) else _sign(c) for c in text)


def on_one_line(name: str) -> str:
    """The same of a name, in which the end of a line is to be seen too."""
    return visible(name).replace("\n", "␊")


def _sign(character: str) -> str:
    point = ord(character)
    if point < 0x20:
        return chr(0x2400 + point)  # control pictures
    if point == 0x7F:
        return "\u2421"
    if unicodedata.category(character) in ("Cf", "Cc", "Zl", "Zp"):
        return f"⟨U+{point:04X}⟩"
    return "\N{REPLACEMENT CHARACTER}"


def one_line(text: str, limit: int = 80) -> str:
    """Text for a terminal line: control and format characters become visible, long text is cut in the middle."""
    shown = "".join(
        c if c.isprintable() or c in JOINERS else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    shown = " ".join(shown.split())
    if len(shown) <= limit:
        return shown
    head = (limit - 3) * 2 // 3
    return f"{shown[:head]} … {shown[len(shown) - (limit - 3 - head) :]}"
