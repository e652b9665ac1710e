"""Names of files and items hold private values too; nothing but scan.json, which needs the paths, may show them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import polars as pl
import pytest
from corpora import write_jsonl

from scanner import formats, pipeline
from scanner.settings import Settings
from scanner.shownnames import shown, without_private_paths

MAIL, OTHER, KEY = "jane.roe@roe-clinic.net", "ann.roe@roe-clinic.net", "AKIAQZ7PLX3NVB5MWTKD"


@pytest.mark.parametrize(
    "name",
    [
        "data.jsonl", "train-00012-of-00100.parquet", "2024-01-15T10-11-12.csv", "sharegpt_20231121.json", "Mbpp/2",
        "56be4db0acb8001400a502ec", "mmlu.zip/data/dev/abstract_algebra_dev.csv", "", "中文 数据.json", "model@v1.2",
    ],
)  # fmt: skip
def test_other_names_stay(name: str) -> None:
    assert shown([name]) == [name]


@pytest.mark.parametrize("ending", ["", ".json", ".jsonl", ".jsonl.gz", ".CSV", ".parquet"])
def test_the_ending_stays_and_the_value_goes(ending: str) -> None:
    assert shown([f"{MAIL}{ending}"]) == [f"[EMAIL_1]{ending}"]
    assert MAIL not in shown([f"chats of {MAIL}{ending}"])[0]
    assert KEY not in shown([f"{KEY}{ending}"])[0]


def test_a_name_steers_no_screen() -> None:
    named = "ev\x1b[31m\x07\u202eil\nrow.jsonl"
    assert shown([named, "b.jsonl"]) == ["ev␛[31m␇⟨U+202E⟩il␊row.jsonl", "b.jsonl"]


def test_different_names_stay_different_and_parts_of_a_path_are_counted() -> None:
    names = [f"a/{MAIL}/x.json", f"a/{OTHER}/x.json", f"a/{MAIL}/y.json", "a/b/x.json"]
    assert shown(names) == ["a/[EMAIL_1]/x.json", "a/[EMAIL_2]/x.json", "a/[EMAIL_1]/y.json", "a/b/x.json"]


def test_files_and_members_are_called_by_masked_names_and_read_by_their_own(tmp_path: Path) -> None:
    write_jsonl(tmp_path / f"{MAIL}.jsonl", [{"prompt": "One?", "response": "Two."}])
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(f"in/{OTHER}.jsonl", '{"prompt": "Three?", "response": "Four."}\n')
        archive.writestr(f"in/{OTHER}.png", "-")
    found = formats.survey([str(tmp_path)])
    assert [source.name for source in found.sources] == ["[EMAIL_1].jsonl", "z.zip/in/[EMAIL_2].jsonl"]
    assert [source.names[0] for source in found.sources][1] == "z.zip"
    assert found.sources[1].names[1].startswith("in/[EMAIL_")
    assert [left.name for left in found.left_out] == ["z.zip/in/[EMAIL_1].png"]
    for source in found.sources:
        assert sum(len(records) for records in formats.read(source, Settings())) == 1


def test_only_scan_json_has_the_paths(tmp_path: Path) -> None:
    folder, bench = tmp_path / MAIL, tmp_path / "bench"
    folder.mkdir()
    bench.mkdir()
    words = [f"word{i * i}" for i in range(14)]
    rows = [
        {"question": f"What of {' '.join(words[i:] + words[:i])} {i}?", "answer": f"It is {' '.join(words[i:])} {i}."}
        for i in range(9)
    ]
    write_jsonl(folder / f"{OTHER}.jsonl", rows)
    (bench / "ids.json").write_text(json.dumps({f"p{i}.{MAIL}": row for i, row in enumerate(rows[:4])}), "utf-8")
    write_jsonl(bench / f"{MAIL}.jsonl", rows[4:6])
    (bench / f"not.{MAIL}.json").write_text('[{"strange": 1}]', "utf-8")
    settings = Settings(evaluation=(bench,)).changed(semantic=False)
    run = pipeline.audit([str(folder / f"{OTHER}.jsonl")], settings, tmp_path / "r.scan").path
    pipeline.report(pipeline.RunFolder.open_finished(run), ["html", "json", "markdown", "sarif"], "masked")
    pipeline.judge(run, {"max_removal_share": 1.0})
    pipeline.apply(run, tmp_path / "clean.jsonl")
    matches = pl.read_parquet(run / "matches.parquet")
    assert matches["item"].n_unique() == 4 + 2
    assert matches["source"].n_unique() == 2
    outside = [p for p in run.rglob("*") if p.is_file() and not {"private"} & set(p.relative_to(run).parts)]
    for path in (*outside, tmp_path / "clean.jsonl.removed.jsonl", tmp_path / "clean.jsonl.manifest.json"):
        text = pl.read_parquet(path).write_ndjson() if path.suffix == ".parquet" else path.read_bytes().decode("latin1")
        assert path.name == "scan.json" or "roe-clinic" not in text, path.name
    scan = json.loads((run / "scan.json").read_text())
    assert scan["inputs"][0]["path"] == str(folder / f"{OTHER}.jsonl")
    assert "roe-clinic" not in json.dumps(without_private_paths(scan))
