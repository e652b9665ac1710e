"""Two runs side by side: rows are matched by content, copies counted, and what differs is told without their text."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from readied import scan
from rich.console import Console
from test_cli import rows

import scanner
from scanner import comparing, pipeline, wordvectors
from scanner.comparing import _matching
from scanner.comparing._figures import Changed
from scanner.errors import OutputError, RunError, SettingsError
from scanner.prediction.hazard import WEIGHTS
from scanner.settings import Settings, TrainingPlan

PLAN = TrainingPlan(epochs=8, learning_rate=3e-4)
QUICK = Settings(semantic=False, plan=PLAN)


def audited(folder: Path, name: str, records: list[dict[str, str]], settings: Settings = QUICK) -> Path:
    """A run of some records, NAME.jsonl and NAME.scan."""
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return scanner.audit([str(data)], settings, folder / f"{name}.scan").path


def copied(run: Path, name: str) -> Path:
    return Path(shutil.copytree(run, run.with_name(name)))


def told(found: comparing.Comparison, width: int = 100) -> str:
    """The words on the screen, whatever lines they stand on."""
    out = io.StringIO()
    found.render(console=Console(file=out, width=width, color_system=None))
    return " ".join(out.getvalue().split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data.scan of 60 rows, one of them an exact copy and one with an address, and its cleaned file clean.jsonl."""
    folder = tmp_path_factory.mktemp("compared")
    run = audited(folder, "data", rows(60))
    pipeline.apply(run, folder / "clean.jsonl")
    return folder


@pytest.fixture(scope="module")
def cleaned(folder: Path) -> comparing.Comparison:
    run = scanner.audit([str(folder / "clean.jsonl")], QUICK, folder / "clean.scan").path
    return comparing.diff(folder / "data.scan", run)


def test_a_cleaned_file_is_without_what_was_found(cleaned: comparing.Comparison) -> None:
    assert cleaned.how == "text"
    counts = {status: cleaned.rows(status) for status in _matching.STATUSES}
    assert counts == {"both": 58, "answer changed": 1, "prompt changed": 0, "text changed": 0, "only A": 1, "only B": 0}
    assert [row for row in cleaned.fates().iter_rows() if row[0] in ("drop", "redact")] == [
        ("drop", 1, 0, 0, 1),
        ("redact", 1, 0, 1, 0),
    ]
    shown = told(cleaned)
    assert "58 in both, 1 changed (1 answer, 0 prompts, 0 otherwise), 1 only in A, 0 only in B" in shown
    assert cleaned.carried_out
    assert "B is what A's plan leaves of A: each row in its place" in shown
    assert "Nothing that A's plan drops or redacts stands in B as it was." in shown
    assert "findings of private/email" in shown
    assert "settings, training plan and versions: the same" in shown
    assert "roe-clinic" not in shown


def test_other_weights_are_told(folder: Path) -> None:
    other = copied(folder / "data.scan", "weights.scan")
    scan = json.loads((other / "scan.json").read_text("utf-8"))
    name = "rules/weights/prediction.toml"
    assert (
        scan["versions"][name]
        == hashlib.sha256(b"weights/prediction.toml\0" + hashlib.sha256(WEIGHTS.read_bytes()).digest()).hexdigest()[:12]
    )
    same = comparing.diff(folder / "data.scan", other)
    assert same.is_empty
    assert same.facts()["same_weights"]
    (other / "scan.json").write_text(json.dumps(scan | {"versions": scan["versions"] | {name: "0123456789ab"}}))
    found = comparing.diff(folder / "data.scan", other)
    assert not found.is_empty
    assert not found.facts()["same_weights"]
    assert [(c.name, c.a, c.b) for c in found.changed] == [
        (f"{name} (version)", scan["versions"][name], "0123456789ab")
    ]
    assert "Other weights: the two were predicted by other versions" in told(found)
    del scan["versions"][name]  # as a run of before they were recorded
    (other / "scan.json").write_text(json.dumps(scan))
    unsaid = comparing.diff(folder / "data.scan", other)
    assert [c.b for c in unsaid.changed] == ["not recorded"]
    assert unsaid.facts()["same_weights"] is None
    assert "Other weights" not in told(unsaid)


def test_what_was_not_cleaned_is_told(folder: Path) -> None:
    more = audited(folder, "more", [*rows(60), {"instruction": "Say one word.", "output": "One."}])
    shown = told(comparing.diff(folder / "data.scan", more))
    assert "B is what A's plan leaves" not in shown
    assert "Of what A's plan takes out, B still holds 1 row to drop and 1 row to redact as before." in shown
    assert "1 row in which A found private data or secrets stands in B unchanged." in shown
    assert "B's plan for the rows that only B has: keep 1." in shown


def test_copies_are_counted_and_the_kept_ones_meet(folder: Path) -> None:
    record = rows(30)[3]
    small = replace(QUICK, plan=replace(PLAN, model_params=5_000_000))  # nothing is memorized, nothing to review
    many = audited(folder, "many", [*rows(30), record, record, record], small)
    few = audited(folder, "few", [record, *rows(30)[10:], record], small)
    found = comparing.diff(many, few)
    mine = found.table().filter(pl.col("row_id_a").is_in([3, 30, 31, 32]))
    assert mine["status"].to_list().count("both") == 2
    assert mine["content"].n_unique() == 1
    assert sorted(mine["copy"]) == [0, 1, 2, 3]
    kept = mine.filter(pl.col("action_a") != "drop")
    assert kept["copy"].to_list() == [0]
    assert kept["action_b"].to_list() == kept["action_a"].to_list()
    assert found.rows("only A") == 2 + 9 - 1 + 1  # two copies, the rows that are left out, and the copy that rows() has


def test_another_plan_over_the_same_rows(folder: Path) -> None:
    again = copied(folder / "data.scan", "again.scan")
    pipeline.judge(again, {"epochs": 2.0, "redact": False})
    found = comparing.diff(folder / "data.scan", again)
    assert found.how == "records"
    assert found.same_data
    assert [(c.name, c.a, c.b) for c in found.changed] == [("--redact", "yes", "no"), ("--epochs", "8", "2")]
    assert found.other_action["action_a"].to_list().count("redact") == 1
    up, down = found.direction
    assert up == 0 < down
    moved = found.moved
    assert (moved["p_extract_a"] - moved["p_extract_b"]).is_sorted(descending=True)
    shown = told(found)
    for part in (
        "Inputs: the same bytes",
        "--epochs 8 2",
        "The same 60 rows in both",
        "Actions: ",
        f"0 rose by .01 or more, {down} fell",
    ):
        assert part in shown
    assert "roe-clinic" not in shown


def test_tokens_of_two_kinds_are_not_subtracted(folder: Path) -> None:
    other = replace(QUICK, tokenizer=wordvectors.TABLE / "tokenizer.json")
    run = scanner.audit([str(folder / "data.jsonl")], other, folder / "pieces.scan").path
    found = comparing.diff(folder / "data.scan", run)
    by_name = {figure.what: figure for figure in found.figures}
    assert by_name["tokens (words)"].difference == 0
    learned = by_name["tokens that are learned (of two kinds)"]
    read = [side.summary["read"]["learned_tokens"] for side in (found.a, found.b)]
    assert [learned.a, learned.b] == read
    assert read[0] < read[1]
    for what in (learned.what, "answers recited for 16 tokens or more", "memorized tokens"):
        assert (by_name[what].difference, by_name[what].overlaps) == (None, None)
    shown = told(found)
    assert f"tokens that are learned (of two kinds) {read[0]:,} {read[1]:,} –" in shown
    assert "cannot be compared, nor can chances (p_extract): 16 tokens are other lengths of text in A" in shown
    assert "intervals overlap" not in shown
    again = copied(run, "pieces-again.scan")
    pipeline.judge(again, {"epochs": 2.0})
    alike = comparing.diff(run, again)
    learned = next(figure for figure in alike.figures if figure.what.startswith("tokens that are learned"))
    assert (learned.what, learned.difference) == ("tokens that are learned (each a token of tokenizer.json)", 0)
    assert "cannot be compared" not in told(alike)


def test_what_is_learned_is_counted_as_the_audit_says_it(folder: Path) -> None:
    """As far as --max-length lets the trainer read."""
    run = scanner.audit([str(folder / "data.jsonl")], replace(QUICK, max_length=20), folder / "short.scan").path
    learned = next(f for f in comparing.diff(folder / "data.scan", run).figures if f.what.startswith("tokens that are"))
    assert learned.what == "tokens that are learned (words)"
    assert learned.b == json.loads((run / "scan.json").read_text())["summary"]["read"]["learned_tokens"] < learned.a


def test_names_of_settings_stay_whole_in_a_narrow_terminal(folder: Path) -> None:
    found = comparing.diff(folder / "data.scan", copied(folder / "data.scan", "long.scan"))
    changed = Changed("--learning-rate", "x" * 40, "word, CJK character or punctuation mark")
    out = io.StringIO()
    replace(found, changed=(changed,)).render(console=Console(file=out, width=80, color_system=None))
    assert "\n--learning-rate  " in out.getvalue()


def test_the_screen_fits_narrow_terminals(folder: Path) -> None:
    again = copied(folder / "data.scan", "narrow.scan")
    pipeline.judge(again, {"epochs": 2.0})
    found = comparing.diff(folder / "data.scan", again)
    for width in (50, 60, 80):
        out = io.StringIO()
        found.render(console=Console(file=out, width=width, color_system=None))
        assert max(map(len, out.getvalue().splitlines())) <= width
    assert "dose (visits)" in told(found)
    assert "dose (visits)" not in told(found, width=60)


def test_of_runs_that_are_the_same_nothing_is_told(folder: Path) -> None:
    found = comparing.diff(folder / "data.scan", copied(folder / "data.scan", "twin.scan"))
    assert found.is_empty
    assert "The same run: nothing differs." in told(found)
    assert "Figures" not in told(found)


def test_records_in_another_order_are_the_same_records(folder: Path) -> None:
    found = comparing.diff(folder / "data.scan", audited(folder, "turned", rows(60)[::-1]))
    assert found.how == "records"
    assert found.same_data
    assert "Inputs: other bytes, the same records" in told(found)


def test_purged_runs_are_matched_by_sketches(folder: Path, cleaned: comparing.Comparison) -> None:
    purged = copied(cleaned.b.run.path, "purged.scan")
    pipeline.purge(purged)
    found = comparing.diff(folder / "data.scan", purged)
    assert found.how == "sketches"
    assert (found.rows("both"), found.rows("only A"), found.rows("only B")) == (58, 2, 1)
    both = pl.col("status") == "both"
    pairs = ["row_id_a", "row_id_b"]
    assert found.pairs.filter(both).select(pairs).equals(cleaned.pairs.filter(both).select(pairs))
    assert "not proven equal" in told(found)


def test_rows_that_changed_in_both_sides_are_found_by_likeness(folder: Path) -> None:
    changed = rows(60)
    for place, record in enumerate(changed):
        if place in (11, 20, 33):
            record["instruction"] += " Please."
            record["output"] += " That is all."
    changed[40] = {"instruction": "Say what rain is.", "output": "Water that falls from clouds, drop by drop."}
    found = comparing.diff(folder / "data.scan", audited(folder, "edited", changed))
    both = found.pairs.filter(pl.col("status") == "text changed")
    assert both["row_id_a"].to_list() == both["row_id_b"].to_list() == [11, 20, 33]
    assert (found.rows("only A"), found.rows("only B")) == (1, 1)


def test_redacted_plain_text_is_known_by_its_place(folder: Path) -> None:
    lines = [{"text": f"Write to {name}@roe-clinic.net now."} for name in ("ann.lee", "joe.roe", "may.day")]
    lines += [{"text": f"{what} falls from clouds when drops become heavy."} for what in ("Rain", "Hail", "Some snow")]
    run = audited(folder, "letters", lines)
    pipeline.apply(run, folder / "letters.clean.jsonl")
    after = scanner.audit([str(folder / "letters.clean.jsonl")], QUICK, folder / "letters.clean.scan").path
    for found in (comparing.diff(run, after), comparing.diff(after, run)):
        assert (found.rows("both"), found.rows("text changed")) == (3, 3)
        changed = found.pairs.filter(pl.col("status") == "text changed")
        assert changed["row_id_a"].to_list() == changed["row_id_b"].to_list() == [0, 1, 2]
        assert found.carried_out == (found.a.run.path == run)


def test_a_field_that_nobody_learns_makes_no_other_content(folder: Path) -> None:
    twice = audited(folder, "twice", [record | {"response": record["output"]} for record in rows(60)])
    found = comparing.diff(folder / "data.scan", twice)
    assert (found.how, found.rows("both")) == ("text", 60)


def test_the_figures_go_into_json(cleaned: comparing.Comparison, tmp_path: Path) -> None:
    comparing.diff(cleaned.a.run.path, cleaned.b.run.path, tmp_path / "d.json")
    facts = json.loads((tmp_path / "d.json").read_text())
    assert facts["rows"]["both"] == 58
    assert not facts["same_run"]
    assert {"action": "drop", "rows": 1, "there": 0, "changed": 0, "gone": 1} in facts["plan_of_a"]
    read = next(figure for figure in facts["figures"] if figure["what"] == "rows read")
    assert (read["a"], read["b"], read["difference"]) == (60, 59, -1)


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_the_table_has_every_row_once(cleaned: comparing.Comparison, tmp_path: Path, ending: str) -> None:
    out = tmp_path / "new" / f"diff{ending}"
    comparing.diff(cleaned.a.run.path, cleaned.b.run.path, out)
    table = pl.read_parquet(out) if ending == ".parquet" else pl.read_csv(out)
    assert table.columns == cleaned.table().columns
    assert table["row_id_a"].drop_nulls().to_list() == list(range(60))
    assert sorted(table["row_id_b"].drop_nulls()) == list(range(59))
    both = table.filter(pl.col("status") == "both", pl.col("p_extract_a").is_not_null())
    assert ((both["p_extract_b"] - both["p_extract_a"]) - both["p_extract_change"]).abs().max() < 1e-12
    assert [p.name for p in out.parent.iterdir()] == [out.name]


def test_bad_runs_are_refused_with_the_cure(folder: Path, tmp_path: Path) -> None:
    run = folder / "data.scan"
    with pytest.raises(SettingsError, match=r"are the same run, which differs in nothing from itself; name two"):
        comparing.diff(run, run.parent / "." / "data.scan")
    with pytest.raises(RunError, match=r"no is not a run folder: there is no such folder; create one"):
        comparing.diff(run, tmp_path / "no")
    (tmp_path / "half").mkdir()
    with pytest.raises(RunError, match=r"half holds no finished run: scan\.json is missing; run"):
        comparing.diff(tmp_path / "half", run)
    with pytest.raises(OutputError, match=r"d\.txt: expected a name that ends in \.parquet, \.csv or \.json"):
        comparing.diff(run, tmp_path, tmp_path / "d.txt")
    old = copied(run, "old.scan")
    table = pl.read_parquet(old / "prediction.parquet")
    table.drop("exposures", "risk").write_parquet(old / "prediction.parquet")
    with pytest.raises(RunError, match=r"old\.scan was audited by an earlier version: its prediction\.parquet lacks "
                       r"exposures, risk; audit the data again"):  # fmt: skip
        comparing.diff(run, old)
    facts = json.loads((old / "scan.json").read_text())
    (old / "scan.json").write_text(json.dumps({**facts, "schema_version": 2}))
    with pytest.raises(RunError, match=r"old\.scan was audited by a version whose tables have other columns"):
        comparing.diff(run, old)


def test_purged_runs_of_other_signatures_are_refused(folder: Path) -> None:
    other = audited(folder, "other", rows(40), QUICK.changed(shingle=4))
    pipeline.purge(other)
    with pytest.raises(
        RunError, match=r"cannot be matched: the text of .*other\.scan was purged, and their signatures"
    ):
        comparing.diff(folder / "data.scan", other)


def test_summaries_of_earlier_days_may_lack_figures(folder: Path) -> None:
    old = copied(folder / "data.scan", "bare.scan")
    facts = json.loads((old / "scan.json").read_text())
    facts["summary"] = {"rows": 60, "prediction": {}, "found": {}}
    del facts["settings"]["plan"]["goldfish_k"]
    (old / "scan.json").write_text(json.dumps(facts))
    found = comparing.diff(old, folder / "data.scan")
    assert not found.changed  # not known then, and not set now
    drops = next(figure for figure in found.figures if figure.what == "rows to drop")
    assert (drops.a, drops.b, drops.difference) == (None, 1, None)
    assert "not measured" in told(found)


def test_the_command_prints_no_text_and_ends_as_it_should(folder: Path, cleaned: comparing.Comparison) -> None:
    done = scan("diff", "data.scan", "clean.scan", "-o", "table.csv", "--top", "2", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "58 in both" in done.stdout
    assert "roe-clinic" not in done.stdout + (folder / "table.csv").read_text()
    assert "Explain item" not in done.stdout + (folder / "table.csv").read_text()
    assert scan("diff", "data.scan", "none.scan", cwd=folder).returncode == 1
    assert scan("diff", "data.scan", "data.scan", cwd=folder).returncode == 2
