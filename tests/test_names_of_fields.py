"""Private values as names of fields: no plan changes them, so headline, plan, gate and exit code say what is to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from corpora import item

from cli import scan
from scanner import pipeline, unread
from scanner.errors import ScanError
from scanner.reports import terminal
from scanner.settings import Settings
from scanner.store import RunFolder

MAIL, CARD = "jane.roe@roe-clinic.net", "4111111111111111"
SETTINGS = Settings().changed(semantic=False, span_tokens=0)


def jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(",".join(map(str, cells)) for cells in (rows[0], *(r.values() for r in rows))), "utf-8")


def audited(path: Path, **options: Any) -> RunFolder:
    return pipeline.audit([str(path)], SETTINGS.changed(**options), path.parent / "d.scan")


def named(run: RunFolder) -> list[int]:
    return run.read_table("rows")["patterns.names"].to_list()


@pytest.mark.parametrize(
    ("name", "write", "options"),
    [("d.jsonl", jsonl, {}), ("d.json", lambda p, r: p.write_text(json.dumps(r), "utf-8"), {}),
     ("d.parquet", parquet, {}), ("d.csv", csv, {"header": True})],
)  # fmt: skip
def test_a_name_that_all_rows_have_is_counted_in_each(tmp_path, name, write, options):
    write(tmp_path / name, [{**item(i), MAIL: i} for i in range(4)])
    assert named(audited(tmp_path / name, **options)) == [1, 1, 1, 1]


def test_rows_of_one_shape_and_others_are_counted_apart(tmp_path):
    deep = {"who": [{MAIL: {CARD: 1, MAIL: 2}}]}
    jsonl(
        tmp_path / "d.jsonl", [item(0), {**item(1), "meta": deep}, {**item(2), "instruction": 7}, {**item(3), MAIL: 1}]
    )
    with (tmp_path / "d.jsonl").open("a") as file:
        file.write(f'{{"{MAIL}": \n')  # cannot be read
    run = audited(tmp_path / "d.jsonl")
    assert dict(run.read_table("rows").select("row_id", "patterns.names").iter_rows()) == {0: 0, 1: 2, 2: 0, 3: 1}
    assert run.read_json("scan.json")["summary"]["found"]["names"] == {"rows": 2, "share": 0.5, "first": "d.jsonl:2"}


def test_what_is_to_do_is_said_and_no_value_is_shown(tmp_path):
    notes = {MAIL: {"phone": "+1 202-555-0143", "note": f"ask {MAIL}"}}
    jsonl(tmp_path / "d.jsonl", [item(0), item(1), {**item(2), "notes": notes}])
    run = audited(tmp_path / "d.jsonl")
    pipeline.report(run, ["html", "json", "markdown", "sarif"])
    screen = " ".join(terminal.render(run).decode().split())
    assert (
        "Rename fields before training: in 1 of 3 rows their names hold private values, which stay unmasked." in screen
    )
    assert "Rename fields yourself: in 1 row (first: d.jsonl:3) their names hold private values" in screen
    assert "calls for action" not in screen
    page = (run.path / "report.html").read_text("utf-8")
    assert "Looked for and found nowhere" not in page
    assert "found in no text of a field" in page
    told = pipeline.apply(run.path, tmp_path / "clean.jsonl")
    assert told.not_masked.startswith(
        f"{tmp_path / 'clean.jsonl'} is written, but private values still stand in names of fields of 1 row, which no"
    )
    assert json.loads((tmp_path / "clean.jsonl.manifest.json").read_text("utf-8"))["rows_private_names"] == 1
    public = [p for p in run.path.rglob("*") if p.is_file() and run.private not in p.parents]
    public += [tmp_path / "clean.jsonl.manifest.json", tmp_path / "clean.jsonl.removed.jsonl"]
    assert len(public) > 12
    assert not [p.name for p in public if MAIL.encode() in p.read_bytes()]
    with pytest.raises(ScanError, match=r"in 1 row \(line 3\), in names of fields, which no plan changes; rename"):
        pipeline.verify(tmp_path / "clean.jsonl", run.path)


def test_the_command_ends_with_3(tmp_path):
    jsonl(tmp_path / "d.jsonl", [item(0), {**item(1), MAIL: 1}])
    source, out, clean = (str(tmp_path / name) for name in ("d.jsonl", "d.scan", "clean.jsonl"))
    audit = [source, "--out", out, "--no-semantic", "--quiet"]
    assert CliRunner().invoke(scan, audit).exit_code == 0
    gated = CliRunner().invoke(scan, [*audit, "--fail-on", "high"])
    assert gated.exit_code == 3
    why = "private values in names of fields of 2 rows, which no plan changes: gate --fail-on high tripped"
    assert why.replace("2 rows", "1 row") in gated.output
    applied = CliRunner().invoke(scan, ["apply", out, "-o", clean, "--quiet"])
    assert applied.exit_code == 3
    assert "rename these fields in the input, or take them out, and audit again" in applied.output
    assert Path(clean).read_bytes() == Path(source).read_bytes()
    chosen = CliRunner().invoke(scan, [*audit, "--force", "--leave-unread", "--fix", clean])
    assert (chosen.exit_code, chosen.output) == (0, "")  # it was asked for


def test_a_row_that_goes_takes_its_names_along(tmp_path):
    jsonl(tmp_path / "d.jsonl", [item(0), {**item(0), MAIL: 1}, item(2)])
    run = audited(tmp_path / "d.jsonl", keep_policy="first")
    assert not pipeline.apply(run.path, tmp_path / "clean.jsonl").not_masked
    pipeline.verify(tmp_path / "clean.jsonl", run.path)


def test_plain_names_are_looked_at_once(tmp_path, monkeypatch):
    asked: list[set[str]] = []
    monkeypatch.setattr(unread, "private_among", lambda names, book: asked.append(set(names)) or {"b"} & set(names))
    private = unread.private_names(SETTINGS)
    assert [private(names) for names in ({"a", "b"}, {"a", "c"}, {"a", "b"})] == [{"b"}, set(), {"b"}]
    assert asked == [{"a", "b"}, {"c"}, {"b"}]


def test_an_interrupted_audit_goes_on_with_the_names_it_found(tmp_path):
    jsonl(tmp_path / "d.jsonl", [item(0), {**item(1), MAIL: 1}])
    run = audited(tmp_path / "d.jsonl")
    (run.path / "scan.json").unlink()
    assert named(audited(tmp_path / "d.jsonl")) == [0, 1]
