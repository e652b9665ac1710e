"""Run folders in every state that an interruption may leave."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scanner import inputs, pipeline
from scanner.errors import RunError, SettingsError
from scanner.settings import Settings
from scanner.store import RunFolder


def finished(folder: Path) -> RunFolder:
    """What a finished run of identity "known" looks like."""
    run = RunFolder.open_for_writing(folder / "r.scan")
    (run.private / "ingested.json").write_text('{"identity": "known"}')
    for name in ("scan.json", "report.html", "rows.parquet", "spans.parquet"):
        (run.path / name).write_text('{"identity": "known"}')
    (run.index / "minhash.npy").write_text("")
    run.__del__()  # the lock is another process's from here on
    run._claimed = None
    return run


@pytest.mark.parametrize("survives", range(6))
def test_a_run_folder_that_was_half_emptied_is_neither_finished_nor_foreign(tmp_path, monkeypatch, survives):
    run = finished(tmp_path)
    assert inputs.is_finished(RunFolder(run.path), "known", force=False)
    left, remove, unlink = [survives], shutil.rmtree, Path.unlink

    def counted(action, path):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        action(path)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda path: counted(remove, path))
        patched.setattr(Path, "unlink", lambda path: counted(unlink, path))
        with pytest.raises(KeyboardInterrupt):
            inputs.is_finished(RunFolder(run.path), "known", force=True)
    if survives:
        assert not inputs.is_finished(RunFolder(run.path), "known", force=False)
    if any(run.path.glob("*.json")):
        with pytest.raises(RunError, match="with other weights or rules; use --force to replace it"):
            inputs.is_finished(RunFolder(run.path), "new", force=False)
    assert not inputs.is_finished(RunFolder(run.path), "new", force=True)
    assert not list(run.path.iterdir())


def test_a_command_with_a_mistake_does_not_block_the_mended_one(tmp_path):
    (tmp_path / "d.jsonl").write_text('{"instruction": "Say what rain is.", "output": "Water that falls."}\n')
    data, out, settings = [str(tmp_path / "d.jsonl")], tmp_path / "d.scan", Settings(semantic=False)
    with pytest.raises(SettingsError, match="--source-weight dd: no input has this name"):
        pipeline.audit(data, settings.changed(source_weight=(("dd", 2.0),)), out)
    run = pipeline.audit(data, settings.changed(source_weight=(("d", 2.0),)), out)
    assert (run.path / "report.html").exists()


def test_what_force_would_delete_is_told(tmp_path):
    """Rehearsals and confirmations may have taken hours."""
    run = RunFolder(tmp_path / "a.scan")
    run.private.mkdir(parents=True)
    run.index.mkdir()
    (run.path / "scan.json").write_text('{"identity": "known"}')
    with pytest.raises(RunError, match="use --force to replace it, or --out"):
        inputs.is_finished(run, "other", force=False)
    (run.path / "rehearsal" / "tiny-0").mkdir(parents=True)
    (run.path / "confirmation").mkdir()
    for name in ("tuned.json", "tuned.parquet", "tuned.controls.parquet"):
        (run.path / "confirmation" / name).touch()
    said = r"use --force to replace it \(which deletes rehearsal tiny-0, confirmation tuned\), or --out"
    with pytest.raises(RunError, match=said):
        inputs.is_finished(run, "other", force=False)


@pytest.mark.parametrize("name", ["private", "index"])
def test_a_folder_of_that_name_that_no_run_wrote_is_not_touched(tmp_path, name):
    mine = tmp_path / "project" / name / "diary.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    run = RunFolder(tmp_path / "project")
    for force in (False, True):
        with pytest.raises(RunError, match="holds files but no run; it is not touched"):
            inputs.is_finished(run, "any", force)
    with pytest.raises(RunError, match=r"private/ folder that no run wrote; it is not touched|holds no stored text"):
        pipeline.purge(run.path)
    assert mine.read_text() == "mine"


def test_a_run_that_is_being_written_is_not_purged(tmp_path, monkeypatch):
    def taken(*_):
        raise BlockingIOError

    run = finished(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("fcntl.lockf", taken)
        with pytest.raises(RunError, match="is being written by another process"):
            pipeline.purge(run.path)
    assert run.private.is_dir()
    pipeline.purge(run.path)
    assert not run.private.exists()
