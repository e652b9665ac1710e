"""Audits against earlier runs, end to end: what is dropped, what is for review, chains, and plans made again."""

from __future__ import annotations

import json
import shutil

import polars as pl
import pytest

from scanner import pipeline, signatures
from scanner.errors import BrakeError, ChangedInputError, RunError, SettingsError
from scanner.progress import Progress
from scanner.reports import terminal
from scanner.settings import Settings

PLAIN = Settings(semantic=False, threads=2)
WORDS = [
    "harbour", "stone", "candle", "orchard", "violin", "glacier", "pepper", "window", "lantern", "saddle", "quarry",
    "meadow", "compass", "kettle", "ribbon", "furnace", "pillow", "anchor", "thistle", "marble", "walnut", "copper",
]  # fmt: skip


def record(i, answer=None, **more):
    told = " ".join(WORDS[(i * 7 + j * (i % 5 + 1)) % len(WORDS)] + str((i * j) % 11) for j in range(30))
    return {"instruction": f"Explain matter {i} of the {WORDS[i % 22]}.", "input": "", "output": answer or told, **more}


def written(path, records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records), "utf-8")
    return str(path)


def plan_of(run):
    return {r["row_id"]: r for r in run.read_table("plan").iter_rows(named=True)}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A folder with old.jsonl, its run old.scan, and no stored text."""
    folder = tmp_path_factory.mktemp("earlier")
    run = pipeline.audit([written(folder / "old.jsonl", [record(i) for i in range(40)])], PLAIN, folder / "old.scan")
    pipeline.purge(run.path)
    return folder


NEW = [
    *(record(i) for i in range(100, 110)),
    record(3),  # a copy
    {**record(4), "instruction": record(4)["instruction"].upper()},  # a copy up to case
    record(5, "Something else entirely, told at length in quite other words than those that stood there before."),
    record(6, record(6)["output"] + " And so on."),  # near
    record(104, record(104)["output"] + " Indeed."),  # near to a new row
]


@pytest.fixture(scope="module")
def second(first):
    """NEW against old.scan."""
    source = written(first / "new.jsonl", NEW)
    return pipeline.audit([source], PLAIN.changed(against=(first / "old.scan",)), first / "new.scan")


def test_copies_go_prompts_and_near_copies_are_for_review(second):
    plan = plan_of(second)
    assert [i for i, line in plan.items() if line["rule_id"] == "duplicates/earlier"] == [10, 11]
    assert plan[10]["why"] == "a copy of row 3 of the earlier run old.scan, up to case and spacing"
    assert plan[10]["keep_row_id"] is None
    assert (plan[12]["action"], plan[12]["rule_id"]) == ("review", "duplicates/earlier-prompt")
    assert plan[13]["action"] == "review"
    assert sorted((plan[4]["action"], plan[14]["action"])) == ["drop", "keep"]
    matches = second.read_table("matches").select("row_id", "item", "part", "how").rows()
    assert set(matches) == {
        (10, "3", "both", "exact"), (11, "4", "both", "exact"), (12, "5", "question", "exact"),
        (13, "6", "question", "exact"), (13, "6", "both", "near"),
    }  # fmt: skip
    told = second.read_json("scan.json")["summary"]["earlier"]["old.scan"]
    assert (told["matched"], told["copies"], told["prompts"], told["rows"]) == (4, 2, 2, 40)


def test_reports_and_explanations_tell_it(second):
    screen = " ".join(terminal.render(second).decode().split())
    assert "Earlier old.scan holds 4 of these rows (27 %) in some way: 2 copies of its rows, 2 same prompt" in screen
    assert "the row with the best answer stays, rows of earlier inputs first (--keep-policy best)" in screen
    page = (second.path / "report.html").read_text("utf-8")
    assert "Rows that earlier runs hold" in page
    assert "standard error of 0.04 at Jaccard .8" in page
    for name in ("markdown", "json", "sarif"):
        assert pipeline.report(second, [name])[0].read_text("utf-8").count("old.scan")
    from scanner.explain import explain

    said = " ".join(explain(second, 10).sentences())
    assert "The same row, up to case and spacing, is in row 3 of the earlier run old.scan." in said


def test_the_earlier_text_is_not_needed_and_its_index_is_enough(first, tmp_path):
    bare = tmp_path / "old.scan"
    bare.mkdir()
    shutil.copytree(first / "old.scan" / "index", bare / "index")
    run = pipeline.audit([str(first / "old.jsonl")], PLAIN.changed(against=(bare,)), tmp_path / "again.scan")
    assert set(run.read_table("plan")["rule_id"]) == {"duplicates/earlier"}  # every row of the same file
    scan = run.read_json("scan.json")
    assert scan["notes"]["brake"] == [
        "the plan would drop 40 of 40 rows of old.jsonl (100 %), more than --max-removal-share 0.5 allows, 40 of "
        "them because earlier runs (--against) hold them already"
    ]
    with pytest.raises(BrakeError, match=r"Look at the clusters and matches in the report; if they are right, judge"):
        pipeline.apply(run.path, tmp_path / "clean.jsonl")
    screen = " ".join(terminal.render(run).decode().split())
    assert "The plan would drop 40 of 40 rows of old.jsonl (100 %)" in screen
    assert "--max-removal-share 1 # let the plan pass, once the clusters in the report look right" in screen
    pipeline.judge(run.path, {"max_removal_share": 1.0})
    assert pipeline.apply(run.path, tmp_path / "clean.jsonl").rows_dropped == 40
    removed = (tmp_path / "clean.jsonl.removed.jsonl").read_text().splitlines()
    assert json.loads(removed[0])["why"].startswith("a copy of row ")


def test_chains_name_what_is_missing(first, second, tmp_path):
    third = written(tmp_path / "third.jsonl", [record(3), record(101), record(200), record(201), record(202)])
    settings = PLAIN.changed(against=(second.path,))
    alone = pipeline.audit([third], settings, tmp_path / "a.scan")
    assert [i for i, line in plan_of(alone).items() if line["action"] == "drop"] == [0, 1]  # row 0 stood in new.jsonl
    assert alone.read_json("scan.json")["notes"]["against"]["new.scan"]["warnings"] == [
        "new.scan was itself audited against old.scan, which is not among --against: rows that only old.scan holds "
        "are not found"
    ]
    assert "itself audited against old.scan" in " ".join(terminal.render(alone).decode().split())
    both = pipeline.audit([third], PLAIN.changed(against=(first / "old.scan", second.path)), tmp_path / "b.scan")
    assert both.read_json("scan.json")["notes"]["against"]["new.scan"]["warnings"] == []
    copies = both.read_table("matches").filter(part="both", how="exact").select("row_id", "source").rows()
    assert copies == [(0, "old.scan"), (0, "new.scan"), (1, "new.scan")]
    assert "old.scan" in plan_of(both)[0]["why"]  # the first of --against that holds it


def test_another_number_of_permutations_is_sketched_again(first, tmp_path):
    settings = PLAIN.changed(against=(first / "old.scan",), permutations=96)
    run = pipeline.audit([str(first / "new.jsonl")], settings, tmp_path / "96.scan")
    assert run.read_json("scan.json")["summary"]["earlier"]["old.scan"]["copies"] == 2
    assert signatures.read(run.path).permutations == 96
    assert ("both", "near") in run.read_table("matches").select("part", "how").rows()


def test_neither_order_nor_threads_nor_batches_change_what_is_found(first, second, tmp_path):
    source = written(tmp_path / "back.jsonl", NEW[::-1])
    run = pipeline.audit([source], PLAIN.changed(against=(first / "old.scan",), threads=1), tmp_path / "back.scan")
    columns = ["row_id", "item", "part", "how", "similarity", "items"]
    back = run.read_table("matches").select(columns).with_columns(row_id=len(NEW) - 1 - pl.col("row_id"))
    assert sorted(back.rows()) == sorted(second.read_table("matches").select(columns).rows())


def test_what_cannot_be_compared_is_refused_before_anything_is_written(first, tmp_path):
    new = str(first / "new.jsonl")
    with pytest.raises(RunError, match="use --shingle 3 here"):
        pipeline.audit([new], PLAIN.changed(against=(first / "old.scan",), shingle=4), tmp_path / "x.scan")
    with pytest.raises(SettingsError, match="is the folder that this run writes to"):
        pipeline.audit([new], PLAIN.changed(against=(tmp_path / "x.scan",)), tmp_path / "x.scan")
    assert not (tmp_path / "x.scan").exists()
    twice = PLAIN.changed(against=(first / "old.scan", first / "old.scan"))
    run = pipeline.audit([new], twice, tmp_path / "twice.scan")
    assert list(run.read_json("scan.json")["notes"]["against"]) == ["old.scan"]


# ---------------------------------------------------------------------------------------------- policies, made again

DATED = [record(i, date=f"2024-0{1 + i % 3}-11", meta={"score": i % 4}) for i in range(12)]
DATED += [{**record(i), "date": d, "meta": {"score": s}} for i, d, s in ((1, "2025-01-01", -1), (2, "long ago", 9))]
DATED += [{**record(1), "date": "2023-05-05"}]


@pytest.fixture(scope="module")
def dated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dated")
    source = written(folder / "dated.jsonl", DATED)
    return pipeline.audit([source], PLAIN.changed(keep_policy="field:date"), folder / "dated.scan")


def kept(run):
    return {r for r, line in plan_of(run).items() if line["action"] != "drop"} & {1, 12, 14, 2, 13}


def test_a_field_decides_and_the_plan_says_so(dated):
    assert kept(dated) == {12, 2}
    plan = plan_of(dated)
    assert plan[1]["kept_because"] == "its field date is larger"
    assert plan[13]["kept_because"] == "the other has no comparable value in field date"
    scan = dated.read_json("scan.json")
    assert scan["notes"]["keep"]["rows_not_comparable"] == 1
    assert "field date, compared as dates: of 5 rows with duplicates, 0 lack it and 1 holds" in " ".join(
        terminal.render(dated).decode().split()
    ).replace("Field", "field")
    page = (dated.path / "report.html").read_text("utf-8")
    assert "its field date is larger" in page
    assert "2025-01-01" not in json.dumps(scan)


def test_plans_are_made_again_from_stored_ranks_or_the_input(dated, tmp_path):
    run = shutil.copytree(dated.path, tmp_path / "run.scan")
    said = []

    class Loud(Progress):
        def say(self, line):
            said.append(line)

    assert kept(pipeline.judge(run, {"keep_policy": "field:-date"}, Loud())) == {14, 2}
    assert not said  # the same field, the other way round: its ranks are stored
    assert kept(pipeline.judge(run, {"keep_policy": "field:meta.score"}, Loud())) == {1, 13}
    assert said == ["reading field meta.score from the input again"]
    again = pipeline.judge(run, {"keep_policy": "first", "keep": 2})
    assert kept(again) == {1, 12, 2, 13}
    assert "keep.field" not in again.read_table("rows").columns
    assert plan_of(again)[12]["why"] == "a copy of row 1 that stays too: --keep 2 leaves so many of a cluster"


def test_values_that_are_not_there_any_more_are_asked_for(tmp_path):
    source = tmp_path / "data.jsonl"
    run = pipeline.audit([written(source, DATED)], PLAIN, tmp_path / "data.scan")
    with pytest.raises(SettingsError, match=r"field:dates: none of the \d+ records .* their .* mean 'date'\?"):
        pipeline.judge(run.path, {"keep_policy": "field:dates"})
    with pytest.raises(SettingsError, match=r"field:dates: none of the \d+ records has this field; .* mean 'date'\?"):
        pipeline.audit([str(source)], PLAIN.changed(keep_policy="field:dates"), tmp_path / "typo.scan")
    assert not (tmp_path / "typo.scan").exists()
    with pytest.raises(SettingsError, match=r"names b.jsonl, which is no input; the inputs are data.jsonl"):
        pipeline.judge(run.path, {"keep_policy": "source:b.jsonl"})
    with pytest.raises(SettingsError, match=r"names b.jsonl, which is no input; the inputs are data.jsonl"):
        pipeline.audit([str(source)], PLAIN.changed(keep_policy="source:b.jsonl"), tmp_path / "b.scan")
    source.write_text(source.read_text() + "\n" + json.dumps(record(30)))
    with pytest.raises(ChangedInputError, match=r"needs values that this run has not stored, and .* changed since"):
        pipeline.judge(run.path, {"keep_policy": "field:date"})
    source.unlink()
    with pytest.raises(RunError, match=r"is no longer there to read them from; bring it back, or audit again with"):
        pipeline.judge(run.path, {"keep_policy": "field:date"})


def test_sources_are_preferred_in_the_given_order(tmp_path):
    a = written(tmp_path / "a.jsonl", [record(i) for i in range(6)])
    b = written(tmp_path / "b.jsonl", [record(i) for i in (0, 1, 30, 31, 32, 33)])
    run = pipeline.audit([a, b], PLAIN, tmp_path / "ab.scan")
    assert {r for r, line in plan_of(run).items() if line["action"] == "drop"} == {6, 7}
    again = pipeline.judge(run.path, {"keep_policy": "source:b.jsonl"})
    plan = plan_of(again)
    assert {r for r, line in plan.items() if line["action"] == "drop"} == {0, 1}
    assert plan[0]["kept_because"] == "it is from b.jsonl, which --keep-policy prefers to a.jsonl"


def test_an_exported_lsh_answers_queries(first, tmp_path):
    import pickle

    assert pipeline.export(first / "old.scan", tmp_path / "lsh.pickle") == 40
    lsh = pickle.loads((tmp_path / "lsh.pickle").read_bytes())
    index = signatures.read(first / "old.scan")
    asked = signatures.minhash_of(index, [("user", record(7)["instruction"]), ("assistant", record(7)["output"])])
    assert 7 in lsh.query(asked)
    with pytest.raises(SettingsError, match="--jaccard is 2; it must lie between 0 and 1"):
        pipeline.export(first / "old.scan", tmp_path / "lsh.pickle", 2)


def test_the_report_tells_clusters_that_an_earlier_run_holds_from_those_with_a_kept_row(first, tmp_path):
    near = record(3, record(3)["output"] + " Quite.")
    source = written(tmp_path / "data.jsonl", [near, record(3), record(50), record(50), record(51), record(52)])
    run = pipeline.audit([source], PLAIN.changed(against=(first / "old.scan",), keep=2), tmp_path / "data.scan")
    # the earlier row counts as one of two, so its near copy may stay; of the new copies both may
    assert [line["action"] for line in plan_of(run).values()] == ["review", "drop", "keep", "keep", "keep", "keep"]
    page = " ".join((run.path / "report.html").read_text("utf-8").split())
    assert "of each cluster of duplicates up to 2 rows with the best answers stay" in page
    assert "<b>2 rows</b> an earlier run holds row 1" in page
    assert "stays too" in page
    plan = plan_of(pipeline.judge(run.path, {"keep": 1, "max_removal_share": 1.0}))
    assert plan[0]["rule_id"] == "duplicates/earlier"
    assert plan[0]["why"].startswith("a near copy of row 1: ")
    assert plan[0]["why"].endswith("a copy of row 3 of the earlier run old.scan")


def test_a_run_is_taken_over_only_for_the_same_earlier_runs(first, second, tmp_path):
    settings = PLAIN.changed(against=(first / "old.scan",))
    before = (second.path / "scan.json").stat().st_mtime_ns
    assert pipeline.audit([str(first / "new.jsonl")], settings, second.path).path == second.path
    assert (second.path / "scan.json").stat().st_mtime_ns == before
    shutil.copytree(first / "old.scan", tmp_path / "moved.scan")
    listening, said = Progress(), []
    listening.say = said.append
    pipeline.audit(
        [str(first / "new.jsonl")],
        settings.changed(against=(tmp_path / "moved.scan",)),
        second.path,
        progress=listening,
    )
    assert said == [f"{second.path} holds this audit already; use --force to run it again"]
    other = pipeline.audit([written(tmp_path / "other.jsonl", [record(60)])], PLAIN, tmp_path / "other.scan")
    with pytest.raises(RunError, match="holds a run of another input or other settings"):
        pipeline.audit([str(first / "new.jsonl")], PLAIN.changed(against=(other.path,)), second.path)
