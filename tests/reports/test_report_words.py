"""The training plan in words, as every report says it."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from scanner.reports import _keeping, _training
from scanner.reports import _whatif as what
from scanner.reports import _words as words
from scanner.settings import TrainingPlan
from scanner.text import OWN_UNIT


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "3 epochs, learning rate 2e-05 falling in a line, full fine-tuning, random batches of 16 rows, "),
        ({"lr_schedule": "cosine", "warmup": 0.03}, "falling as a cosine after a warm-up of 3 % of the steps, full"),
        ({"lr_schedule": "constant"}, "learning rate 2e-05 constant, full"),
        (
            {"loss_average": "micro-batch", "micro_batch": 2, "devices": 4},
            "random batches of 16 rows on 4 devices in micro-batches of 2, loss averaged per micro-batch",
        ),
        ({"batching": "packed", "batch_size": 1}, "packed batches of 1 sequence, "),
        ({"batch_tokens": 1}, "full fine-tuning, random batches of 1 token, "),
        ({"method": "lora", "batch_tokens": 4000}, "LoRA of rank 16, random batches of 4,000 tokens, "),
    ],
)
def test_the_plan_says_its_schedule_and_batches(changes, said):
    assert said in _training.of_plan(asdict(TrainingPlan(**changes)))


def test_the_screen_names_the_plan_in_brief_and_says_where_it_is_the_usual_one():
    def told(**changes):
        return _training.premise({"settings": {"plan": asdict(TrainingPlan(**changes))}}, brief=True)

    assert told(epochs=8) == "8 epochs, learning rate 2e-05, full fine-tuning, random batches of 16 rows."
    assert told(model_params=7e9, lr_schedule="cosine", loss_average="row", batch_size=4) == (
        "3 epochs, learning rate 2e-05 falling as a cosine, full fine-tuning of a model of 7 B parameters, random "
        "batches of 4 rows, loss averaged per row."
    )
    assert told().endswith(f"16 rows. {_training.USUAL}")


def test_a_plan_of_before_there_was_a_schedule_says_nothing_of_it():
    old = {k: v for k, v in asdict(TrainingPlan()).items() if k not in ("lr_schedule", "warmup")}
    assert "learning rate 2e-05, full" in _training.of_plan(old)


ROWS = [
    {"variant": "as planned", "epochs": e, "expected_rows": x, "low": x / 2, "high": 2 * x}
    for e, x in ((0.0, 0.0), (1.5, 12.0), (3.0, 35.0), (6.0, 140.0), (24.0, 640.0))
] + [
    {"variant": "batches twice as large", "epochs": 3.0, "expected_rows": 9.0, "low": 1.0, "high": 20.0},
    {"variant": "goldfish loss, k = 4", "epochs": 3.0, "expected_rows": 3.0, "low": 0.0, "high": 9.0},
    {"variant": "after deduplication", "epochs": 3.0, "expected_rows": 0.01, "low": 0.0, "high": 2.0},
]
AUDIT = {"certainty": 0.95, "rows": 9723, "expected_rows": 97.2, "sample": 295, "sample_if_low": 590,
         "sample_if_high": 147}  # fmt: skip


def scan_of(**audit: object) -> dict:
    return {"settings": {"plan": {"epochs": 3.0}}, "notes": {"prediction": {"audit_size": {**AUDIT, **audit}}}}


def test_the_what_if_curve_in_one_sentence():
    assert what.curve(ROWS, scan_of()) == (
        "3 epochs, as planned: 35 rows (18 to 70); 6 epochs: 140 (70 to 280); 24 epochs: 640 (320 to 1,280); after "
        "deduplication: fewer than 0.1; batches twice as large: 9; goldfish loss, k = 4: 3"
    )
    few = [{**r, "expected_rows": r["expected_rows"] / 4} for r in ROWS]
    assert "goldfish" not in what.curve(few, scan_of())  # there is little to forget
    assert what.curve([], scan_of()) == ""
    assert what.curve(ROWS[:1], scan_of()) == ""
    before = [{"variant": "as planned", "epochs": 3.0, "expected_rows": 35.0}]  # runs of before there were intervals
    assert what.curve(before, scan_of()) == "3 epochs, as planned: 35 rows"


def test_the_audit_in_one_sentence():
    assert what.audit(scan_of()) == (
        "an audit by hand needs 295 of 9,723 answers, drawn at random, to hold at least one of the about 97 recited "
        "ones with 95 % probability (147 to 590 over the interval)"
    )
    assert what.audit(scan_of(sample_if_low=None)).endswith("(147 at least over the interval)")
    assert what.audit(scan_of(sample=None, sample_if_low=None)) == (
        "fewer than one of 9,723 answers is expected to be recited, so no sample is sure to show one (at the high end "
        "of the interval 147 drawn at random would hold one with 95 % probability)"
    )
    assert what.audit(scan_of(sample=None, sample_if_high=None)).endswith("is sure to show one")
    assert what.audit({"notes": {}}) == ""
    assert what.lines(ROWS, {"settings": {"plan": {"epochs": 3.0}}}) == [
        f"answers recited for 16 tokens or more, with the 90 % interval: {what.curve(ROWS, scan_of())}"
    ]


def test_what_if_outside_what_was_validated_says_so():
    scan = scan_of() | {"summary": {"prediction": {"validity": {"severity": "count"}}}}
    numbers, by_hand = what.lines(ROWS, scan)
    assert numbers.startswith(
        "answers recited for 16 tokens or more, outside what was validated (90 % interval): 3 epochs, as planned: 35 "
        "rows (18 to 70)"
    )
    assert by_hand.startswith("an audit by hand needs 295 of 9,723 answers")
    scan["summary"]["prediction"]["validity"]["severity"] = "note"
    assert "outside" not in " ".join(what.lines(ROWS, scan))


@pytest.mark.parametrize(
    ("expected", "aim", "said"),
    [
        (0.97, None, " (estimated recall 0.97, 0.50 to 1.00)"),
        (0.66, None, " (estimated recall 0.66, 0.50 to 1.00; --confirm-recall 0.95 would read on)"),
        (None, None, " (recall not measured)"),
        (0.97, {"reached": True}, " (estimated recall 0.97, 0.50 to 1.00; by it the 0.95 asked for is reached)"),
        (
            0.66,
            {"reached": False},
            " (estimated recall 0.66, 0.50 to 1.00; by it the 0.95 asked for is not reached within 30 % of the tokens)",
        ),
        (
            1.0,
            {"reached": True, "all_read": True},
            " (estimated recall 1.00, 0.50 to 1.00; for the 0.95 asked for all that is proposed was read)",
        ),
        (
            None,
            {"reached": True},
            " (recall not measured; for the 0.95 asked for there is nothing to find)",
        ),
    ],
)
def test_the_recall_by_meaning_stands_with_the_aim(expected, aim, said):
    recall = {"expected": expected, "low": expected and 0.5, "high": expected and 1.0}
    by = {"model": "minilm", "work": 0.23, "recall": recall}
    if aim:
        by["aim"] = {"recall": 0.95, "limit": 0.3, "all_read": False, **aim}
    assert words._confirmed(by) == f", by minilm on 23 % of the tokens{said}"


def test_tables_of_which_nothing_is_learned_are_named_with_the_cure():
    def told(*inputs, **settings):
        keys = ("name", "format", "layout", "first_line")
        return words.unlearned({"inputs": [dict(zip(keys, i, strict=True)) for i in inputs], "settings": settings})

    cells, parquet = ("a.csv", "csv", "table", 1), ("b.parquet", "parquet", "table", 1)
    said = (
        "no column of a.csv has a name that says it is learned, so none is; name prompt and answer with "
        "--prompt-field and --response-field"
    )
    header = (
        "; the first row of a.csv was taken for data, and its columns are column_1, column_2, ...: --header if it "
        "names them"
    )
    assert told(cells, header=None) == [said + header]
    assert told(cells, header=False) == [said]
    assert told((*cells[:3], 2), header=None) == [said]  # its header was found
    assert told(parquet) == [said.replace("a.csv", "b.parquet")]
    assert told(parquet, cells) == [said.replace("a.csv", "b.parquet and 1 more") + header]
    assert told(("a.csv", "csv", "pair", 2)) == told(cells, layout="table") == []


def test_a_lower_threshold_than_the_audits_is_said_to_look_for_no_rare_templates():
    def told(now, **minhash):
        by_rule = [{"rule": "duplicates/near", "action": "drop", "rows": 2}]
        return _keeping.lines({
            "notes": {"keep": {"policy": "the first row stays"}, "minhash": minhash}, "settings": {"jaccard": now},
            "summary": {"plan": {"by_rule": by_rule}},
        })  # fmt: skip

    assert told(0.6, threshold=0.8) == [
        "the first row stays",
        "templates of few rows were looked for among pairs at or above Jaccard 0.8, the audit's threshold: between 0.6 "
        "and that, rows of one wrapper may be dropped for one another; audit again with --jaccard 0.6 to keep them",
    ]
    assert told(0.8, threshold=0.8) == told(0.9, threshold=0.8) == told(0.6) == ["the first row stays"]


def test_what_was_read_is_told_in_turns_and_tokens_of_which_tokenizer():
    def told(turns: int, tokens: int | None, learned: int, rows: int, unit: str = OWN_UNIT) -> str:
        seen = {"turns": turns, "tokens": tokens, "learned_tokens": learned, "learned_rows": rows}
        return words.volume({"summary": {"read": seen}, "token_unit": unit})

    assert told(12_000, 90_000, 1, 1) == "12,000 turns, 90,000 tokens (words), 1 learned in 1 row"
    assert told(1, 1, 0, 0) == "1 turn, 1 token (words), 0 learned in 0 rows"
    assert told(2, 9, 12, 2, "token of tokenizer.json") == (
        "2 turns, 9 tokens (words); 12 learned in 2 rows, each a token of tokenizer.json"
    )
    assert told(1, None, 0, 0) == ""
    assert words.volume({"summary": {}}) == "", "a run of a version that did not sum them up"
