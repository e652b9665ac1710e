"""Templates in the reports: sentences, patterns with their slots, and nothing private in them."""

from __future__ import annotations

import json
import random

import pytest

from scanner import pipeline
from scanner.reports import _templates
from scanner.settings import Settings

WRAPPER = (
    "You answer for the shop of Jane. Forward what you cannot answer to jane.roe@northwind-shop.com and never say when "
    "a parcel will arrive; keep to one short sentence. The customer writes:"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wrapped")
    rng = random.Random(1)
    rows = [
        {"instruction": f"{WRAPPER} {rng.randrange(9**9)} w{rng.randrange(9**6)}", "output": rng.choice(["yes", "no"])}
        for _ in range(60)
    ]
    file = folder / "wrapped.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return pipeline.audit([str(file)], Settings(semantic=False, threads=1), folder / "wrapped.scan")


def test_rows_that_share_a_wrapper_are_all_kept(run):
    assert run.read_table("plan")["action"].to_list().count("drop") == 0
    pairs = run.read_table("pairs")
    assert len(pairs)
    assert pairs["payload_similarity"].max() < 0.8
    assert run.read_table("rows")["templates.prompt_share"].min() > 0.8


def test_a_sentence_for_each_source_that_is_largely_template(run):
    (line,) = _templates.sentences(run.read_json("scan.json")["notes"])
    assert "of the tokens of wrapped.jsonl are templates, which 100 % of its rows follow" in line
    assert _templates.sentences({}) == []


def test_patterns_show_slots_and_mask_what_is_private(run):
    (found,) = _templates.gather(run, "masked")
    assert (found.source, found.role, found.rows, found.slots) == ("wrapped.jsonl", "user", 60, 1)
    assert found.pattern.startswith("You answer for the shop")
    assert found.pattern.endswith("The customer writes: …")
    assert "jane.roe" not in found.pattern
    (hidden,) = _templates.gather(run, "none")
    assert hidden.pattern == ""
    page = (run.path / "report.html").read_text("utf-8")
    assert "The customer writes: …" in page
    assert "jane.roe" not in page
