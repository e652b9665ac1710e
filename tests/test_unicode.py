"""What counts as the same text in each script: equal, nearly equal, or different; and where tokens begin and end."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from scanner.kernels.tokens import tokenise
from scanner.text import (
    CODE_POINTS,
    SCRIPTS,
    SEPARATOR,
    code_point_classes,
    code_point_scripts,
    folded_code_points,
    normalise,
    token_spans,
)

EQUAL = {
    "case": ("The QUICK brown fox", "the quick brown fox"),
    "full width": ("ＡＢＣ１２３，ｏｋ！", "abc123,ok!"),
    "half-width kana": ("ｶﾀｶﾅ", "カタカナ"),
    "ideographic space": ("今日\u3000は", "今日 は"),
    "compatibility ideographs": ("\uf900\uf901", "\u8c48\u66f4"),
    "final sigma": ("ΣΟΦΟΣ", "σοφος"),
    "long s": ("ſtill", "still"),
    "signs that are letters": ("5 \u212a, 3 \u212b, 2 \u2126", "5 k, 3 å, 2 ω"),
    "dotted I": ("İstanbul", "istanbul"),
    "French": ("Élève Œuvre ÇA", "élève œuvre ça"),
    "capital sharp s": ("STRAẞE", "straße"),
    "Arabic presentation forms": ("\ufee3\ufeae\ufea3\ufe92\ufe8e", "\u0645\u0631\u062d\u0628\u0627"),
    "variation selector": ("I ❤\ufe0f it", "i ❤ it"),
    "direction marks between words": ("\u202bשלום\u202c עולם", "שלום עולם"),
}
DIFFERENT = {
    "decomposed accent": ("caf\u00e9", "cafe\u0301"),
    "decomposed Hangul": ("한", "\u1112\u1161\u11ab"),
    "half-width kana with a voicing mark": ("ｶﾞ", "ガ"),
    "superscript": ("x²", "x2"),
    "circled digit": ("①", "1"),
    "mathematical alphabet": ("\U0001d54f", "x"),
    "kana": ("かな", "カナ"),
    "sharp s": ("Straße", "Strasse"),
    "ligature": ("ﬁne", "fine"),
    "dotless i": ("sınır", "sinir"),
    "capital I in Turkish": ("ILIK", "ılık"),
    "Hebrew points": ("שָׁלוֹם", "שלום"),
    "Arabic vowels": ("مَرحَبا", "مرحبا"),
    "tatweel": ("مـرحبا", "مرحبا"),
    "traditional and simplified": ("漢語", "汉语"),
    "skin tone": ("👍🏽", "👍"),
}
TOKENS = {
    "zh": ("我爱北京，2024年。", ["我", "爱", "北", "京", "，", "2024", "年", "。"]),
    "ja": ("東京タワーへGo!", ["東", "京", "タ", "ワ", "ー", "へ", "Go", "!"]),
    "ko": ("안녕하세요, 세계", ["안녕하세요", ",", "세계"]),
    "tr": ("İyi günler; nasılsın?", ["İyi", "günler", ";", "nasılsın", "?"]),
    "fr": ("L'été, c'est ça.", ["L", "'", "été", ",", "c", "'", "est", "ça", "."]),
    "de": ("Größe: 5 €", ["Größe", ":", "5", "€"]),
    "ar": ("مَرحَبا، يا عالم", ["مَرحَبا", "،", "يا", "عالم"]),
    "he": ("\u200fשָׁלוֹם (עולם)", ["שָׁלוֹם", "(", "עולם", ")"]),
    "family": ("👩\u200d👩\u200d👧", ["👩", "👩", "👧"]),
    "skin": ("👍🏽", ["👍", "🏽"]),
    "flag": ("🇹🇷", ["🇹", "🇷"]),
    "heart": ("❤\ufe0f", ["❤"]),
    "full width": ("Ａ，Ｂ", ["Ａ", "，", "Ｂ"]),
    "combining": ("cafe\u0301 noir", ["cafe\u0301", "noir"]),
}


def folded_hashes(text: str) -> list[int]:
    data = np.frombuffer(text.encode() or b"", np.uint8)
    hashes, starts, counts = np.empty(len(data), np.uint64), np.empty(len(data), np.int64), np.empty(1, np.int64)
    offsets = np.array([0, len(data)], np.int64)
    found = tokenise(data, offsets, code_point_classes(), folded_code_points(), 1, hashes, starts, counts)
    return hashes[:found].tolist()


@pytest.mark.parametrize("pair", EQUAL.values(), ids=EQUAL)
def test_equal(pair):
    assert normalise(pair[0]) == normalise(pair[1])
    assert folded_hashes(pair[0]) == folded_hashes(pair[1])


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_different(pair):
    assert normalise(pair[0]) != normalise(pair[1])
    assert folded_hashes(pair[0]) != folded_hashes(pair[1])


@pytest.mark.parametrize(("text", "tokens"), TOKENS.values(), ids=TOKENS)
def test_golden_tokens(text, tokens):
    assert [text[a:b] for a, b in token_spans(text)] == tokens
    assert len(folded_hashes(text)) == len(tokens)


def test_folding_goes_one_step_and_moves_no_edge():
    fold, classes = folded_code_points(), code_point_classes()
    inside = fold[fold < len(fold)]
    assert (fold[inside] == inside).all()
    assert (classes[fold] == classes[: len(fold)]).all()


def test_folding_joins_nothing_that_unicode_tells_apart():
    """What is folded together has the same compatibility form without case; the dotted capital I is the one choice."""

    def widest(character: str) -> str:
        drawn = unicodedata.normalize("NFKC", character)
        return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", drawn.casefold()).casefold())

    for point, folded in enumerate(folded_code_points().tolist()):
        assert folded == point or widest(chr(folded)) == widest(chr(point)) or point == 0x130, hex(point)


def test_ascii_folds_as_it_always_did():
    """The kernel's short cut for ASCII text relies on it."""
    assert bytes(folded_code_points()[:128].astype(np.uint8)) == bytes(range(128)).lower()


def test_scripts_of_letters():
    table = code_point_scripts()
    assert len(table) == CODE_POINTS
    for letter, name in zip("aéßЖωאعक中ひカ한あİไ", (
        "Latin", "Latin", "Latin", "Cyrillic", "Greek", "Hebrew", "Arabic", "Devanagari", "Han", "Kana", "Kana",
        "Hangul", "Kana", "Latin", "Thai",
    ), strict=True):  # fmt: skip
        assert SCRIPTS[table[ord(letter)]] == name
    assert not table[[ord(c) for c in "1 ,。！😀"]].any()
    letters = np.flatnonzero(table)
    assert (code_point_classes()[letters] != SEPARATOR).all()


NEAR = {
    "zh": (
        "一首描述悲伤的流行歌曲是关于一个人努力摆脱失去的关系并希望得到无条件的爱",
        "一首描述悲伤的流行歌曲是关于一个人努力摆脱失去的关系并且希望得到无条件的爱",
    ),
    "tr": (
        "Bugün hava çok güzel olduğu için sahilde uzun bir yürüyüş yaptık ve sonra eve döndük",
        "Bugün hava çok güzel olduğu için sahilde uzun bir yürüyüş yaptık ve sonra eve geldik",
    ),
    "ar": (
        "ذهبنا اليوم الى السوق الكبير في المدينة القديمة واشترينا الكثير من الفواكه الطازجة والخضار",
        "ذهبنا اليوم الى السوق الكبير في المدينة القديمة واشترينا الكثير من الفواكه الطازجة واللحم",
    ),
}


@pytest.mark.parametrize("pair", NEAR.values(), ids=NEAR)
def test_a_copy_with_one_word_changed_is_near_in_every_script(segments_of, pair):
    from signals.test_minhash import as_dict, find

    found = as_dict(find(segments_of([pair[0], pair[1], "something else that nobody wrote"])))
    assert [(key, values[0]) for key, values in found.items()] == [((0, 1), "near")]
    assert found[0, 1][2] >= 0.8


def test_full_width_and_half_width_rows_are_one_row(segments_of):
    from signals.test_minhash import as_dict, find

    found = as_dict(find(segments_of([("価格は？", "１２３円です，ＯＫ"), ("価格は?", "123円です,ok")])))
    assert found[0, 1][0] == "same_both"
    assert found[0, 1][2] == 1.0
