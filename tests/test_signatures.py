"""The index of a run: what it holds, what it gives away, when it is refused, and datasketch beside it."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from corpora import pair, row, shingles
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import words

from scanner import signatures
from scanner.errors import RunError
from scanner.fingerprints import permutations
from scanner.signals import group_by, minhash
from scanner.signatures import ANSWER, OPENING, PAIR, PROMPT, ROW_A, ROW_B

PARAMETERS = {"seed": 1, "shingle_tokens": 3, "bands": 25, "rows_per_band": 5}
LONG = "The harbour of that town was built in the year of the great flood, by hand, from local stone."


def indexed(corpus, count=128, **changes):
    """The index of a corpus, written and read again."""
    prints = corpus.prints(permutations=count)
    opening = signatures.openings(corpus.reader(), corpus.rows, prints)
    signatures.write(corpus.run, corpus.rows, prints, opening, {**PARAMETERS, **changes})
    return signatures.read(corpus.run.path)


def rewritten(corpus, **changes):
    """index.json with other entries."""
    path = corpus.run.path / "index" / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_written_is_read(segments_of):
    corpus = segments_of([("What is it?", LONG), ("And that?", "No.")], row_ids=[4, 9])
    index = indexed(corpus)
    assert (index.name, index.shingle, index.seed, index.bands) == (corpus.run.path.name, 3, 1, (25, 5))
    assert index.row_id.tolist() == [4, 9]
    assert sorted(index.rank.tolist()) == [0, 1]
    assert (index.signature == corpus.prints().signature).all()
    signatures.require_comparable(index, 3)


def test_parts_that_a_row_lacks_have_no_hash(segments_of):
    rows = [("What is it?", LONG), ("What is it?", "It."), row(("text", LONG)), ("What is it?", ""), ("", "")]
    hashes = indexed(segments_of(rows)).hashes
    present = hashes != 0
    assert present[:, ROW_A].tolist() == present[:, ROW_B].tolist() == [True, True, True, True, False]
    assert present[:, PROMPT].tolist() == present[:, OPENING].tolist() == [True, True, False, True, False]
    assert present[:, PAIR].tolist() == [True, True, False, False, False]
    assert present[:, ANSWER].tolist() == [True, False, True, False, False]  # "It." is too short to tell anything
    assert hashes[0, ANSWER] == hashes[2, ANSWER]
    assert len(np.unique(hashes[present])) == present.sum() - 5  # shared: 3 prompts, 3 openings, 2 answers


def test_the_opening_is_what_stands_before_the_first_answer(segments_of):
    dialogue = row(("user", "Hello there"), ("assistant", "Hi"), ("user", "And now?"), ("assistant", "Now this"))
    rows = [
        dialogue, pair("hello  THERE", "Something else"), pair("Hello there", "x", system="Be kind"),
        row(("assistant", "I begin"), ("user", "Hello there"), ("assistant", "Yes")),
        row(("user", ""), ("assistant", "a"), ("user", "Hello there"), ("assistant", "Yes")),
    ]  # fmt: skip
    for per_batch in (1, 2, 10):
        hashes = indexed(segments_of(rows, per_batch=per_batch)).hashes
        assert hashes[0, OPENING] == hashes[1, OPENING] == hashes[2, OPENING] != 0
        assert hashes[3, OPENING] == hashes[4, OPENING] == 0
        assert hashes[0, PROMPT] != hashes[1, PROMPT] == hashes[2, PROMPT]


def test_no_hash_of_one_run_stands_in_another(segments_of):
    rows = [(f"Question {i}", f"{LONG} {i}") for i in range(20)]
    one, other = indexed(segments_of(rows)), indexed(segments_of([*rows, ("One", "more")]))
    assert one.key != other.key
    assert not np.intersect1d(one.hashes, other.hashes).size
    again = indexed(segments_of(rows[::-1]))
    assert again.key == one.key
    assert (again.hashes[::-1] == one.hashes).all()


def test_an_index_that_cannot_be_used_is_refused_with_the_cure(segments_of, tmp_path):
    with pytest.raises(RunError, match=r"gone is not a run folder: there is no such folder; create one with `scan"):
        signatures.read(tmp_path / "gone")
    corpus = segments_of([("a", "b")])
    with pytest.raises(RunError, match=r"it holds no index/index.json; audit that data set again"):
        signatures.read(corpus.run.path)
    indexed(corpus)
    rewritten(corpus, format=1)
    with pytest.raises(RunError, match=r"has format 1, this version of sftscan reads format 2; audit .* --force`"):
        signatures.read(corpus.run.path)
    rewritten(corpus, format=signatures.FORMAT)
    (corpus.run.path / "index" / "hashes.npy").unlink()
    with pytest.raises(RunError, match=r"index/ lacks hashes.npy; audit that data set again"):
        signatures.read(corpus.run.path)


def test_a_mismatch_says_what_differs_and_what_to_do(segments_of):
    corpus = segments_of([("a", "b")])
    index = indexed(corpus)
    message = r"with shingles of 3 tokens, this audit uses 5; use --shingle 3 here, or audit .* with --shingle 5"
    with pytest.raises(RunError, match=message):
        signatures.require_comparable(index, 5)
    with pytest.raises(RunError, match=r"stores 32 MinHash permutations per row, expected at least 64"):
        signatures.require_comparable(indexed(corpus, count=32), 3)
    with pytest.raises(RunError, match=r"written by a version of sftscan whose tokens or hashes differ .* audit that"):
        signatures.require_comparable(replace(index, probe="0" * 16), 3)


def test_the_probe_notices_another_kernel_or_parameter():
    probes = {signatures.probe(3, 128, 1), signatures.probe(2, 128, 1), signatures.probe(3, 64, 1)}
    probes.add(signatures.probe(3, 128, 2))
    assert len(probes) == 4


# ------------------------------------------------------------------------------------------------------- datasketch


def test_exported_sketches_equal_those_datasketch_makes_itself(segments_of, packed):
    from datasketch import MinHash

    corpus = segments_of([("What is it?", LONG), ("", ""), ("And that one over there?", LONG)], row_ids=[3, 5, 8])
    index = indexed(corpus)
    exported = dict(signatures.to_datasketch(index))
    assert list(exported) == [3, 8]  # a row without shingles has nothing to compare
    for place, key in ((0, 3), (2, 8)):
        own = MinHash(num_perm=128, seed=1, scheme="affine32", hashfunc=lambda shingle: shingle)
        own.update_batch([h & 0xFFFFFFFF for s in corpus.segments[place] for h in shingles(packed, s.text, 3)])
        assert own == exported[key]
        assert own.jaccard(exported[key]) == 1
        assert all((a == b).all() for a, b in zip(own.permutations, permutations(128, 1), strict=True))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.lists(words, min_size=2, max_size=12, unique=True))
def test_lsh_proposes_what_this_program_proposes(segments_of, answers):
    corpus = segments_of([("Where did Ann go?", answer) for answer in answers])
    index = indexed(corpus)
    bands = minhash.Bands(*index.bands)
    prints = corpus.prints()
    first = np.flatnonzero(group_by(prints.normal).group == np.arange(len(answers)))
    found, _ = minhash._candidates(prints.signature, first, bands, 1, lambda done: None)
    low = np.uint64(0xFFFFFFFF)
    ours = {(int(first[int(p >> np.uint64(32))]), int(first[int(p & low)])) for p in found}
    lsh = signatures.lsh_of(index)
    theirs = {
        (min(a, b), max(a, b))
        for a, sketch in signatures.to_datasketch(index)
        for b in lsh.query(sketch)
        if a != b and {a, b} <= set(first.tolist())
    }
    assert ours == theirs


def test_a_new_row_finds_its_copy_and_keys_keep_runs_apart(segments_of):
    from datasketch import MinHashLSH

    index = indexed(segments_of([("What is it?", LONG), ("Who came?", "Nobody came that day, nobody at all.")]))
    lsh = MinHashLSH(num_perm=128, params=index.bands)
    assert signatures.into_lsh(index, lsh, lambda row_id: f"{index.name}:{row_id}") == 2
    asked = signatures.minhash_of(index, [("user", "What is it?"), ("assistant", LONG.upper())])
    assert lsh.query(asked) == [f"{index.name}:0"]
    lsh = pickle.loads(pickle.dumps(signatures.lsh_of(index, 0.7)))
    assert lsh.query(asked) == [0]
