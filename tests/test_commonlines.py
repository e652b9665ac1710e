"""Lines that most rows of a source hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scanner.commonlines import FEWEST_ROWS, common_lines


def twin(texts: list[str], sources: list[int]) -> set[str]:
    """Line by line, without a shortcut."""
    found = set()
    for members in [texts, *([t for t, s in zip(texts, sources, strict=True) if s == one] for one in set(sources))]:
        lines = {line.strip() for text in members for line in text.split("\n")} - {""}
        for line in lines if len(members) >= FEWEST_ROWS else ():
            held = sum(line in [part.strip() for part in text.split("\n")] for text in members)
            if 2 * held >= len(members):
                found.add(line)
    return found


rows = st.lists(
    st.tuples(st.lists(st.sampled_from(["wrap", " wrap ", "one", "two", ""]), max_size=3), st.integers(0, 2)),
    min_size=15, max_size=70,
)  # fmt: skip


@given(rows, st.integers(1, 30))
def test_as_counted_line_by_line_however_the_rows_are_cut_into_parts(drawn, size):
    texts, sources = ["\n".join(lines) for lines, _ in drawn], [source for _, source in drawn]
    cut = range(0, len(texts), size)
    parts = [texts[i : i + size] for i in cut], [sources[i : i + size] for i in cut]
    assert common_lines(*parts) == twin(texts, sources)


def test_a_wrapper_of_one_source_is_found_among_many_rows_of_another():
    wrapped = [f"Below is an instruction.\nquestion {i}" for i in range(30)]
    plain = [f"question {i}" for i in range(1000)]
    assert common_lines([wrapped + plain], [[0] * 30 + [1] * 1000]) == {"Below is an instruction."}


def test_small_sources_share_what_all_of_them_wear():
    texts = [f"wrapper\n{i}" for i in range(40)]
    assert common_lines([texts], [list(range(40))]) == {"wrapper"}
    assert common_lines([texts[:10]], [[0] * 10]) == frozenset()
    assert common_lines([], []) == frozenset()
