"""Private values with characters in them that show nothing are found, and masked with them."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner import rulebook
from scanner.invisible import RANGES, seen_through

BOOK = rulebook.load(())
ZERO_WIDTH = "\u200b"


def found(*texts: str, rules=BOOK) -> list[tuple[int, str, str]]:
    frame = pl.DataFrame({"row_id": range(len(texts)), "segment": [0] * len(texts), "text": list(texts)})
    table = rules.find([frame.cast({"row_id": pl.Int64, "segment": pl.Int32})], threads=1)
    return [(r["row_id"], r["rule_id"], texts[r["row_id"]][r["start"] : r["end"]]) for r in table.iter_rows(named=True)]


@pytest.mark.parametrize("point", sorted({point for span in RANGES for point in span}), ids=hex)
def test_an_address_parted_by_what_shows_nothing_is_found_whole(point):
    hidden = f"e{chr(point)}vil.person@real{chr(point)}mail.org"
    assert found(f"write to {hidden}, or not") == [(0, "private/email", hidden)]
    assert found("write to evil.person@realmail.org, or not") == [(0, "private/email", "evil.person@realmail.org")]


def test_what_stands_whole_beside_such_a_character_is_found_once():
    text = f"anna.lind@mail.org{ZERO_WIDTH}\n{ZERO_WIDTH}card 4111 1111 1111 1111"
    assert found(text) == [
        (0, "private/email", "anna.lind@mail.org"),
        (0, "private/credit_card", "4111 1111 1111 1111"),
    ]
    assert found(text.replace(ZERO_WIDTH, "")) == found(text)


def test_a_value_that_its_context_gave_away_is_found_again_where_it_is_parted():
    plain = "Telephone: 555 014 2377."
    (first,) = found(plain)
    parted = first[2][:6] + ZERO_WIDTH + first[2][6:]
    assert found(plain, f"ask {parted} about it") == [first, (1, first[1], parted)]
    assert found(f"ask {parted} about it") == []


@given(st.text(alphabet="ab@.\u200b\u00ad\ufeffé𝄞 ", max_size=30), st.integers(0, 5))
def test_spans_lie_where_the_characters_stand(text, length):
    frame = pl.DataFrame({"text": ["nothing", text]})
    hidden = {chr(p) for first, last in RANGES for p in range(first, last + 1)}
    through = seen_through([frame])
    assert len(through) == any(c in hidden for c in text)
    for one in through:
        (seen,) = one.frame["text"]
        assert seen == "".join(c for c in text if c not in hidden)
        starts = range(max(0, len(seen) - length))
        ends = [start + length + 1 for start in starts]
        spans = pl.DataFrame({"place": [0] * len(starts), "start": list(starts), "end": ends})
        spans = spans.cast({"place": pl.UInt32, "start": pl.Int64, "end": pl.Int64})
        for start, (_, a, b) in zip(starts, one.as_it_stands(spans).rows(), strict=True):
            assert "".join(c for c in text[a:b] if c not in hidden) == seen[start : start + length + 1]
            assert text[a] not in hidden
            assert text[b - 1] not in hidden
