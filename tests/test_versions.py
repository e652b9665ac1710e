"""What made a run: every shipped file that shapes results is one of those that are named."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from scanner import background, inputs, pipeline, versions, wordvectors
from scanner.errors import RunError, SettingsError
from scanner.prediction.hazard import WEIGHTS
from scanner.rulefiles import RULES_FOLDER
from scanner.settings import Settings


def test_what_is_named_is_what_is_read():
    assert versions.HOME / versions.WEIGHTS == WEIGHTS
    assert versions.HOME / versions.RULES == RULES_FOLDER
    assert versions.HOME / versions.BACKGROUND == background.TABLE
    assert versions.HOME / versions.EMBEDDING == wordvectors.TABLE
    assert {"python", "sftscan", "numpy", *versions.shipped()} <= versions.versions(Settings()).keys()


@pytest.mark.parametrize("folder", versions.TABLES)
def test_all_that_a_table_is_read_from_is_in_its_digest(folder):
    held = {path.name for path in (versions.HOME / folder).iterdir() if path.is_file()}
    assert held - {*versions.TABLES[folder]} == {"NOTICE.txt", "table.json"}  # what people read


def copy_of(home: Path) -> None:
    for name in (versions.WEIGHTS, "rules/bands.toml", "rules/private/a.toml"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("a = 1\n")
    for folder, names in versions.TABLES.items():
        (home / folder).mkdir(parents=True)
        for name in names:
            (home / folder / name).write_bytes(b"table")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (versions.WEIGHTS, versions.WEIGHTS),
        ("rules/bands.toml", versions.RULES),
        ("rules/private/a.toml", versions.RULES),
        ("rules/private/new.toml", versions.RULES),
        (f"{versions.BACKGROUND}/table.npz", versions.BACKGROUND),
        (f"{versions.EMBEDDING}/tokenizer.json", versions.EMBEDDING),
    ],
)
def test_one_changed_file_changes_one_digest(tmp_path, monkeypatch, changed, named):
    copy_of(tmp_path)
    monkeypatch.setattr(versions, "HOME", tmp_path)
    before = versions.shipped.__wrapped__()
    (tmp_path / changed).write_text("a = 2\n")
    after = versions.shipped.__wrapped__()
    assert {name for name in before if before[name] != after[name]} == {named}


def test_digest_tells_names_and_contents_apart_and_not_their_order(tmp_path):
    for name, text in (("a", "1"), ("b", "2"), ("c", "1")):
        (tmp_path / name).write_text(text)
    a, b, c = (tmp_path / name for name in "abc")
    assert versions.digest([a, b]) == versions.digest([b, a])
    assert len({versions.digest(some) for some in ([a], [b], [c], [a, b], [a, c], [])}) == 6


def test_a_run_is_another_with_other_weights_and_with_other_rules_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    rule = tmp_path / "mine" / "r.toml"
    rule.write_text("a = 1\n")
    settings = Settings(rules=(tmp_path / "mine",))

    def identity() -> str:
        return inputs.identity([], [], settings, [])

    first = identity()
    assert identity() == first
    rule.write_text("a = 2\n")
    second = identity()
    monkeypatch.setattr(inputs, "shipped", lambda: {versions.WEIGHTS: "0123456789ab"})
    assert len({first, second, identity()}) == 3


def test_a_run_of_other_weights_is_not_taken_for_this_one_and_judged_without_them(tmp_path, monkeypatch):
    data = tmp_path / "d.jsonl"
    data.write_text('{"instruction": "Say what rain is.", "output": "Water that falls from clouds, in drops."}\n' * 2)
    run = pipeline.audit([str(data)], Settings(semantic=False), tmp_path / "d.scan")
    held = run.read_table("whatif")["variant"].to_list()
    assert run.read_json("scan.json")["versions"].items() >= versions.shipped().items()
    others = versions.shipped() | {versions.WEIGHTS: "0123456789ab"}
    for module in ("scanner.inputs", "scanner.judging", "scanner.predicting"):
        monkeypatch.setattr(f"{module}.shipped", lambda: others)
    with pytest.raises(RunError, match="or of a program with other weights or rules; use --force"):
        pipeline.audit([str(data)], Settings(semantic=False), run.path)
    pipeline.judge(run.path, {"jaccard": 0.9})
    assert run.read_table("whatif")["variant"].to_list() == [v for v in held if v != "after deduplication"] != held
    assert run.read_json("scan.json")["versions"][versions.WEIGHTS] == versions.shipped()[versions.WEIGHTS]
    pipeline.judge(run.path, {"epochs": 5.0})
    assert run.read_table("whatif")["variant"].to_list() == held
    assert run.read_json("scan.json")["versions"][versions.WEIGHTS] == "0123456789ab"


def tokenizer(folder: Path, words: str) -> Path:
    """A word-level tokenizer.json that knows some words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    known = {word: i for i, word in enumerate(["[UNK]", *words.split()])}
    made = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir(exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    return folder


def test_a_tokenizer_is_known_by_what_is_read_of_it_and_not_by_where_it_lies(tmp_path):
    home = tokenizer(tmp_path / "one", "a b")
    (home / "model.safetensors").write_bytes(b"weights")
    alone = versions.of_tokenizer(home / "tokenizer.json")
    marks = [versions.of_tokenizer(home)]
    for name, text in (("tokenizer_config.json", "{}"), ("tokenizer_config.json", '{"a": 1}'),
                       ("chat_template.jinja", "x"), ("merges.txt", "a b")):  # fmt: skip
        (home / name).write_text(text)
        marks.append(versions.of_tokenizer(home))
    assert len({*marks}) == len(marks)
    assert versions.of_tokenizer(home / "tokenizer.json") == marks[-1]  # what lies beside it is read with it
    (home / "model.safetensors").write_bytes(b"others")
    shutil.copytree(home, tmp_path / "two")
    assert versions.of_tokenizer(tmp_path / "two") == versions.of_tokenizer(home) == marks[-1]
    (tmp_path / "two" / "tokenizer_config.json").unlink()
    assert versions.of_tokenizer(tmp_path / "two" / "tokenizer.json") == alone


def test_a_tokenizer_that_may_not_be_read_is_said(tmp_path, monkeypatch):
    home = tokenizer(tmp_path / "one", "a b")

    def refused(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(SettingsError, match=r"--tokenizer .*one: .*tokenizer\.json cannot be read \(Permission denied"):
        versions.of_tokenizer(home)


def test_a_run_counted_with_a_tokenizer_that_changed_is_neither_reused_nor_predicted_again(tmp_path):
    data, home = tmp_path / "d.jsonl", tokenizer(tmp_path / "tok", "Water that falls")
    data.write_text('{"instruction": "Say what rain is.", "output": "Water that falls from clouds, in drops."}\n' * 2)
    settings = Settings(semantic=False, tokenizer=home)
    run = pipeline.audit([str(data)], settings, tmp_path / "d.scan")
    held = (run.path / "scan.json").read_bytes()
    assert run.read_json("scan.json")["versions"]["tokenizer"] == versions.of_tokenizer(home)
    pipeline.audit([str(data)], settings, run.path)
    assert (run.path / "scan.json").read_bytes() == held  # reused as it is
    tokenizer(home, "Water that falls from clouds")
    with pytest.raises(RunError, match=r"other settings \(or files they name, as a tokenizer's\)"):
        pipeline.audit([str(data)], settings, run.path)
    with pytest.raises(RunError, match=r"tok changed since the audit .* audit again with --force --out"):
        pipeline.judge(run.path, {"epochs": 5.0})
    assert (run.path / "scan.json").read_bytes() == held
    tokenizer(home, "Water that falls")
    pipeline.judge(run.path, {"epochs": 5.0})
    assert run.read_json("scan.json")["settings"]["plan"]["epochs"] == 5.0
