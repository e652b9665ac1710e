"""A plan carried out: what stays, what goes, what is replaced, also in fields that no trainer reads."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import polars as pl
import pytest
from corpora import item

from scanner import applying, pipeline
from scanner.errors import BrakeError, OutputError, RunError, SettingsError
from scanner.settings import Settings

MAIL = "jane.roe@roe-clinic.net"
SETTINGS = Settings().changed(semantic=False)


def audited(folder: Path, rows: list[dict[str, object]], settings: Settings = SETTINGS) -> Path:
    (folder / "d.json").write_text(json.dumps(rows, indent=2, ensure_ascii=False), "utf-8")
    return pipeline.audit([str(folder / "d.json")], settings, folder / "d.scan").path


def test_private_values_go_from_unread_fields_too(tmp_path):
    rows = [item(i, meta={"author": "nobody", "tags": ["a"]}) for i in range(6)]
    rows[2]["output"] = f"Ask {MAIL} about item 2, or write to {MAIL} again."
    rows[2]["meta"] = {"author": MAIL, "tags": [f"from {MAIL}"]}
    run = audited(tmp_path, rows)
    done = pipeline.apply(run, tmp_path / "clean.json")
    after = json.loads((tmp_path / "clean.json").read_text("utf-8"))
    assert done.rows_redacted == 1
    assert after[2]["output"] == "Ask [EMAIL_1] about item 2, or write to [EMAIL_1] again."
    assert after[2]["meta"] == {"author": "[EMAIL_1]", "tags": ["from [EMAIL_1]"]}
    assert [after[i] for i in (0, 1, 3, 4, 5)] == [rows[i] for i in (0, 1, 3, 4, 5)]
    for path in (*tmp_path.glob("clean.json*"), tmp_path / "d.scan" / "report.html"):
        assert MAIL not in path.read_text("utf-8"), path.name


def test_the_brake_keeps_a_plan_from_being_applied(tmp_path):
    rows = [item(1)] * 5 + [item(2)]
    run = audited(tmp_path, rows)
    with pytest.raises(BrakeError, match=r"the plan would drop 4 of 6 rows of d\.json \(67 %\)"):
        pipeline.apply(run, tmp_path / "clean.json")
    assert not (tmp_path / "clean.json").exists()
    assert (run / "report.html").exists()
    pipeline.judge(run, {"max_removal_share": 1.0})
    assert pipeline.apply(run, tmp_path / "clean.json").rows_kept == 2


def test_a_threshold_below_the_floor_of_the_audit_names_the_cure(tmp_path):
    run = audited(tmp_path, [item(i) for i in range(3)])
    with pytest.raises(SettingsError, match=r"--jaccard 0\.3 lies below the audit's floor of 0\.5; .* --floor 0\.3"):
        pipeline.judge(run, {"jaccard": 0.3})


def test_the_input_is_never_overwritten(tmp_path):
    run = audited(tmp_path, [item(i) for i in range(3)])
    before = (tmp_path / "d.json").read_bytes()
    with pytest.raises(OutputError, match="is the audited file itself"):
        pipeline.apply(run, tmp_path / "d.json")
    assert (tmp_path / "d.json").read_bytes() == before


def test_nothing_that_the_audit_read_or_wrote_is_overwritten(tmp_path):
    run = audited(tmp_path, [item(i) for i in range(3)])
    benchmark = tmp_path / "bench.jsonl"
    benchmark.write_text('{"question": "Who asked this question first of all?", "answer": "Nobody."}\n', "utf-8")
    other = tmp_path / "other.scan"
    settings = Settings(evaluation=(benchmark,), against=(run,), semantic=False, max_removal_share=1.0)
    pipeline.audit([str(tmp_path / "d.json")], settings, other)
    (tmp_path / "clean.json.removed.jsonl").symlink_to(tmp_path / "d.json")
    for out, said in (
        (benchmark, "is evaluation data"),
        (run / "rows.parquet", "lies in the folder of a run"),
        (other / "index" / "index.json", "lies in the folder of a run"),
        (tmp_path / "clean.json", "is the audited file itself"),
        (run / "new.json", "lies in the folder of a run"),
    ):
        before = out.read_bytes() if out.exists() else b""
        with pytest.raises(OutputError, match=f"{said}; expected another name"):
            pipeline.apply(other, out)
        assert (out.read_bytes() if out.exists() else b"") == before


def test_to_another_format(tmp_path):
    rows = [item(i) for i in range(4)]
    run = audited(tmp_path, rows)
    pipeline.apply(run, tmp_path / "clean.jsonl", "jsonl")
    assert [json.loads(line) for line in (tmp_path / "clean.jsonl").read_text("utf-8").splitlines()] == rows


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        ("clean.parquet", None, "the name says parquet, and what is written is json, as the input is"),
        ("clean.csv.gz", None, "the name says csv, and what is written is json, as the input is"),
        ("clean.csv", "jsonl", "the name says csv, and what is written is jsonl"),
    ],
)  # fmt: skip
def test_no_file_is_called_after_another_format_than_its_own(tmp_path, name, target, said):
    run = audited(tmp_path, [item(i) for i in range(3)])
    with pytest.raises(OutputError, match=re.escape(f"{name}: {said}; choose another name") + "$"):
        pipeline.apply(run, tmp_path / name, target)
    assert not list(tmp_path.glob("clean*"))
    for named in ("clean", "clean.bak", "clean.jsonl.gz"):
        assert pipeline.apply(run, tmp_path / named, target).rows_kept == 3


def test_a_table_is_not_called_jsonl_and_the_way_there_is_named(tmp_path):
    pl.DataFrame([item(i) for i in range(3)]).write_parquet(tmp_path / "d.parquet")
    run = pipeline.audit([str(tmp_path / "d.parquet")], SETTINGS, tmp_path / "d.scan").path
    with pytest.raises(OutputError, match=r"the name says jsonl, and what is written is parquet, .* or --to jsonl"):
        pipeline.apply(run, tmp_path / "clean.jsonl")
    assert pipeline.apply(run, tmp_path / "clean.jsonl", "jsonl").rows_kept == 3


def test_a_run_is_judged_by_one_process_at_a_time(tmp_path, monkeypatch):
    def taken(*_):
        raise BlockingIOError

    run = audited(tmp_path, [item(i) for i in range(3)])
    with monkeypatch.context() as patched:
        patched.setattr("fcntl.lockf", taken)
        with pytest.raises(RunError, match="is being written by another process"):
            pipeline.judge(run, {"jaccard": 0.9})
    pipeline.purge(run)
    pipeline.judge(run, {"jaccard": 0.9})
    assert not (run / "private").exists()


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob(pattern) if path.is_file()}


@pytest.mark.parametrize("taken", ["clean.json.removed.jsonl", "clean.json.manifest.json", "clean.json"])
def test_a_name_that_a_folder_has_is_refused_before_anything_is_written(tmp_path, taken):
    run = audited(tmp_path, [item(i) for i in range(3)])
    (tmp_path / taken / "kept").mkdir(parents=True)
    (tmp_path / "clean.json").mkdir(exist_ok=True)
    (tmp_path / "clean.json" / "d.json").mkdir(exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="is a folder, and a file of that name is to be written; move it away, or"):
        pipeline.apply(run, tmp_path / "clean.json")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("failing", ["_removed", "_manifest"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_the_cleaned_file_comes_with_its_companions_or_not_at_all(tmp_path, monkeypatch, failing, error):
    rows = [item(i) for i in range(3)]
    run = audited(tmp_path, [*rows, rows[0]])

    def fail(*_):
        raise error

    for before in ({}, {"clean.json": b"old", "clean.json.manifest.json": b"older"}):
        for name, content in before.items():
            (tmp_path / name).write_bytes(content)
        with monkeypatch.context() as patched:
            patched.setattr(applying, failing, fail)
            with pytest.raises(type(error)) as caught:
                pipeline.apply(run, tmp_path / "clean.json")
        assert contents(tmp_path, "clean*") == before
        assert not list(tmp_path.glob(".tmp-*"))
        if isinstance(error, OSError):  # the name that the user knows
            assert caught.value.filename.startswith(str(tmp_path / "clean.json"))
    assert pipeline.apply(run, tmp_path / "clean.json").rows_kept == 3
    manifest = json.loads((tmp_path / "clean.json.manifest.json").read_text("utf-8"))
    for entry in manifest["outputs"]:
        content = Path(entry["path"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["bytes"], entry["sha256"])
    assert [Path(e["path"]).name for e in manifest["outputs"]] == ["clean.json", "clean.json.removed.jsonl"]


@pytest.mark.parametrize(
    ("fix", "said"),
    [
        ("clean.parquet", "the name says parquet, and what is written is json"),
        ("d.json", "is the audited file itself"),
        ("d.scan/report.html", "lies in the folder of a run"),
        ("taken.json", "is a folder, and a file of that name is to be written"),
        ("d.json/clean.json", "d.json is a file, and a folder is expected there"),
    ],
)
def test_an_audit_refuses_a_wrong_place_for_the_cleaned_data_before_any_work(tmp_path, fix, said):
    (tmp_path / "d.json").write_text(json.dumps([item(i) for i in range(3)]), "utf-8")
    (tmp_path / "taken.json.removed.jsonl").mkdir()
    with pytest.raises(OutputError, match=re.escape(said)):
        pipeline.audit([str(tmp_path / "d.json")], SETTINGS, tmp_path / "d.scan", fix=tmp_path / fix)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.json", "taken.json.removed.jsonl"]


def test_a_folder_may_be_called_by_a_point(tmp_path, monkeypatch):
    run = audited(tmp_path, [item(i) for i in range(3)])
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    assert pipeline.apply(run, Path(".")).outputs == (tmp_path / "new" / "d.json",)
    assert (tmp_path / "new.manifest.json").is_file()
    with pytest.raises(OutputError, match=r"^/ has no name"):
        pipeline.apply(run, Path("/"))


def test_a_name_cannot_steer_the_screen_and_the_proof_is_offered_where_something_was_masked(tmp_path):
    for name, output in (("a\nb\x1b[31m.jsonl", "Ask jane.roe@roe-clinic.net."), ("c.jsonl", "Nothing here.")):
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps({"instruction": "Who?", "output": output}) + "\n", "utf-8")
    run = pipeline.audit([str(folder)], Settings(semantic=False), tmp_path / "in.scan").path
    said = pipeline.apply(run, tmp_path / "clean").in_words()
    assert "a␊b␛[31m.jsonl, " in said
    assert "\x1b" not in said
    assert said.endswith(f"\nprove that nothing masked is left: scan verify {tmp_path / 'clean'} {run}")
    (folder / "a\nb\x1b[31m.jsonl").unlink()
    run = pipeline.audit([str(folder)], Settings(semantic=False), tmp_path / "c.scan").path
    assert "prove that" not in pipeline.apply(run, tmp_path / "c.jsonl").in_words()
