"""Fields that no trainer reads: nothing private survives in them, whatever the format; the rest stays as it was."""

from __future__ import annotations

import csv
import html
import json
import re
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scanner import formats, ingest, pipeline, rulebook, unread
from scanner.errors import OutputError, ScanError
from scanner.objects import Segment
from scanner.settings import Settings
from scanner.store import RunFolder

SETTINGS = Settings().changed(semantic=False, span_tokens=0)
MAIL, CARD = "jane.roe@roe-clinic.net", 4111111111111111
BOOK = rulebook.load()
IS_KNOWN = unread.names_of(SETTINGS)


def row(i: int, **more: Any) -> dict[str, Any]:
    words = " ".join(f"word{(i * 37 + j * 11) % 991}" for j in range(20))
    return {"instruction": f"Tell item {i} of list {i * i}.", "output": f"{words}.", **more}


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8")


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for r in rows for key in r)))
        writer.writeheader()
        writer.writerows(rows)


def cleaned(path: Path, out: str, target: str | None = None, chosen: Settings = SETTINGS) -> tuple[Path, Path]:
    """The cleaned file of a data set, and its run."""
    run = pipeline.audit([str(path)], chosen, path.parent / f"{path.stem}.scan").path
    pipeline.apply(run, path.parent / out, target)
    return path.parent / out, run


def collected(record: Any, *read: str) -> list[tuple[tuple[str | int, ...], str]]:
    return unread.of_record(record, [Segment((key,), "text", 0, False, "") for key in read], IS_KNOWN)


def test_what_is_looked_at_beside_the_segments():
    record = {
        "prompt": "read", "note": "some text", "tag": "ab", "n": 123456, "long": 1234567, "yes": True, "x": None,
        "Password": 1234, "pwd": 12, "cvv": "7", "n3": 482, "price": 1234567.5, "tel": 842330.0,
        "exact": Decimal(84233012),
        "deep": [{"role": "user", "content": "again"}, {"role": "Some name", "a/b": ["text", 7, 55512345]}],
        "phones": [842330, None], "ids": [5, 842330, 7],
    }  # fmt: skip
    assert collected(record, "prompt") == [
        (("note",), "some text"),
        (("long",), "1234567"),
        (("Password",), "1234"),
        (("pwd",), "12"),
        (("cvv",), "7"),
        (("tel",), "842330"),
        (("exact",), "84233012"),
        (("deep", 0, "content"), "again"),
        (("deep", 1, "role"), "Some name"),
        (("deep", 1, "a/b", 0), "text"),
        (("deep", 1, "a/b", 2), "55512345"),
        (("phones", 0), "842330"),
    ]


def stored(folder: Path, lines: list[str]) -> list[tuple[int, str, str]]:
    """(row, pointer, text) of RUN/private/unread.arrow."""
    (folder / "d.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    run = RunFolder.open_for_writing(folder / "r.scan")
    ingest.read_all(formats.discover([str(folder / "d.jsonl")]), run, SETTINGS, 2, unread_too=True)
    return run.unread().frame(["row_id", "field_path", "text"]).rows()


FLAT = st.dictionaries(
    st.sampled_from(["note", "Password", "phone", "id", "n", "größe"]),
    st.one_of(st.text(max_size=9), st.integers(-(10**9), 10**19), st.booleans(), st.none()),
    min_size=1,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(FLAT, min_size=1, max_size=6))
def test_the_fast_reader_and_the_parser_find_the_same(records):
    lines = [json.dumps({"prompt": "p", "response": "r", **record}) for record in records]
    with tempfile.TemporaryDirectory() as folder:
        found = stored(Path(folder), lines)
    expected = [
        (i, path[0], text.encode("utf-8", "replace").decode() if not text.isascii() else text)
        for i, line in enumerate(lines)
        for path, text in collected(json.loads(line), "prompt", "response")
    ]
    assert sorted(found) == sorted((i, f"/{name}", text) for i, name, text in expected)


PLANTS: list[tuple[str, str, str]] = [
    ("note", example.text, s) for r in BOOK.rules for example in r.fires for s in example.spans
]
PLANTS += [(field, text, text.strip()) for r in BOOK.rules for field, text in r.field_fires]


def test_every_rule_plants_something():
    assert len(PLANTS) >= 4 * len(BOOK.rules)


@st.composite
def planted(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """Fields beside a record's text, and the private value that they hold."""
    name, text, value = draw(st.sampled_from(PLANTS))
    shape = draw(st.sampled_from(["plain", "nested", "listed"]))
    if name != "note":  # the name tells
        held: Any = int(text) if text.isdecimal() and text[0] != "0" and draw(st.booleans()) else text
        return {"plain": {name: held}, "nested": {"meta": {name: held}}, "listed": {"all": [{name: held}]}}[
            shape
        ], value
    return {"plain": {"note": text}, "nested": {"meta": {"note": text}}, "listed": {"all": [text, "x"]}}[shape], value


def is_left(value: str, text: str) -> bool:
    return re.search(rf"(?<![0-9A-Za-z]){re.escape(value)}(?![0-9A-Za-z])", text) is not None


def strings(value: Any) -> str:
    """All texts and numbers below a value, one a line."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return str(value) if not isinstance(value, dict | list) else "\n".join(map(strings, parts))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(planted(), min_size=1, max_size=12))
def test_no_planted_value_of_any_rule_survives_in_any_field_of_any_output(plants):
    rows = [row(i, **fields) for i, (fields, _) in enumerate(plants)] + [row(99)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_jsonl(folder / "d.jsonl", rows)
        (folder / "e.json").write_text(json.dumps(rows, indent=1), "utf-8")
        for path, target in (("d.jsonl", None), ("e.json", None), ("e.json", "jsonl")):
            clean, run = cleaned(folder / path, f"clean-{target}-{path}", target)
            content = clean.read_text("utf-8")
            after = [json.loads(line) for line in content.splitlines()] if target or path == "d.jsonl" else None
            after = json.loads(content) if after is None else after
            assert after[-1] == rows[-1]
            for (_, value), masked in zip(plants, after, strict=False):
                assert not is_left(value, strings(masked))
            pipeline.verify(clean, RunFolder(run).path)
            pipeline.apply(run, folder / "twice", target)
            assert (folder / "twice").read_text("utf-8") == content


TABLE = [
    row(0, phone=5551234567, name="Ann", ts=1600000000000, id=CARD + 5),
    row(1, phone=None, name=f"by {MAIL}", ts=1600000000001, id=CARD + 6),
    row(2, phone=5559876543, name="Eve", ts=1600000000002, id=CARD + 7),
]


def test_numbers_of_typed_columns_become_null(tmp_path):
    write_parquet(tmp_path / "t.parquet", TABLE)
    clean, run = cleaned(tmp_path / "t.parquet", "clean.parquet")
    before, after = pq.read_table(tmp_path / "t.parquet"), pq.read_table(clean)
    assert after.schema == before.schema
    assert after["phone"].to_pylist() == [None, None, None]
    assert after["name"].to_pylist() == ["Ann", "by [EMAIL_1]", "Eve"]
    for same in ("instruction", "output", "ts", "id"):
        assert after[same] == before[same]
    pipeline.verify(clean, run)
    pipeline.apply(run, tmp_path / "clean.jsonl", "jsonl")
    lines = [json.loads(line) for line in (tmp_path / "clean.jsonl").read_text("utf-8").splitlines()]
    assert [line["phone"] for line in lines] == ["[PHONE_1]", None, "[PHONE_1]"]
    pipeline.verify(tmp_path / "clean.jsonl", run)
    plan = RunFolder(run).read_table("plan")
    assert plan["why"][0] == "1 private or secret span (private/phone_labelled) in fields that no trainer reads"


def test_numbers_below_structs_lists_and_maps_become_null(tmp_path):
    kind = pa.schema(
        [
            ("instruction", pa.string()),
            ("output", pa.large_string()),
            ("who", pa.struct([("phone", pa.float64()), ("kin", pa.list_(pa.struct([("tel", pa.int32())])))])),
            ("contact", pa.map_(pa.string(), pa.string())),
            ("phones", pa.list_(pa.int64())),
            ("kind", pa.dictionary(pa.int8(), pa.string())),
            ("cost", pa.decimal128(20, 0)),
        ]
    )
    row_0 = row(
        0, who={"phone": 5551234567.0, "kin": [{"tel": 842330}, {"tel": 12}]}, kind=MAIL, phones=[5551234567, 1]
    )
    rows = [
        row_0 | {"contact": [("a", f"ask {MAIL}")], "cost": Decimal(CARD)},
        row(1, kind="plain", contact=[], cost=None),
    ]
    pq.write_table(pa.Table.from_pylist(rows, kind), tmp_path / "t.parquet")
    clean, run = cleaned(tmp_path / "t.parquet", "clean.parquet")
    after = pq.read_table(clean)
    assert after.schema == kind
    first, second = after.to_pylist()
    assert first["who"] == {"phone": None, "kin": [{"tel": None}, {"tel": 12}]}
    assert (first["contact"], first["phones"], first["kind"]) == ([("a", "ask [EMAIL_1]")], [None, 1], "[EMAIL_1]")
    assert first["cost"] is None
    assert second["kind"] == "plain"
    pipeline.verify(clean, run)


def test_a_column_that_holds_no_nulls_is_refused(tmp_path):
    columns = [("instruction", pa.string()), ("output", pa.string()), pa.field("phone", pa.int64(), nullable=False)]
    rows = [row(i, phone=5551234567 + i) for i in range(3)]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(columns)), tmp_path / "t.parquet")
    with pytest.raises(
        OutputError,
        match="column phone holds private numbers and is declared to hold no nulls; expected a column in which such a "
        "number can be left out; let it hold nulls, drop it, or judge again with `scan plan RUN --leave-unread`",
    ):
        cleaned(tmp_path / "t.parquet", "clean.parquet")
    assert not (tmp_path / "clean.parquet").exists()
    pipeline.judge(tmp_path / "t.scan", {"redact_unread": False})
    pipeline.apply(tmp_path / "t.scan", tmp_path / "clean.parquet")
    assert pq.read_table(tmp_path / "clean.parquet") == pq.read_table(tmp_path / "t.parquet")


def test_cells_of_a_csv_file_that_no_trainer_reads(tmp_path):
    rows = [row(i, TelephoneNumber=f"84 23 3{i}", order_id=str(CARD), City="Rome, IT") for i in range(3)]
    write_csv(tmp_path / "t.csv", rows)
    clean, run = cleaned(tmp_path / "t.csv", "clean.csv")
    lines = (tmp_path / "t.csv").read_text("utf-8").splitlines()
    expected = [lines[0], *(line.replace(f"84 23 3{i}", "[PHONE_1]") for i, line in enumerate(lines[1:]))]
    assert clean.read_text("utf-8").splitlines() == expected
    pipeline.verify(clean, run)


def test_nothing_but_the_values_changes_in_json(tmp_path):
    line = (
        '{"instruction": "Tell item 1.", "output":"Word by word, and so on.",  "meta": {"n":1e3, "phone" : 5551234567,'
        ' "far": [4111111111111111, 1.50], "e": "\\u00e9 jane.roe@roe-clinic.net"}, "id": 4111111111111112}'
    )
    other = json.dumps(row(2, meta={"phone": 12}))
    (tmp_path / "d.jsonl").write_text(f"{line}\n{other}\n", "utf-8")
    clean, _ = cleaned(tmp_path / "d.jsonl", "clean.jsonl")
    expected = line.replace("5551234567", '"[PHONE_1]"').replace("4111111111111111", '"[CARD_1]"')
    assert clean.read_text("utf-8") == f"{expected.replace(MAIL, '[EMAIL_1]')}\n{other}\n"
    manifest = json.loads((tmp_path / "clean.jsonl.manifest.json").read_text("utf-8"))
    assert {key: manifest[key] for key in manifest if "redacted" in key} == {
        "rows_redacted": 1, "rows_redacted_unread": 1, "values_redacted_unread": 3,
    }  # fmt: skip


def test_a_value_is_masked_wherever_it_stands_in_either_direction(tmp_path):
    rows = [
        row(0, meta={"TelephoneNumber": "0496 464-17"}),
        row(1) | {"output": "Somebody left 0496 464-17 on the table, that was all."},
        row(2) | {"output": "Please ring her: phone 780 6326, after six."},
        row(3, log={"seen": ["780 6326 again"]}),
    ]
    write_jsonl(tmp_path / "d.jsonl", rows)
    clean, run = cleaned(tmp_path / "d.jsonl", "clean.jsonl")
    after = [json.loads(line) for line in clean.read_text("utf-8").splitlines()]
    assert after[0]["meta"] == {"TelephoneNumber": "[PHONE_1]"}
    assert after[1]["output"] == "Somebody left [PHONE_1] on the table, that was all."
    assert after[2]["output"] == "Please ring her: phone [PHONE_1], after six."
    assert after[3]["log"] == {"seen": ["[PHONE_1] again"]}
    assert pipeline.verify(clean, run).values == 2


IDENTIFIERS = {
    "id": CARD, "conversation_id": str(CARD), "sha256": "be" * 32, "ts": 13912345678, "createdAt": "13912345678",
    "url": "https://a-site.org/4111111111111111/", "trace": "341b07e5-f475-feb0-be90-6cdcd3eacff1",
}  # fmt: skip


def test_identifiers_hashes_and_times_stay(tmp_path):
    write_jsonl(tmp_path / "d.jsonl", [row(i, meta=IDENTIFIERS, **IDENTIFIERS) for i in range(3)])
    clean, run = cleaned(tmp_path / "d.jsonl", "clean.jsonl")
    assert clean.read_bytes() == (tmp_path / "d.jsonl").read_bytes()
    pipeline.verify(clean, run)


def test_an_identifier_that_is_a_known_value_or_named_one_goes(tmp_path):
    rows = [row(0, id=CARD, card=CARD), row(1, NationalID=123456789, id=CARD + 1), row(2, tax_id="860315-1234", id=7)]
    write_jsonl(tmp_path / "d.jsonl", rows)
    clean, _ = cleaned(tmp_path / "d.jsonl", "clean.jsonl")
    after = [json.loads(line) for line in clean.read_text("utf-8").splitlines()]
    assert (after[0]["id"], after[0]["card"]) == ("[CARD_1]", "[CARD_1]")
    assert (after[1]["NationalID"], after[1]["id"]) == ("[ID_1]", CARD + 1)
    assert (after[2]["tax_id"], after[2]["id"]) == ("[ID_1]", 7)


def test_they_can_be_left(tmp_path):
    write_jsonl(tmp_path / "d.jsonl", [row(0, meta={"author": MAIL}), row(1)])
    clean, run = cleaned(tmp_path / "d.jsonl", "clean.jsonl", chosen=SETTINGS.changed(redact_unread=False))
    assert clean.read_bytes() == (tmp_path / "d.jsonl").read_bytes()
    with pytest.raises(
        ScanError,
        match=r"private values stand in 1 row \(line 1\), in fields that no trainer reads \(author\); apply the plan "
        r"of .* with redaction on and without --leave-unread, or mask these fields by hand",
    ):
        pipeline.verify(clean, run)
    pipeline.judge(run, {"redact_unread": True})
    told = pipeline.apply(run, clean).in_words()
    assert "2 rows, 1 of them redacted (1 value in fields that no trainer reads, in 1 of these)" in told
    pipeline.verify(clean, run)


def test_names_of_fields_are_told_but_never_changed(tmp_path):
    write_jsonl(tmp_path / "d.jsonl", [row(0) | {"output": f"Ask {MAIL} for it."}, row(1, seen={MAIL: 3}), row(2)])
    clean, run = cleaned(tmp_path / "d.jsonl", "clean.jsonl")
    with pytest.raises(ScanError, match=r"in 1 row \(line 2\), in names of fields, which no plan changes; rename"):
        pipeline.verify(clean, run)


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "json"])
def test_what_a_rule_finds_in_names_of_fields_is_told_though_it_stands_nowhere_else(tmp_path, ending):
    path = tmp_path / f"d.{ending}"
    rows = [row(0), row(1, **{f'of "{MAIL}"': 3}), row(2, seen=[{"deep": {f"{CARD}": "x"}}]), row(3, note='"a": 1')]
    if ending == "parquet":
        write_parquet(path, [rows[2], *rows[::3]])  # the others have nothing there
    else:
        write_jsonl(path, rows) if ending == "jsonl" else path.write_text(json.dumps(rows), "utf-8")
    clean, run = cleaned(path, f"clean.{ending}")
    told = {"jsonl": "2 rows (lines 2, 3)", "parquet": "1 row (line 1)", "json": "2 rows (records 2, 3)"}[ending]
    with pytest.raises(ScanError, match=re.escape(f"private values stand in {told}, in names of fields")):
        pipeline.verify(clean, run)


def test_a_row_to_look_at_says_so_though_it_is_redacted(tmp_path):
    rows = [row(0, by=MAIL), row(0, by="nobody") | {"output": "No item of that list is known to me, I am afraid."}]
    write_jsonl(tmp_path / "d.jsonl", rows)
    _, run = cleaned(tmp_path / "d.jsonl", "clean.jsonl")
    actions = RunFolder(run).read_table("plan").select("action", "why").rows()
    assert actions[0][0] == "redact"
    assert actions[0][1].startswith(
        "1 private or secret span (private/email) in fields that no trainer reads; besides,"
    )
    assert actions[0][1].endswith(
        "its prompt has 2 different answers in this data set; 50 % of those rows give this one"
    )
    assert actions[1][0] == "review"


def test_the_table_of_findings_shows_no_value(tmp_path):
    write_jsonl(tmp_path / "d.jsonl", [row(0, meta={"phone": 5551234567, "x": [MAIL]}), row(1)])
    _, run = cleaned(tmp_path / "d.jsonl", "clean.jsonl")
    table = RunFolder(run).read_table("unread")
    assert dict(table.schema) == unread.UNREAD_SCHEMA
    assert table.select("row_id", "field", "start", "end", "rule_id", "kind", "preview").rows() == [
        (0, 0, 0, 10, "private/phone_labelled", "private", "[PHONE] 10 chars, by the name of its field, phone"),
        (0, 1, 0, 23, "private/email", "private", "[EMAIL] 23 chars"),
    ]
    for path in run.rglob("*"):
        if path.is_file() and "private" not in path.parts and path.suffix in (".json", ".html", ".jsonl"):
            assert MAIL not in path.read_text("utf-8"), path
    summary = json.loads((run / "scan.json").read_text("utf-8"))["summary"]
    assert summary["found"]["unread"]["by_rule"] == {
        "private/email": {"findings": 1, "rows": 1}, "private/phone_labelled": {"findings": 1, "rows": 1},
    }  # fmt: skip


def test_the_report_lists_what_stands_in_unread_fields_alone(tmp_path):
    write_jsonl(tmp_path / "d.jsonl", [row(i, id=i, meta={"phone": 5551234567 + i, "x": MAIL}) for i in range(5)])
    _, run = cleaned(tmp_path / "d.jsonl", "clean.jsonl")
    page = html.unescape((run / "report.html").read_text("utf-8"))
    section = page[page.index('<section id="private">') : page.index('<section id="plan">')]
    assert "No rule found anything." not in section
    assert section.count("All in fields that no trainer reads, first in rows 0, 1, 2.") == 2
    nowhere = section[section.index("Looked for and found nowhere:") :]
    assert "credit card, " in nowhere[: nowhere.index("</p>")]
    assert "e-mail" not in nowhere[: nowhere.index("</p>")]


def test_the_same_for_any_number_of_threads(tmp_path):
    write_jsonl(tmp_path / "d.jsonl", [row(i, id=i, meta={"phone": 5551234567 + i % 3, "x": MAIL}) for i in range(50)])
    tables = []
    for threads in (1, 2):
        run = pipeline.audit(
            [str(tmp_path / "d.jsonl")], SETTINGS.changed(threads=threads), tmp_path / f"{threads}.scan"
        )
        tables.append(run.read_table("unread"))
    assert tables[0].equals(tables[1])
    assert tables[0].select(pl.len()).item() == 100
