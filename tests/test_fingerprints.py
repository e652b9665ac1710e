"""The threaded pass over the text: what it gives does not depend on batches or threads."""

from __future__ import annotations

import numpy as np
import pytest
from datasketch import MinHash

from scanner.fingerprints import PART_OF_ROLE, fingerprint, permutations, text_hashes
from scanner.kernels.minhash import ANSWER_PART, PROMPT_PART, SKIPPED
from scanner.objects import ROLES

ROWS = [
    ("one two three four", "five six seven eight"), ("", ""), ("One  two three FOUR", "five six seven eight"),
    ("q", "a", "be brief"), "plain text that is learned as a whole", ("中文问题", "答案 is 7"),
]  # fmt: skip


def test_permutations_are_datasketchs():
    a, b = permutations(64, 1)
    assert a.dtype == b.dtype == np.uint32
    reference = MinHash(64, seed=1, scheme="affine32").permutations
    assert (a == reference[0]).all()
    assert (b == reference[1]).all()
    assert not (permutations(64, 2)[0] == a).all()


def test_every_role_has_its_part():
    parts = dict(zip(ROLES, PART_OF_ROLE.tolist(), strict=True))
    assert parts == {
        "system": SKIPPED, "tools": SKIPPED, "rejected": SKIPPED, "user": PROMPT_PART, "tool": PROMPT_PART,
        "assistant": ANSWER_PART, "text": ANSWER_PART,
    }  # fmt: skip


@pytest.mark.parametrize(("per_batch", "threads"), [(1, 1), (2, 3), (100, 2)])
def test_batches_and_threads_do_not_matter(segments_of, per_batch, threads):
    reference = segments_of(ROWS).prints()
    found = segments_of(ROWS, per_batch=per_batch).prints(threads=threads)
    for name, value in vars(reference).items():
        assert np.array_equal(getattr(found, name), value), name


def test_counts(segments_of):
    found = segments_of(ROWS).prints()
    assert found.tokens.tolist() == [8, 0, 8, 4, 8, 8]
    assert found.supervised_tokens.tolist() == [4, 0, 4, 1, 8, 4]
    assert found.shingles.tolist() == [4, 0, 4, 2, 6, 4]
    assert found.prompt_chars.tolist() == [18, 0, 19, 9, 0, 4]
    assert found.response_chars.tolist() == [20, 0, 20, 1, 37, 7]


def test_normalised_hashes_ignore_case_and_spacing_and_raw_ones_do_not(segments_of):
    found = segments_of(ROWS).prints()
    assert (found.normal[0] == found.normal[2]).all()
    assert found.prompt[0] == found.prompt[2]
    raw = text_hashes(segments_of(ROWS, per_batch=2).reader(), len(ROWS), 2)
    assert (raw[0] != raw[2]).all()
    assert (found.signature[0] == found.signature[2]).all()


def test_a_system_prompt_is_context_and_no_shingle(segments_of):
    found = segments_of([("q", "a"), ("q", "a", "be brief")]).prints()
    assert (found.signature[0] == found.signature[1]).all()
    assert found.context[0] != found.context[1]
    assert (found.normal[0] != found.normal[1]).all()


def test_progress_is_told_of_every_row(segments_of):
    corpus = segments_of(ROWS, per_batch=4)
    told = []
    fingerprint(corpus.reader(), len(ROWS), 3, 16, 1, 2, told.append)
    assert told == [4, 2]
