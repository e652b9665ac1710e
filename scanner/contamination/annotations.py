"""What a benchmark writes into its answers and data made of it often leaves out: GSM8K's sums and its last line.

"48/2 = <<48/2=24>>24 clips.\\n#### 24" says what "48/2 = 24 clips." says. The sums are for a calculator, the last line
is for the grader (Cobbe et al., Training Verifiers to Solve Math Word Problems, 2021, sections 2 and 4.1); in the
solutions that its authors published beside it that line reads "A: 24". Others keep the result alone: 24 of that line,
or x of MATH's \\boxed{x} (Hendrycks et al., 2021).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from scanner.contamination.items import Items, words_of
from scanner.objects import Int64, SegmentBatch

_ANNOTATION = re.compile(rb"<<[^<>\n]*=[^<>\n]*>>|\n(?:####|A:)[ \t]*[-$]*\d[\d.,]*\s*\Z")
_RESULT = re.compile(rb"(?:(?:\A|\n)####|\nA:)[ \t]*([-$]*\d[\d.,]*)\s*\Z|\\boxed\{([^{}]+)\}")
_SIGNS = (b"<<", b"####", b"\nA:", b"\\boxed")
"""One of them stands in every answer that either of the two finds anything in."""


def retold(reader: Iterable[SegmentBatch], items: Items, wanted: Int64) -> tuple[Items, Items]:
    """The items with nothing but the answers of those wanted: without their annotations, and their results alone.

    Answers that hold none, all questions and all other items are empty then. Of several results the last counts.

    reader: the segments of the evaluation rows, read once.
    """
    answers = []
    for batch in reader:
        inside = slice(batch.first, batch.first + len(batch))
        places = np.flatnonzero((items.part[inside] == 1) & np.isin(items.of_segment[inside], wanted))
        if len(places):
            answers.append((items.of_segment[inside][places], batch.only(places)))
    return _told(answers, items, _bare), _told(answers, items, _result)


def _bare(answer: bytes) -> tuple[bytes, bool]:
    """An answer without annotations, and whether it had any."""
    text = _ANNOTATION.sub(b"", answer) if _is_worth_a_look(answer) else answer
    return text, text != answer


def _result(answer: bytes) -> tuple[bytes, bool]:
    """What an answer comes to, and whether it says so."""
    found = list(_RESULT.finditer(answer)) if _is_worth_a_look(answer) else []
    return (found[-1][1] or found[-1][2], True) if found else (b"", False)


def _is_worth_a_look(answer: bytes) -> bool:
    return any(sign in answer for sign in _SIGNS)


def _told(
    answers: Sequence[tuple[Int64, SegmentBatch]], items: Items, tell: Callable[[bytes], tuple[bytes, bool]]
) -> Items:
    """The items with nothing but these answers (of which item each segment is, and the segments), as `tell` says them.

    An answer of several segments counts in whole where one of them is of use.
    """
    words, lengths = [np.zeros(0, np.uint64)], np.zeros(2 * len(items), np.int64)
    for owners, batch in answers:
        text, at = batch.data.tobytes(), batch.offsets
        said = [tell(text[at[i] : at[i + 1]]) for i in range(len(batch))]
        kept = np.flatnonzero(np.isin(owners, owners[[is_of_use for _, is_of_use in said]]))
        if len(kept):
            parts = [said[i][0] for i in kept.tolist()]
            offsets = np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int64)
            data = np.frombuffer(b"".join(parts), np.uint8)
            found, ends = words_of(replace(batch.only(kept), offsets=offsets, data=data))
            words.append(found)
            lengths += np.bincount(2 * owners[kept] + 1, np.diff(ends), len(lengths)).astype(np.int64)
    text_at = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return replace(items, words=np.concatenate(words), text_at=text_at, letter=np.zeros_like(items.letter))
