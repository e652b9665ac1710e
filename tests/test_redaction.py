"""Laws of redaction: nothing private survives, nothing else changes, JSON stays JSON."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.redaction import Numbering, Span, is_json_container, mask, redact

PLACEHOLDERS = st.sampled_from(["[EMAIL]", "[CARD]", "[PHONE]"])


@st.composite
def texts_with_spans(draw: st.DrawFn) -> tuple[str, list[Span]]:
    text = draw(st.text(min_size=1, max_size=60))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    return text, [Span(a, b, draw(PLACEHOLDERS)) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]


@given(texts_with_spans())
def test_text_outside_the_spans_is_unchanged(case: tuple[str, list[Span]]) -> None:
    text, spans = case
    if is_json_container(text):
        return
    outside, at = [], 0
    for span in spans:
        outside.append(text[at : span.start])
        at = span.end
    pattern = r"\[(?:EMAIL|CARD|PHONE)_[0-9]+\]".join(map(re.escape, [*outside, text[at:]]))
    assert re.fullmatch(pattern, redact(text, spans), re.DOTALL)
    assert re.fullmatch(pattern.replace("_[0-9]+", ""), mask(text, spans), re.DOTALL)


@given(st.lists(st.tuples(st.integers(10**9, 10**10), st.text("ab {}😀中,", max_size=5)), max_size=6))
def test_no_value_survives(parts: list[tuple[int, str]]) -> None:
    text, spans = "", []
    for value, after in parts:
        spans.append(Span(len(text), len(text) + len(str(value)), "[PHONE]"))
        text += f"{value}{after}"
    for cleaned in (redact(text, spans), mask(text, spans)):
        assert not any(str(value) in cleaned for value, _ in parts)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.data(), st.dictionaries(st.text(max_size=5), JSON_VALUES, min_size=1, max_size=4), st.booleans())
def test_json_stays_json(data: st.DataObject, value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=data.draw(st.sampled_from([None, 2])))
    spans = []
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text) - 1))
        spans.append(Span(start, data.draw(st.integers(start + 1, len(text))), data.draw(PLACEHOLDERS)))
    assert type(json.loads(redact(text, spans))) is type(value)


@pytest.mark.parametrize(
    ("text", "value", "cleaned"),
    [
        ('{"card": 4111111111111111}', "4111111111111111", '{"card": "[X_1]"}'),
        ('{"card": 4111111111111111, "n": 1}', "1111", '{"card": "[X_1]", "n": 1}'),
        ('[-12.5e3, "-12.5e3"]', "12.5", '["[X_1]", "-12.5e3"]'),
        (r'{"t": "\njane@roe.net\n"}', "njane@roe.net", r'{"t": "\n[X_1]\n"}'),
        (r'{"t": "\u0041da@roe.net"}', "u0041da@roe.net", r'{"t": "[X_1]"}'),
        (r'{"t": "\u90aejane@roe.net"}', "u90aejane@roe.net", r'{"t": "\u90ae[X_1]"}'),
        (r'{"t": "a\\b"}', "\\", r'{"t": "a[X_1]b"}'),
        ('{"a@b.net": true}', "a@b.net", '{"[X_1]": true}'),
        ('{"a": "12", "b": "34"}', '12", "b": "34', '{"a": "[X_1]", "[X_1]": "[X_1]"}'),
        ('{"a": true}', "true", '{"a": "[X_1]"}'),
        ("not {json} 4111", "4111", "not {json} [X_1]"),
    ],
)
def test_spans_are_fitted_to_json_tokens(text: str, value: str, cleaned: str) -> None:
    at = text.index(value)
    assert redact(text, [Span(at, at + len(value), "[X]")]) == cleaned


def test_same_value_same_number_within_a_row() -> None:
    numbering = Numbering()
    text = "4111 1111 and 41111111, Jane@Roe.net"
    spans = [Span(0, 9, "[CARD]"), Span(14, 22, "[CARD]"), Span(24, 36, "[EMAIL]")]
    assert redact(text, spans, numbering) == "[CARD_1] and [CARD_1], [EMAIL_1]"
    assert redact("jane@roe.net bob@roe.net", [Span(0, 12, "[EMAIL]"), Span(13, 24, "[EMAIL]")], numbering) == (
        "[EMAIL_1] [EMAIL_2]"
    )
    assert mask(text, spans) == "[CARD] and [CARD], [EMAIL]"


def test_overlapping_spans_become_their_union() -> None:
    assert redact("abcdefgh", [Span(1, 4, "[A]"), Span(3, 7, "[B]")]) == "a[B_1]h"
    assert redact("abcdefgh", []) == "abcdefgh"


@pytest.mark.parametrize("span", [(3, 3), (-1, 2), (2, 9), (5, 4)])
def test_a_span_outside_the_text_is_refused(span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="does not lie in a text of 8 characters"):
        redact("abcdefgh", [Span(*span, "[A]")])
