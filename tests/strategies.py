"""Text that breaks things: CJK, emoji, combining marks, controls, long scripts of every class."""

from __future__ import annotations

from hypothesis import strategies as st

HARD = (
    "aZ09_ß ÀéİıſΣςÅ\u0301\u0308ñ 中文、。々〆ひカ゛ｶ한글 עברית العَرَبِيَّة हिन्दी ไทย "
    "\t\n\r\x00\x07\x0b\x1f\x7f\x85\xa0\u00ad\u200b\u200d\u2028\ufeff\ufffd\uffff "
    "👩‍👩‍👧🏽🇹🇷➀½²Ⅷ𝔘𝟘𐐀𠀀𲎯\U000e0100\U000e0041\U0001b000\U0010ffff'\"\\/{}[],:-.!?"
)

characters = st.one_of(st.sampled_from(HARD), st.characters(exclude_categories=("Cs",)))
texts = st.text(characters, max_size=30)
"""Any text that UTF-8 can hold."""

words = st.lists(st.sampled_from(["Ann", "ann", "went", "home", "7", "中", "文", "?", "naïve"]), max_size=12).map(
    " ".join
)
"""Few words, so that texts share tokens and shingles."""

any_texts = st.text(st.one_of(characters, st.characters(categories=("Cs",))), max_size=20)
"""Any Python text, lone surrogates included."""

json_texts = st.text(st.characters(exclude_categories=["Cs"]))
_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | json_texts
json_values = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(json_texts, inner, max_size=4), max_leaves=12
)
"""Any value that strict JSON holds."""
