"""The engine: prefilter, RE2, validator; code points; overlaps; user rules; errors that name file and field."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scanner
from scanner import rulebook, rulefiles
from scanner.errors import RuleError, SettingsError
from scanner.redaction import Span, redact
from scanner.rulebook import FINDINGS_SCHEMA, Finding, Rule, Rulebook, without_overlaps
from scanner.rulefiles import said_of
from scanner.settings import Settings
from scanner.storedtext import SEGMENT_SCHEMA, SegmentReader, SegmentWriter, roles_array

BOOK = rulebook.load()
EMAIL = "jane.roe@northwind-traders.net"
CARD = "4111 1111 1111 1111"

RULE = """
kind = "private"
title = "Badge number"
what = "A badge number."
why = "It names a person."
severity = "low"
known_problems = "None known."
advice = "Redact it."
placeholder = "[BADGE]"
literals = ["badge"]
regex = 'badge ([0-9]{4})'
quiet = ["badge", "badge 12", "1234", "badge no 1234"]
fires = [
  { text = "badge 1234", spans = ["1234"] },
  { text = "Badge? badge 1234.", spans = ["1234"] },
  { text = "工badge 1234 badge 5678", spans = ["1234", "5678"] },
  { text = "badge 12345", spans = ["1234"] },
]
"""


def frame(*texts: str | None) -> pl.DataFrame:
    schema = {"row_id": pl.Int64, "segment": pl.Int32, "text": pl.String}
    return pl.DataFrame({"row_id": range(len(texts)), "segment": [0] * len(texts), "text": list(texts)}, schema=schema)


def written(folder: Path, text: str, name: str = "private/badge.toml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_positions_are_code_points() -> None:
    text = f"😀é中{EMAIL} ключ {CARD} 👩‍🔬{EMAIL}"
    found = BOOK.find_in(text)
    assert [text[f.start : f.end] for f in found] == [EMAIL, CARD, EMAIL]


@given(st.lists(st.one_of(st.text(max_size=12), st.sampled_from([f" {EMAIL} ", f" {CARD} "])), max_size=8))
def test_positions_agree_with_python(parts: list[str]) -> None:
    text = "".join(parts).encode("utf-8", "replace").decode()
    for finding in BOOK.find_in(text):
        value = text[finding.start : finding.end]
        assert value.strip() == value
        assert finding.rule.spans(text).count((finding.start, finding.end)) == 1


def test_table_columns_scores_and_previews() -> None:
    found = BOOK.find([frame(f"to {EMAIL}", "nothing", f"card {CARD}")])
    assert dict(found.schema) == FINDINGS_SCHEMA
    assert found.select("row_id", "start", "end", "rule_id", "kind", "preview").rows() == [
        (0, 3, 33, "private/email", "private", "[EMAIL] 30 chars"),
        (2, 5, 24, "private/credit_card", "private", "[CARD] 19 chars"),
    ]
    assert found["score"].to_list() == pytest.approx([0.9, 1.0])
    assert found["severity"].to_list() == [4.0, 8.0]


def test_a_preview_is_placeholder_and_length_only() -> None:
    for rule in BOOK.rules:
        for row in BOOK.find([frame(*(example.text for example in rule.fires))]).iter_rows(named=True):
            found = BOOK.by_id[row["rule_id"]]
            assert row["preview"] == f"{found.placeholder} {row['end'] - row['start']} chars"


def test_nothing_to_find() -> None:
    for frames in ([], [frame()], [frame("", None, "plain")]):
        found = BOOK.find(frames)
        assert dict(found.schema) == FINDINGS_SCHEMA
        assert len(found) == 0


def test_threads_and_batches_change_nothing() -> None:
    texts = [f"{i} {EMAIL} {i}" if i % 3 else f"call +44 7700 603 96{i % 10}" for i in range(300)]
    whole = BOOK.find([frame(*texts)], threads=1)
    parts = list(frame(*texts).iter_slices(17))
    assert BOOK.find(parts, threads=2).equals(whole)
    assert BOOK.find(reversed(parts), threads=3).equals(whole)
    assert len(whole) == 300


def test_segments_are_read_from_the_run_folder(tmp_path: Path) -> None:
    n = 4
    texts = [f"中 {EMAIL}", "", "x", f"{CARD}"]
    with SegmentWriter(tmp_path / "segments.arrow") as writer:
        for _ in range(2):
            columns = [np.repeat([0, 1], 2), np.array([0, 1, 0, 1], np.int32), np.zeros(n, np.int32)]
            arrays = [*map(pa.array, columns), roles_array(np.ones(n, np.uint8)), pa.array([""] * n)]
            arrays += [pa.array([True] * n), pa.array(texts, pa.large_string())]
            writer.append(pa.record_batch(arrays, schema=SEGMENT_SCHEMA))
    found = BOOK.find(SegmentReader(tmp_path / "segments.arrow").text_frames(), threads=2)
    assert found.select("row_id", "segment", "start", "end").rows() == [(0, 0, 2, 32)] * 2 + [(1, 1, 0, 19)] * 2


def test_one_character_bounds_two_values() -> None:
    text = "41.176.181.243 86.121.97.248 a@b-c.net,d@b-c.net"
    assert [text[f.start : f.end] for f in BOOK.find_in(text)] == text.replace(",", " ").split()


def test_of_overlapping_spans_the_more_severe_wins() -> None:
    text = f"postgres://svc:{'Zk4nP8wq'}@mail.northwind-traders.net/x"
    assert [(f.rule.id, text[f.start : f.end]) for f in BOOK.find_in(text)] == [("secret/url_password", "Zk4nP8wq")]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9), st.sampled_from(BOOK.rules)), max_size=15))
def test_the_choice_among_overlaps_is_maximal_and_deterministic(spans: list[tuple[int, int, Rule]]) -> None:
    findings = [Finding(a, a + n, rule) for a, n, rule in spans]
    kept = without_overlaps(findings)
    assert all(a.end <= b.start for a, b in itertools.pairwise(kept))
    assert kept == without_overlaps(findings[::-1])
    for finding in findings:  # each one stays, or overlaps one that stayed and is at least as severe
        rivals = [k for k in kept if k.start < finding.end and finding.start < k.end]
        assert any(k.rule.severity >= finding.rule.severity for k in rivals)


HOSTILE = ("a@", "1 ", "1-", "4111 1111 1111 1112 ", "password a", "eyJaaaaaaaaaaaa.", "-----BEGIN PRIVATE KEY-----")


@pytest.mark.parametrize("seed", HOSTILE)
def test_hostile_texts_end(seed: str) -> None:
    assert BOOK.find([frame(seed * (20_000 // len(seed)))]) is not None


def test_a_value_known_from_its_context_is_found_without_it() -> None:
    texts = ("Phone: 780 6326", "中 780 6326, not 9780 6326 or 780 63261", "780 6326")
    found = BOOK.find([frame(*texts[:2]), frame(*texts).slice(2)], threads=2)
    assert found.select("row_id", "start", "end", "rule_id").rows() == [
        (0, 7, 15, "private/phone_labelled"),
        (1, 2, 10, "private/phone_labelled"),
        (2, 0, 8, "private/phone_labelled"),
    ]
    assert BOOK.find(iter([frame(*texts)])).equals(found)


def test_repetitions_do_not_overlap_other_findings() -> None:
    texts = ("url postgres://a:zk4n8wq@h", "mail zk4n8wq@roe-mail.net or zk4n8wq", "xzk4n8wq zk4n8wq")
    found = BOOK.find([frame(*texts)])
    values = [texts[r["row_id"]][r["start"] : r["end"]] for r in found.iter_rows(named=True)]
    assert values == ["zk4n8wq", "zk4n8wq@roe-mail.net", "zk4n8wq", "zk4n8wq"]


def test_a_plain_word_is_no_secret_elsewhere() -> None:
    assert not rulebook.is_distinctive("blumentopf")
    assert rulebook.is_distinctive("blumentopf77")
    assert len(BOOK.find([frame("ftp://anna:blumentopf@ftp.host.org", "ein blumentopf")])) == 1


def test_redacted_text_is_quiet() -> None:
    for rule in BOOK.rules:
        for example in rule.fires:
            spans = [Span(f.start, f.end, f.rule.placeholder) for f in BOOK.find_in(example.text)]
            assert BOOK.find_in(redact(example.text, spans)) == []


def test_user_rules_join_the_shipped_ones(tmp_path: Path) -> None:
    written(tmp_path, RULE)
    book = rulebook.load([tmp_path])
    assert len(book.rules) == len(BOOK.rules) + 1
    assert list(book.by_id) == sorted(book.by_id)
    rule = book.by_id["private/badge"]
    assert (rule.score, rule.severity, rule.level) == (0.5, 2.0, "low")
    assert [f.rule.id for f in book.find_in("my badge 1234")] == ["private/badge"]


def test_an_audit_parses_each_rule_once_and_a_later_one_sees_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []

    def counted(file: rulefiles.RuleFile, *more: Any) -> Rule:
        parsed.append(file.path.name)
        return rulefiles.parse(file, *more)

    monkeypatch.setattr(rulebook, "parse", counted)
    data = tmp_path / "data.jsonl"
    data.write_text('{"instruction": "Who is it?", "output": "The man with badge 1234."}\n', "utf-8")
    settings = Settings(semantic=False, rules=(tmp_path / "rules",))

    def found() -> list[str]:
        run = scanner.audit([str(data)], settings, tmp_path / "data.scan", force=True)
        assert "private/badge" in run.read_json("scan.json")["summary"]["looked_for"]
        return run.read_table("spans")["preview"].to_list()

    path = written(tmp_path / "rules", RULE)
    assert found() == ["[BADGE] 4 chars"]
    assert parsed.count("badge.toml") == 1
    assert len(parsed) == len(BOOK.rules) + 1
    before = path.stat()
    path.write_text(RULE.replace("[BADGE]", "[MEDAL]"), "utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # neither its size nor its time tells
    assert found() == ["[MEDAL] 4 chars"]
    assert parsed.count("badge.toml") == 2
    written(tmp_path / "rules", RULE.replace("badge", "office"), "private/office.toml")
    assert "private/office" in rulebook.load(settings.rules).by_id
    path.unlink()
    assert "private/badge" not in rulebook.load(settings.rules).by_id


def test_a_rule_that_cannot_be_read_is_refused_with_its_file(tmp_path: Path) -> None:
    written(tmp_path, RULE).write_bytes(RULE.encode("utf-16"))
    with pytest.raises(RuleError, match=r"badge\.toml: not readable as TOML: 'utf-8' codec"):
        rulebook.load([tmp_path])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Badge number"', "", "badge.toml: title: missing; expected a text"),
        ('kind = "private"', 'kind = "public"', "kind: 'public'; expected one of private, secret"),
        ('severity = "low"', 'severity = "awful"', "severity: 'awful'; expected a level of bands.toml: ordinary"),
        ('"[BADGE]"', '"<badge>"', "placeholder: '<badge>'; expected A-Z, 0-9 and _ in brackets"),
        ('why = "It', 'colour = "red"\nwhy = "It', "colour: an unknown field; expected one of advice"),
        ('why = "It', 'confidence = 1\nwhy = "It', "confidence: int 1; expected a number between 0 and 1"),
        ('why = "It', 'validator = "magic"\nwhy = "It', "validator: 'magic'; expected one of basic_credentials"),
        ('why = "It', 'gate = 7\nwhy = "It', "gate: int 7; expected a text"),
        ('why = "It', 'ignore_case = "no"\nwhy = "It', "ignore_case: a text of 2 characters; expected true or false"),
        ('literals = ["badge"]', "literals = [1]", "literals: a list of 1; expected a list of texts"),
        ('literals = ["badge"]', "", "literals: neither is given; expected literals or a gate"),
        ("'badge ([0-9]{4})'", "'badge (?=x)'", "regex: not RE2 syntax: .*no lookahead or lookbehind"),
        ("'badge ([0-9]{4})'", r"'(b)adge \1'", "regex: not RE2 syntax: .*no backreferences"),
        ("'badge ([0-9]{4})'", "'badge [0-9]++'", "regex: not RE2 syntax: .*no possessive quantifiers"),
        ("'badge ([0-9]{4})'", "'badge ('", "regex: not RE2 syntax: missing \\)"),
        ("'badge ([0-9]{4})'", "'[0-9]*'", "regex: it matches the empty text; expected a pattern that needs"),
        ('why = "It', "not_after = '('\nwhy = \"It", "not_after: not RE2 syntax"),
        ('why = "It', "gate = '('\nwhy = \"It", "gate: not Rust regex syntax"),
        ('quiet = ["badge", "badge 12",', "quiet = [", "quiet: a list of 2; expected at least 4 texts"),
        ('  { text = "badge 1234", spans = ["1234"] },\n', "", "fires: a list of 3; expected at least 4"),
        ('"badge 1234", spans = ["1234"]', '"badge 1234", spans = []', "fires: example 1 lacks text or spans"),
        ('"badge 1234", spans = ["1234"]', '"badge 1234", spans = ["9"]', "example 1 names a span that does not stand"),
        ('"badge no 1234"', '"badge 4321"', "badge.toml: quiet: example 4 gave 1 span; expected none"),
        ('literals = ["badge"]', 'literals = ["budge"]', "example 1 gave 0 spans, not the 1 .*the prefilter .* shuts"),
        ("([0-9]{4})'", "([a-z]{4})'", "example 1 gave 0 spans, .*the prefilter lets the text through"),
        ('kind = "private"', "kind = ", "badge.toml: not readable as TOML"),
    ],
)
def test_a_broken_rule_is_refused_with_file_and_field(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in RULE
    written(tmp_path, RULE.replace(old, new, 1))
    with pytest.raises(RuleError, match=message) as caught:
        rulebook.load([tmp_path])
    assert str(caught.value).startswith("badge.toml: ")


def test_folders_that_hold_no_rules_and_ids_given_twice(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="there is no such folder"):
        rulebook.load([tmp_path / "missing"])
    with pytest.raises(RuleError, match="no rule file in it"):
        rulebook.load([tmp_path])
    written(tmp_path, RULE, "private/email.toml")
    with pytest.raises(RuleError, match="two rules have the id private/email"):
        rulebook.load([tmp_path])


def test_bands() -> None:
    bands = rulebook.bands()
    risk = [0.0, 0.049, 0.05, 0.2, 0.21, 0.79, 0.8, 8.0, np.nan]
    assert bands.band(risk).tolist() == ["none", "none", "low", "low", "medium", "medium", "high", "high", "none"]
    assert bands.severity["ordinary"] == 1.0
    assert bands.severity["low"] < bands.severity["moderate"] < bands.severity["high"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cuts]\nlow = 1\nmedium = 2\nhigh = 3", r"bands.toml: \[severity\] is missing"),
        ("[severity]\na = 'x'\n[cuts]\nlow = 1", r"\[severity\] is a dict of 1; expected a table of numbers"),
        ("[severity]\na = 1\n[cuts]\nlow = 3\nmedium = 2\nhigh = 1", "expected low < medium < high"),
    ],
)
def test_broken_bands_are_refused(tmp_path: Path, text: str, message: str) -> None:
    written(tmp_path, text, "bands.toml")
    with pytest.raises(RuleError, match=message):
        rulebook.bands(tmp_path)


def test_an_empty_book_finds_nothing() -> None:
    assert len(Rulebook(()).find([frame("a", "b")])) == 0


def test_what_a_rule_says_is_read_from_its_file_alone_and_from_a_folder_of_ones_own(tmp_path: Path) -> None:
    for rule in BOOK.rules:
        said = said_of(rule.id)
        assert said is not None
        assert said == (" ".join(rule.advice.split()), " ".join(rule.known_problems.split()))
    written(tmp_path, RULE.replace('"None known."', '"""Old badges\nhad five digits."""'))
    assert said_of("private/badge", [str(tmp_path)]) == ("Redact it.", "Old badges had five digits.")
    assert said_of("private/badge") is None
    written(tmp_path, "kind = ")
    assert said_of("private/badge", [str(tmp_path)]) is None


def test_a_rule_in_words_says_all_that_its_findings_are_judged_by() -> None:
    (email,) = BOOK.named(["private/email"])
    said = " ".join(email.in_words().split())
    for text in (email.title, email.what, email.why, email.advice, email.known_problems, email.placeholder):
        assert " ".join(text.split()) in said
    assert "severity 4 (moderate); score 0.9 where nothing proves the value" in said
    assert "score 1 (a check proves the value)" in BOOK.named(["private/iban"])[0].in_words()
    with pytest.raises(SettingsError, match=r"no rule 'private/emial'; expected .* Did you mean 'private/email'\?"):
        BOOK.named(["private/iban", "private/emial"])
