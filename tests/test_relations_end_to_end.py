"""Relations in a whole run: known conflicts and boilerplate, every row twice, and judging again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from scanner import explain, pipeline
from scanner.settings import Settings
from scanner.store import RunFolder

SETTINGS = Settings(semantic=False, threads=2, permutations=64)
STORY = "The keeper of the lighthouse counted {} ships that night, wrote them down by the lamp and went to bed at {}."
SORRY = "I am sorry, but I am not able to talk about that subject here."


REFUSED = (
    "What do you think of rain?", "Tell me who owns the old mill by the river, and since when.",
    "Where can I buy seven red kites before the feast begins on the hill?",
)  # fmt: skip


def records() -> list[dict[str, str]]:
    asked = [(f"Tell story {i}.", STORY.format(i, i % 5)) for i in range(12)]
    asked += [("Who keeps the light?", f"{name} does.") for name in ("Ann", "Bob", "Bob")]
    asked += [(prompt, SORRY) for prompt in REFUSED]
    asked += [("Is it day?", "no"), ("Is it late?", "no")]
    counting = " ".join(f"{number} and" for number in range(40))
    ends = ("stop", "stop here, for nobody could say what comes after that")
    asked += [("Count as far as you can.", f"{counting} {end}") for end in ends]
    return [{"instruction": prompt, "input": "", "output": answer} for prompt, answer in asked]


def audited(rows: list[dict[str, Any]], folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return pipeline.audit([str(folder / "d.jsonl")], SETTINGS, folder / "d.scan").path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return audited(records(), tmp_path_factory.mktemp("relations"))


def test_conflicts_boilerplate_and_labels_are_told_apart(run: Path) -> None:
    found = json.loads((run / "scan.json").read_text())["summary"]
    rows = pl.read_parquet(run / "rows.parquet")
    asked = rows.filter(rows["row_id"].is_in([12, 13, 14]))
    assert asked["conflicts.answer"].to_list() == [1, 0, 0]
    assert asked["conflicts.share"].to_list() == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert found["relations"]["same_answer"] == {
        "long": {"rows": 3, "share": 3 / 22, "groups": 1}, "short": {"rows": 2, "share": 2 / 22, "groups": 1}
    }  # fmt: skip
    pairs = pl.read_parquet(run / "pairs.parquet")
    ends = {relation: {i for p in part.select("row_a", "row_b").iter_rows() for i in p}
            for (relation,), part in pairs.partition_by("relation", as_dict=True).items()}  # fmt: skip
    assert ends["same_response"] == {15, 16, 17}
    assert 12 in ends["same_prompt"]
    assert ends["same_prompt"] <= {12, 13, 14}
    page = (run / "report.html").read_text("utf-8")
    assert "3 rows give this same answer to different prompts" in page
    assert "stands inside" in page


def test_every_row_twice_gives_the_same_clusters_twice_as_large(run: Path, tmp_path: Path) -> None:
    """Duplicates of duplicates: each row gets an exact copy, and nothing else changes."""
    doubled = audited(records() * 2, tmp_path / "twice")
    n = len(records())
    before, after = (pl.read_parquet(path / "rows.parquet") for path in (run, doubled))

    def groups(rows: pl.DataFrame, single: bool) -> set[frozenset[int]]:
        named = rows.with_columns(pl.col("row_id") % n).drop_nulls("cluster_id")
        found = {frozenset(part["row_id"]) for part in named.partition_by("cluster_id")}
        return found if single else {group for group in found if len(group) > 1}

    assert groups(after, single=False) == groups(before, single=True)
    assert after["cluster_size"].to_list() == [2 * size for size in before["cluster_size"].to_list()] * 2
    same = ["conflicts.answers", "conflicts.share", "conflicts.answer", "answers.prompts", "answers.prompt"]
    assert after[:n].select(same).equals(before.select(same))
    assert (after["conflicts.rows"][:n] >= 2 * before["conflicts.rows"]).all()
    plans = [pl.read_parquet(path / "plan.parquet") for path in (run, doubled)]
    kept = [set((plan.filter(pl.col("action") != "drop")["row_id"] % n).to_list()) for plan in plans]
    assert kept[0] == kept[1]


def test_judging_again_under_the_same_settings_changes_nothing(run: Path) -> None:
    """Pairs that share one side must not be taken for equal text when clusters are made from the stored tables."""
    before = [(run / f"{name}.parquet").read_bytes() for name in ("rows", "plan")]
    pipeline.judge(run, {})
    assert [(run / f"{name}.parquet").read_bytes() for name in ("rows", "plan")] == before


def test_a_short_answer_in_a_long_one_is_told_and_nothing_is_dropped_for_it(tmp_path: Path) -> None:
    """No sketch brings the two together, nor a passage of 50 tokens."""
    short = "Boil the barley for an hour, then stir in honey, salt and a handful of chopped mint."
    long = f"First the bread. {' '.join(f'step{i}' for i in range(400))} For the barley: {short} Serve at once."
    rows = [
        {"instruction": "How is barley cooked?", "output": short},
        {"instruction": "A whole dinner?", "output": long},
    ]
    folder = audited([*rows, *records()], tmp_path / "inside")
    pairs = pl.read_parquet(folder / "pairs.parquet").filter(pl.col("row_b") == 1)
    assert pairs.select("row_a", "signal", "relation").rows() == [(0, "exact", "contained")]
    assert pairs["answer_containment_ab"].item() == 1
    assert pairs["similarity"].item() < 0.1
    assert pl.read_parquet(folder / "plan.parquet")["action"].to_list()[:2] == ["keep", "keep"]
    assert "Row 0&#39;s answer stands inside row 1&#39;s" in (folder / "report.html").read_text("utf-8")
    inner, outer = (explain.explain(RunFolder.open_finished(folder), row).relatives for row in (0, 1))
    assert [one.told for one in inner] == ["this row's answer stands inside its answer"]
    assert [one.told for one in outer] == ["its answer stands inside this row's"]


def test_a_file_that_holds_every_answer_twice_is_a_copy_of_one_that_does_not(tmp_path: Path) -> None:
    """Training sees the same rows: no near copies, no other answers, no passage that stands twice."""
    story = "The keeper counted {} ships, wrote them down by the lamp and went to bed, and " * 4
    once = [
        {"instruction": f"Tell story {i}.", "output": story.replace("{}", str(i)) + f"Ann{i}@roe.net"} for i in (3, 5)
    ]
    twice = [{**row, "input": "", "response": row["output"]} for row in once]
    for name, rows in (("once", once), ("twice", twice)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [str(tmp_path / f"{name}.jsonl") for name in ("once", "twice")]
    run = pipeline.audit(files, SETTINGS.changed(max_removal_share=1.0), tmp_path / "both.scan")
    found = run.read_json("scan.json")["summary"]["found"]
    assert (found["exact"]["rows"], found["exact"]["groups"]) == (4, 2)
    assert [found[kind]["rows"] for kind in ("near", "conflicts")] == [0, 0]
    assert run.read_table("plan")["action"].to_list() == ["redact", "redact", "drop", "drop"]
    kept = pipeline.audit(files[1:], SETTINGS, tmp_path / "twice.scan")
    pipeline.apply(kept.path, tmp_path / "clean.jsonl")
    assert "roe.net" not in (tmp_path / "clean.jsonl").read_text()
