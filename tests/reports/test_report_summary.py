"""The figures, against numbers worked out by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import polars as pl
import pytest
import synthetic

from scanner.reports import _verdict, render, summarise
from scanner.reports import _words as words
from scanner.reports._private import exposed, scope

PAIRS = {"row_a": pl.Int64, "row_b": pl.Int64, "signal": pl.String, "relation": pl.String, "similarity": pl.Float32}

CLEAN = "Clean this data set before training on it: the risk of 1 row is high."


def predicted(expected: list[float], p: list[float], band: list[str] | None = None) -> pl.DataFrame:
    n = len(p)
    return pl.DataFrame({
        "row_id": pl.Series(range(n), dtype=pl.Int64), "p_extract": pl.Series(p, dtype=pl.Float64),
        "expected_tokens": pl.Series(expected, dtype=pl.Float64), "exposures": [1.0] * n, "tokens_q50": [1.0] * n,
        "tokens_q95": [3.0] * n, "taxon": pl.Series(["recollect"] * n, dtype=pl.String),
        "band": pl.Series(band or ["none"] * n, dtype=pl.String),
        "calibrated": pl.Series([False] * n, dtype=pl.Boolean),
    })  # fmt: skip


def figures(
    n: int = 4,
    pairs: list[tuple[int, int, str, str, float]] | None = None,
    prediction: pl.DataFrame | None = None,
    spans: pl.DataFrame | None = None,
    rows: pl.DataFrame | None = None,
) -> dict:
    if rows is None:
        rows = pl.DataFrame({"row_id": range(n), "cluster_id": [-1] * n, "cluster_size": [1] * n})
    empty = pl.DataFrame(schema={"row_id": pl.Int64, "rule_id": pl.String, "kind": pl.String})
    plan = pl.DataFrame({
        "row_id": range(n), "action": ["keep"] * n, "rule_id": pl.Series([None] * n, dtype=pl.String),
        "loss_mask": pl.Series([None] * n, dtype=pl.String), "sample_weight": [1.0] * n,
    })  # fmt: skip
    table = pl.DataFrame(pairs or [], schema=PAIRS, orient="row")
    prediction = predicted([1.0] * n, [0.0] * n) if prediction is None else prediction
    return summarise(rows, table, empty if spans is None else spans, prediction, plan, {}, {"jaccard": 0.8})


def test_skew_is_the_share_of_the_most_memorized_rows() -> None:
    expected = [90.0] + [10 / 99] * 99
    skew = figures(100, prediction=predicted(expected, [0.0] * 100))["skew"]
    assert skew["tokens"] == pytest.approx(100)
    assert skew["top"][0] == {"percent": 1, "rows": 1, "share": pytest.approx(0.9)}
    assert skew["top"][1]["share"] == pytest.approx(0.9 + 9 * 10 / 9900)
    assert skew["half"]["rows"] == 1


def test_turns_and_tokens_are_summed_up_where_they_were_counted() -> None:
    rows = pl.DataFrame({
        "row_id": [0, 1, 2], "turns": [2, 5, 2], "length.tokens": [30, 70, 10], "contexts.tokens": [11, 0, 4],
    })  # fmt: skip
    counted = {"turns": 9, "tokens": 110, "learned_tokens": 15, "learned_rows": 2}
    assert figures(rows=rows, n=3)["read"] == counted
    assert figures(rows=rows.drop("length.tokens"), n=3)["read"] == {**counted, "tokens": None}


def test_bands_count_measured_rows_only() -> None:
    found = figures(3, prediction=predicted([5.0, 1.0, 0.0], [0.5, 0.0, math.nan], ["medium", "none", "none"]))
    counted = found["prediction"]
    assert counted["bands"] == {"none": 1, "low": 0, "medium": 1, "high": 0}
    assert sum(counted["bands"].values()) == counted["rows_measured"] == 3 - counted["rows_not_measured"]


def test_equal_rows_have_no_skew() -> None:
    skew = figures(100, prediction=predicted([2.0] * 100, [0.0] * 100))["skew"]
    assert skew["gini"] == pytest.approx(0)
    assert all(b == pytest.approx(a) for a, b in skew["lorenz"])


def test_not_measured_is_not_zero() -> None:
    summary = figures(3, prediction=predicted([math.nan] * 3, [math.nan, 0.5, 0.25]))
    assert summary["prediction"]["rows_measured"] == 2
    assert summary["prediction"]["rows_not_measured"] == 1
    assert summary["prediction"]["expected_rows_extracted"] == pytest.approx(0.75)
    assert summary["skew"]["tokens"] is None
    nothing = figures(2, prediction=predicted([math.nan] * 2, [math.nan] * 2))
    assert nothing["prediction"]["expected_rows_extracted"] is None


def test_copies_near_copies_and_conflicts_are_counted_apart() -> None:
    pairs = [
        (0, 1, "exact", "same_both", 1.0), (0, 2, "exact", "same_both", 1.0), (1, 2, "exact", "same_both", 1.0),
        (3, 4, "minhash", "near", 0.85), (4, 5, "minhash", "near", 0.6), (6, 7, "exact", "same_prompt", 1.0),
        (6, 8, "semantic", "semantic", 0.93), (3, 4, "semantic", "semantic", 0.99), (8, 9, "minhash", "contained", 0.3),
    ]  # fmt: skip
    found = figures(10, pairs)["found"]
    assert found["exact"] == {"rows": 3, "share": 0.3, "pairs": 3, "groups": 1, "surplus_rows": 2}
    assert found["near"]["rows"] == 4
    assert found["loose"]["rows"] == 2
    assert found["conflicts"] == {"rows": 2, "share": 0.2, "groups": 1}
    assert found["semantic"]["rows"] == 2
    star = [(0, i, "exact", "same_both", 1.0) for i in (1, 2)] + [(1, 2, "semantic", "semantic", 1.0)]
    assert figures(10, star)["found"]["semantic"]["pairs"] == 0, "copies by way of a third row are no other words"


def test_copies_up_to_case_are_no_pairs_in_other_words() -> None:
    twins = [
        (0, 1, "minhash", "same_both", 1.0),
        (0, 2, "minhash", "same_both", 1.0),
        (2, 3, "exact", "same_both", 1.0),
    ]
    pairs = [*twins, (0, 4, "minhash", "near", 0.7), (5, 6, "minhash", "near", 0.9)]
    meaning = [(1, 2), (1, 3), (0, 3), (3, 4), (4, 5), (5, 6)]
    found = figures(8, [*pairs, *((a, b, "semantic", "semantic", 0.99) for a, b in meaning)])["found"]
    assert found["semantic"]["pairs"] == 1  # 4 and 5; 3 stands for 0, of which 4 is a near copy
    assert found["semantic"]["rows"] == 2


def test_pairs_that_only_a_template_makes_alike_are_loose_and_cut_offs_show() -> None:
    pairs = [(i, 9, "minhash", "near", 0.9) for i in range(4)]
    table = pl.DataFrame(pairs, schema=PAIRS, orient="row").with_columns(
        payload_similarity=pl.Series([0.1, 0.8, None, math.nan])
    )
    plan = pl.DataFrame({"row_id": range(10), "action": ["keep"] * 10, "rule_id": [None] * 10, "loss_mask": [None] * 10,
                         "sample_weight": [1.0] * 10}, schema_overrides={"rule_id": pl.String})  # fmt: skip
    for cut, said in ((0, "3 pairs, Jaccard"), (5, "at least 3 pairs, Jaccard")):
        rows = pl.DataFrame({"row_id": range(10), "cluster_id": [-1] * 10, "cluster_size": [1] * 10})
        spans = pl.DataFrame(schema={"row_id": pl.Int64, "rule_id": pl.String, "kind": pl.String})
        notes = {"minhash": {"pairs_not_compared_at_least": cut}}
        summary = summarise(rows, table, spans, predicted([1.0] * 10, [0.0] * 10), plan, notes, {"jaccard": 0.8})
        assert (summary["found"]["near"]["pairs"], summary["found"]["loose"]["pairs"]) == (3, 1)
        assert words.findings(summary)[1][3].startswith(said)


def test_exposed_private_rows_are_those_in_medium_or_high() -> None:
    spans = pl.DataFrame({"row_id": [0, 0, 1], "rule_id": ["private/email"] * 3, "kind": ["private"] * 3})
    bands = ["high", "low", "high"]
    summary = figures(3, prediction=predicted([1.0] * 3, [0.5, 0.25, 0.9], bands), spans=spans)
    assert summary["exposed_private"] == {
        "rows": 2, "rows_medium_or_high": 1, "rows_not_measured": 0, "expected_rows": 0.75
    }  # fmt: skip
    assert summary["found"]["private"]["by_rule"] == {"private/email": {"findings": 3, "rows": 2}}


def test_a_risk_that_was_not_measured_is_not_called_low() -> None:
    spans = pl.DataFrame({"row_id": [0, 1, 2], "rule_id": ["private/email"] * 3, "kind": ["private"] * 3})
    some = figures(3, prediction=predicted([1.0] * 3, [0.5, math.nan, math.nan], ["high", "none", "none"]), spans=spans)
    assert exposed(some) == (
        "3 rows with private data or secrets; the risk is medium or high in 1 of them and not measured in 2, which "
        "have no supervised answer of 16 tokens or more."
    )
    none = figures(3, prediction=predicted([1.0] * 3, [math.nan] * 3, ["none"] * 3), spans=spans)
    assert exposed(none) == (
        "3 rows with private data or secrets; their risk is not measured: no supervised answer of 16 tokens or more."
    )
    assert exposed(figures(3, prediction=predicted([1.0] * 3, [math.nan] * 3, ["none"] * 3))) == ""


def test_kinds_that_were_looked_for_and_stand_nowhere_are_named() -> None:
    spans = pl.DataFrame({"row_id": [0], "rule_id": ["private/email"], "kind": ["private"]})
    summary = figures(1, prediction=predicted([1.0], [0.5]), spans=spans)
    assert len(scope(summary)) == 2  # a run of an earlier version does not say what it looked for
    summary["looked_for"] = ["private/credit_card", "private/email", "private/iban"]
    assert scope(summary)[1:] == [
        "Looked for and found nowhere: credit card and IBAN.",
        "Not looked into are names of fields (scan verify looks into them) and binary columns.",
    ]


def test_every_key_is_there_for_an_empty_run(tmp_path: Path) -> None:
    def keys(value: object) -> object:
        return {k: keys(v) for k, v in value.items()} if isinstance(value, dict) else None

    full, _ = synthetic.from_demo()
    many = synthetic.write(full, tmp_path / "many.scan").read_json("scan.json")["summary"]
    none = figures(0)
    for part in ("exact", "near", "loose", "semantic", "conflicts"):
        assert keys(none["found"][part]) == keys(many["found"][part])
    assert none["prediction"].keys() == many["prediction"].keys()
    assert none["plan"].keys() == many["plan"].keys()
    assert none.keys() == many.keys()


def test_json_report_is_scan_json_and_more(tmp_path: Path) -> None:
    made, _ = synthetic.from_demo()
    run = synthetic.write(made, tmp_path / "a.scan")
    document = json.loads(render(run, "json"))
    assert document["summary"] == run.read_json("scan.json")["summary"]
    assert document["top_rows"][0]["risk"] >= document["top_rows"][-1]["risk"]
    assert document["findings"]


def test_sarif_points_at_lines(tmp_path: Path) -> None:
    made, truth = synthetic.from_demo()
    document = json.loads(render(synthetic.write(made, tmp_path / "a.scan"), "sarif"))
    results = document["runs"][0]["results"]
    secrets = {m["row_id"] for group in truth["private"] for m in group if m["kind"] == "key"}
    errors = [r for r in results if r["level"] == "error"]
    assert {r["properties"]["row_id"] for r in errors} == secrets
    for result in errors:
        region = result["locations"][0]["physicalLocation"]["region"]
        assert region["startLine"] == result["properties"]["row_id"] + 1
    rules = document["runs"][0]["tool"]["driver"]["rules"]
    assert all(rules[r["ruleIndex"]]["id"] == r["ruleId"] for r in results)


def test_markdown_escapes_hostile_text() -> None:
    from scanner.reports.markdown import escaped

    shown = escaped("a|b <script> [x](http://y) `c` @me *d* # e")
    assert "<" not in shown
    assert r"\|" in shown
    assert "http://" not in shown
    assert "@" not in shown


@pytest.mark.parametrize(
    ("share", "shown"), [(0.0, "0 %"), (0.0004, "< 0.1 %"), (0.049, "4.9 %"), (0.5, "50 %"), (None, "not measured")]
)
def test_percent(share: float | None, shown: str) -> None:
    assert words.percent(share) == shown


def test_the_brake_is_told() -> None:
    scan = {"summary": figures(4), "settings": {}, "notes": {"brake": ["the plan removes 60 % of a.jsonl"]}}
    assert "The plan removes 60 % of a.jsonl." in _verdict.verdict(scan)


@pytest.mark.parametrize(
    ("name", "target"), [("a.json", "clean.json"), ("b.jsonl.gz", "clean.jsonl.gz"), ("c", "clean.jsonl")]
)
def test_commands_keep_the_format(name: str, target: str) -> None:
    steps = words.commands(Path("my run.scan"), {"inputs": [{"path": f"/x/{name}"}]}, 3)
    assert steps[0][1] == f"scan apply 'my run.scan' -o {target}"
    assert steps[1][1] == "scan explain 'my run.scan' 3"


@pytest.mark.parametrize(
    ("spans", "band", "told"),
    [
        ([], "none", "Nothing in this data set calls for action."),
        ([], "high", CLEAN),
        (["private"], "low", "Clean this data set before training on it: it holds private data."),
        (["secret"], "high", "Do not train on this data set as it is: it holds secrets that a model may recite."),
    ],
)
def test_headline(spans: list[str], band: str, told: str) -> None:
    schema = {"row_id": pl.Int64, "rule_id": pl.String, "kind": pl.String}
    table = pl.DataFrame([(0, f"{kind}/x", kind) for kind in spans], schema=schema, orient="row")
    assert _verdict.headline(figures(1, prediction=predicted([1.0], [0.5], [band]), spans=table)) == told


def test_the_headline_is_not_silent_on_what_was_not_read_or_has_no_answer() -> None:
    summary = figures(4)
    few, many = ({**summary, "rows_skipped": skipped} for skipped in (0.01, 4))
    assert _verdict.headline(few) == "Nothing in the records that could be read calls for action."
    assert _verdict.headline(many).endswith("calls for action. 4 of 8 records could not be read.")
    few, many = ({**summary, "rows_not_utf8": garbled} for garbled in (0.1, 4))
    assert _verdict.headline(few) == "Nothing in this data set calls for action."
    assert _verdict.headline(many) == (
        "4 of 4 rows are not valid UTF-8: convert the file (iconv -f ENCODING -t UTF-8) and audit it again."
    )
    summary["prediction"]["rows_without_answer"] = 4
    assert _verdict.headline(summary).startswith("There is nothing to learn in this data set")


@pytest.mark.parametrize(
    ("dropped", "said"), [(1, ""), (2, " 2 of 10 rows should go."), (9, " 9 of 10 rows should go.")]
)
def test_the_headline_says_so_where_a_good_part_should_go(dropped: int, said: str) -> None:
    summary = figures(10)
    summary["plan"]["drop"] = dropped
    assert _verdict.headline(summary) == f"Clean this data set before training on it: {dropped} of 10 rows should go."
    summary["found"]["secret"]["rows"] = 1
    assert _verdict.headline(summary) == f"Clean this data set before training on it: it holds secrets.{said}"


def test_the_headline_names_the_benchmark_that_the_file_holds() -> None:
    summary = figures(1, prediction=predicted([1.0], [0.5], ["high"]))
    seen = {"gsm8k.jsonl": (300, 3), "mmlu.zip": (9000, 50), "clean.jsonl": (20, 0)}
    seen = {name: {"items": items, "matched": matched} for name, (items, matched) in seen.items()}
    assert _verdict.headline({**summary, "contamination": seen}) == (
        "A model trained on this data set cannot be measured with gsm8k.jsonl: the data set holds 3 items of "
        "gsm8k.jsonl and of 1 other benchmark."
    )
    seen["gsm8k.jsonl"]["items"] = 301  # of either less than 1 %
    assert _verdict.headline({**summary, "contamination": seen}) == (
        "Leave out what this data set and its benchmarks share before you measure with them: 3 items of gsm8k.jsonl "
        "and of 1 other benchmark."
    )
    summary["found"]["private"]["rows"] = 1  # does not hide them
    assert _verdict.headline({**summary, "contamination": seen}) == (
        "Clean this data set before training on it: it holds private data and 3 items of gsm8k.jsonl and of 1 other "
        "benchmark."
    )
    summary["found"]["private"]["rows"] = 0
    few, many = ({"mmlu.zip": {"items": 40, "matched": 0, "semantic_only": n, "semantic_in": None}} for n in (9, 10))
    assert _verdict.headline({**summary, "contamination": few}) == CLEAN
    many["mmlu.zip"]["semantic_in"] = {"file": "data/law.csv", "items": 8}
    many["mmlu.zip"]["semantic_confirmed"] = {"model": "minilm", "items": 10}
    said = "10 of 40 items of mmlu.zip seem to be asked in other words, 8 of them of law.csv, all confirmed by minilm."
    assert _verdict.headline({**summary, "contamination": many}) == (
        f"Look at the overlap with benchmarks before training on this data set: {said}"
    )
    assert said in _verdict.verdict({"summary": {**summary, "contamination": many}})
    nothing = {"clean.jsonl": {"matched": 0}}
    assert _verdict.headline({**summary, "contamination": nothing}) == CLEAN
