"""Delimited and plain text: quotes, line breaks, ragged rows, other encodings."""

import csv
import io
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scanner.errors import EmptyError, FormatError, InputError, OutputError
from scanner.objects import Edits

CELL = st.text(st.sampled_from('ab,"\n\u4e2d '), max_size=6)
IN_PLACE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)


@IN_PLACE
@given(
    st.data(),
    st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_csv_comes_out_as_it_went_in(contents, rewritten, data, rows, newline, quoting):
    text = io.StringIO()
    csv.writer(text, lineterminator=newline, quoting=quoting).writerows([("name", "city", "note"), *rows])
    raw = text.getvalue().encode()
    expected = [dict(zip(("name", "city", "note"), row, strict=True)) for row in rows]
    assert contents("a.csv", raw).values == expected
    assert rewritten("a.csv", raw)[0] == raw
    drop = data.draw(st.frozensets(st.sampled_from(range(len(rows))), max_size=len(rows) - 1))
    new = data.draw(CELL)
    edits = Edits(0, drop, {row: {("city",): "<X>" + new} for row in range(len(rows))})
    out, done = rewritten("a.csv", raw, edits)
    assert contents("b.csv", out).values == [
        row | {"city": "<X>" + new} for i, row in enumerate(expected) if i not in drop
    ]
    assert (done.kept, done.dropped) == (len(rows) - len(drop), len(drop))


def test_quoted_line_breaks_keep_their_line_numbers(contents):
    found = contents("a.csv", b'name,text\r\nann,"one\r\ntwo"\r\n\r\nbob,"say ""hi"""\r\n')
    assert found.values == [{"name": "ann", "text": "one\r\ntwo"}, {"name": "bob", "text": 'say "hi"'}]
    assert found.lines == [2, 5]


def test_ragged_rows(contents, rewritten):
    raw = b"\xef\xbb\xbfname,city,note\nann,rome\nbob,a,b,secret\ncid,oslo,x\n"
    found = contents("a.csv", raw)
    assert found.values == [{"name": "ann", "city": "rome", "note": None}, {"name": "cid", "city": "oslo", "note": "x"}]
    assert [(s.row_id, s.line, s.reason) for s in found.skips] == [(1, 3, "4 cells, expected 3")]
    out, done = rewritten("a.csv", raw, Edits(0, frozenset({0, 1})))
    assert out == b"\xef\xbb\xbfname,city,note\ncid,oslo,x\n"
    assert (done.kept, done.dropped, done.unreadable) == (1, 2, 0)


def test_a_quote_that_is_never_closed_costs_one_line(contents, rewritten):
    raw = b'name,city\nann,rome\nbob,"secret\ncid,oslo\n'
    found = contents("a.csv", raw)
    assert [row["name"] for row in found.values] == ["ann", "cid"]
    assert [(s.row_id, s.line) for s in found.skips] == [(1, 3)]
    assert "not closed before the end of the file; close it" in found.skips[0].reason
    assert rewritten("a.csv", raw)[0] == raw


UNCLOSED = [
    b'ann,"rome\nbob,oslo\ncid,"bern, old"\n',  # the next quoted cell would close it
    b'ann,"rome\n"bob","oslo"\n"cid","bern, old"\n',  # as where every cell is quoted
    b'ann,"rome\nbob,oslo\n"cid","bern, old"\n',
    b'ann,"rome\r\nbob,oslo\r\ncid,"bern, old"\r\n',
    b'ann,"rome\nbob,oslo\ncid,"""bern"""\n',
    b'"ann\nlee","rome\nbob,oslo\ncid,"bern\nold"\n',  # beside a cell that rightly has two lines
]


@pytest.mark.parametrize("rows", UNCLOSED)
def test_a_quote_that_a_later_cell_would_close_costs_one_line_and_is_told(contents, rewritten, rows):
    raw = b"name,city\neve,ulm\n" + rows
    found = contents("a.csv", raw)
    assert [row["name"] for row in found.values] == ["eve", "bob", "cid"]
    assert [row["city"] for row in found.values][1] == "oslo"
    at = 3 + rows.startswith(b'"ann\nlee"')
    assert [(s.row_id, s.line) for s in found.skips] == [(1, at)]
    reason = found.skips[0].reason
    assert re.fullmatch(
        r"a quote that is not closed before another opens a cell in line [456]; close it, or .*", reason
    )
    assert "rome" not in reason
    assert rewritten("a.csv", raw)[0] == raw
    out, done = rewritten("a.csv", raw, Edits(0, frozenset({1})))
    assert (done.kept, b"rome" in out, b"bob" in out) == (3, False, True)


@pytest.mark.parametrize(
    "cell",
    [
        'a table:\n1,2\n3,4',  # what looks like rows of the same number of cells
        'name,city\n"ann","rome"\n',
        '\n"quoted"\n',
        'code:\nprint("a",\n"b")\n',
        'ends in a comma,\n',
        '",\n"',
    ],
)  # fmt: skip
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_cell_of_several_lines_is_no_quote_that_was_left_open(contents, cell, quoting):
    text = io.StringIO()
    csv.writer(text, quoting=quoting).writerows([("name", "city"), ("ann", cell), (cell, "rome"), (cell, cell)])
    found = contents("a.csv", text.getvalue().encode())
    assert [tuple(row.values()) for row in found.values] == [("ann", cell), (cell, "rome"), (cell, cell)]
    assert not found.skips


def test_a_first_row_whose_quote_is_left_open_names_no_columns(contents):
    with pytest.raises(
        FormatError, match=r"a\.csv:1: the first row has a quote that is not closed .* in line 2; close"
    ):
        contents("a.csv", b'"name,city\n"ann","rome"\n"bob","oslo"\n')


def test_many_quotes_left_open_cost_a_line_each(contents):
    raw = b"name,city\n" + b"".join(b'ann %d,"rome\nbob %d,"oslo"\n' % (i, i) for i in range(200))
    found = contents("a.csv", raw)
    assert [row["name"] for row in found.values] == [f"bob {i}" for i in range(200)]
    assert [s.line for s in found.skips] == list(range(2, 402, 2))


@pytest.mark.parametrize("delimiter", [";", "|", "\t"])
def test_the_delimiter_is_found_beside_a_quote_left_open(contents, delimiter):
    lines = ["name,city,note", 'ann,"rome,old', *(f"bob {i},oslo,x" for i in range(30))]
    found = contents("a.csv", "\n".join(lines).replace(",", delimiter).encode())
    assert len(found.values) == 30
    assert found.values[0] == {"name": "bob 0", "city": "oslo", "note": "x"}


@pytest.mark.parametrize(("name", "delimiter"), [("a.tsv", "\t"), ("a.csv", ";"), ("a.csv", "|"), ("a.csv", ",")])
def test_delimiters(contents, name, delimiter):
    raw = f"name{delimiter}city\nann x{delimiter}rome\n".encode()
    assert contents(name, raw).values == [{"name": "ann x", "city": "rome"}]


def test_a_table_without_header_gets_numbered_columns(contents):
    found = contents("a.csv", b'"What is 1 + 2, then?",1,2,3,4,C\nWhy?,a,b,c,d,A\n')
    assert len(found.values) == 2
    assert found.values[1] == dict(zip([f"column_{i}" for i in range(1, 7)], ["Why?", *"abcdA"], strict=True))


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("x,y,z", ["x", "y", "z"]),
        (",prompt,response", ["Unnamed: 0", "prompt", "response"]),
        ("\u95ee\u9898,\u7b54\u6848,_n", ["\u95ee\u9898", "\u7b54\u6848", "_n"]),
        ("3,4,5", ["column_1", "column_2", "column_3"]),
        ("same,same,other", ["same", "same.1", "other"]),
    ],
)
def test_headers(contents, header, columns):
    found = contents("a.csv", f"{header}\n1,2,3\n".encode())
    assert list(found.values[0]) == columns
    assert len(found.values) == 1 + columns[0].startswith("column")


def test_bytes_that_are_not_utf8_are_noted_and_kept(contents, rewritten):
    raw = b"name,city\ncaf\xe9,rome\n"
    found = contents("a.csv", raw)
    assert found.values == [{"name": "caf\ufffd", "city": "rome"}]
    assert found.notes == ["line 2: bytes that are not UTF-8, read as U+FFFD"]
    assert rewritten("a.csv", raw, Edits(0, frozenset(), {0: {("city",): "<X>"}}))[0] == b"name,city\ncaf\xe9,<X>\n"


def test_line_ends_of_old_macintoshes_are_refused_with_the_cure(contents):
    with pytest.raises(FormatError, match=r"carriage return outside quotes.*convert the file with `tr"):
        contents("a.csv", b"name,city\rann,rome\r")


def test_a_header_alone_is_no_data(contents):
    with pytest.raises(InputError, match="holds no records"):
        contents("a.csv", b"name,city\n")


@IN_PLACE
@example(["[]"], "\n", True)
@example(["\ufeff"], "\n", False)
@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_text_comes_out_as_it_went_in(contents, rewritten, lines, newline, last):
    text = newline.join(lines) + newline * last
    raw = text.encode()
    filled = [line for line in lines if line.encode().strip()]
    if not filled or raw[:2] in (b"\xff\xfe", b"\xfe\xff") or raw[1:4:2] == b"\0\0":
        return
    try:
        found = contents("a.txt", raw)
    except EmptyError:  # the lines happen to be a list of nothing, or marks of byte order alone
        assert "".join(text.replace("\ufeff", "").split()) in ("", "[]")
        return
    if found.source.format != "text":  # the lines happen to be JSON
        return
    if "\ufeff" not in text:
        assert [value["text"] for value in found.values] == filled
    assert rewritten("a.txt", raw)[0] == raw


def test_a_new_text_must_stay_one_line(rewritten):
    with pytest.raises(OutputError, match="holds a line break"):
        rewritten("a.txt", b"one\ntwo\n", Edits(0, frozenset(), {0: {("text",): "a\nb"}}))


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.json"])
@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_refused_with_the_cure(contents, name, codec):
    said = "UTF-16" if codec == "utf-16" else codec.upper().replace("16-", "16")
    with pytest.raises(
        FormatError, match=f"encoded as {said}, expected UTF-8; convert it with `iconv -f {said} -t UTF-8"
    ):
        contents(name, '{"text": "hello"}\n'.encode(codec))


def test_utf32_is_not_called_utf16(contents):
    with pytest.raises(FormatError, match=r"encoded as UTF-32, .* `iconv -f UTF-32 -t UTF-8"):
        contents("a.jsonl", '{"text": "hello"}\n'.encode("utf-32"))


def test_a_header_that_names_a_column_twice_is_no_row(contents):
    rows = "".join(f"Why {i}?,Since {i}.,It is so {i}.,{i}\n" for i in range(9))
    found = contents("a.csv", f"prompt,response,response,response.1\n{rows}".encode()).values
    assert found[0] == {"prompt": "Why 0?", "response": "Since 0.", "response.2": "It is so 0.", "response.1": "0"}
    assert len(found) == 9


def test_names_that_repeat_are_told_with_what_their_columns_are_called(contents):
    rows = "".join(f"Why {i}?,Since {i}.,It is so {i}.,{i}\n" for i in range(9)).encode()
    told = contents("a.csv", b"\nprompt,response,response,response.1\n" + rows).notes
    assert told == [
        "header 2: repeated names: columns 2 and 3 are read as response and response.2; rename them to choose"
    ]
    assert contents("b.csv", b"prompt,response,note,x\n" + rows).notes == []
    assert contents("c.csv", b"prompt,response,,\n" + rows, header=True).notes == []  # of no name is not of one name
    many = contents("d.csv", b"a,a,b,b,c,c,d,d,e,e\n" + b"1,2,3,4,5,6,7,8,9,0\n").notes
    assert many[0].count("are read as") == 3
    assert " and 2 more; rename" in many[0]


def test_a_private_value_in_a_header_is_masked_where_its_columns_are_told(contents):
    told = contents("a.csv", b"jane.roe@roe-clinic.net,jane.roe@roe-clinic.net\nWhy?,So.\n", header=True).notes
    assert len(told) == 1
    assert "columns 1 and 2 are read as [EMAIL_1] and [EMAIL_1]" in told[0]


def test_a_first_row_of_words_that_repeat_is_a_row_among_others_like_it(contents):
    found = contents("a.csv", b"dog,animal,dog\ncat,animal,cat\noak,plant,tree\n").values
    assert found[0] == {"column_1": "dog", "column_2": "animal", "column_3": "dog"}
    assert len(found) == 3


QUESTIONS = b"".join(b'Why is it %d?,"Since it is, and so on."\n' % i for i in range(30))


@pytest.mark.parametrize(
    ("first", "is_header"),
    [
        ("frage,antwort", True),
        ("Given Name,Street Address", True),
        ("question,What the assistant should say then", True),  # a name beside a sentence
        ("Name a major American city,New York City.", False),  # a full stop after three words
        ("Say how a cat and dog differ,Cats purr", False),  # six words
        ("Tel. No.,Ref. No.", True),
    ],
)
def test_a_first_row_of_sentences_is_a_row(contents, first, is_header):
    found = contents("a.csv", first.encode() + b"\n" + QUESTIONS).values
    assert len(found) == 30 + (not is_header)
    assert list(found[0]) == (first.split(",") if is_header else ["column_1", "column_2"])


def test_a_first_row_with_a_cell_that_stands_below_it_in_its_column_is_a_row(contents, rewritten):
    raw = b"a good film,positive\nwhat a bore,negative\nfine enough,positive\n"
    assert [row["column_2"] for row in contents("a.csv", raw).values] == ["positive", "negative", "positive"]
    assert rewritten("a.csv", raw, Edits(0, frozenset({0})))[0] == raw.partition(b"\n")[2]
    # another column may well hold the name, and files that were joined hold their header again
    assert list(contents("b.csv", b"film,verdict\na good one,film\n").values[0]) == ["film", "verdict"]
    assert list(contents("c.csv", b"film,verdict\na good one,yes\nfilm,verdict\n").values[0]) == ["film", "verdict"]


def test_whether_there_is_a_header_can_be_said(contents):
    raw = b"Paris,Rome\nOslo,Bern\n"
    assert contents("a.csv", raw).values == [{"Paris": "Oslo", "Rome": "Bern"}]
    assert contents("a.csv", raw, header=False).values == [
        {"column_1": "Paris", "column_2": "Rome"}, {"column_1": "Oslo", "column_2": "Bern"}
    ]  # fmt: skip
    long = b'"What, in short, does the user ask of the assistant?",,\nWhy?,So.,x\n'
    assert len(contents("b.csv", long).values) == 2
    assert contents("b.csv", long, header=True).values == [
        {"What, in short, does the user ask of the assistant?": "Why?", "Unnamed: 1": "So.", "Unnamed: 2": "x"}
    ]
