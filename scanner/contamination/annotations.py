"""What a benchmark writes into its answers and data made of it often leaves out: GSM8K's sums and its last line.

"48/2 = <<48/2=24>>24 clips.\\n#### 24" says what "48/2 = 24 clips." says. The sums are for a calculator, the last line
is for the grader (Cobbe et al., Training Verifiers to Solve Math Word Problems, 2021, sections 2 and 4.1). Others keep
the result alone: 24 of that line, or x of MATH's \\boxed{x} (Hendrycks et al., 2021).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from scanner.contamination.items import Items, words_of
from scanner.objects import SegmentBatch

_ANNOTATION = re.compile(rb"<<[^<>\n]*=[^<>\n]*>>|\n####[ \t]*[-$]*\d[\d.,]*\s*\Z")
_RESULT = re.compile(rb"(?:\A|\n)####[ \t]*([-$]*\d[\d.,]*)\s*\Z|\\boxed\{([^{}]+)\}")


def without_annotations(reader: Iterable[SegmentBatch], items: Items) -> Items:
    """The items with nothing but the answers that hold annotations, these taken out; all other texts are empty.

    reader: the segments of the evaluation rows.
    """

    def bare(answer: bytes) -> tuple[bytes, bool]:
        text = _ANNOTATION.sub(b"", answer)
        return text, text != answer

    return _answers_alone(reader, items, bare)


def results(reader: Iterable[SegmentBatch], items: Items) -> Items:
    """The items with nothing but the results that their answers come to, the last where there are several."""

    def result(answer: bytes) -> tuple[bytes, bool]:
        *_, last = [None, *_RESULT.finditer(answer)]
        return (b"", False) if last is None else (last[1] or last[2], True)

    return _answers_alone(reader, items, result)


def _answers_alone(reader: Iterable[SegmentBatch], items: Items, told: Callable[[bytes], tuple[bytes, bool]]) -> Items:
    """The items with nothing but answers, as `told` says them, which also says whether that is of any use."""
    words, lengths = [np.zeros(0, np.uint64)], np.zeros(2 * len(items), np.int64)
    for batch in reader:
        text, at = batch.data.tobytes(), batch.offsets
        inside = slice(batch.first, batch.first + len(batch))
        places = np.flatnonzero(items.part[inside] == 1)
        said = [told(text[at[place] : at[place + 1]]) for place in places.tolist()]
        owners = items.of_segment[inside][places]
        of_use = owners[[is_of_use for _, is_of_use in said]]
        kept = np.flatnonzero(np.isin(owners, of_use))
        if len(kept):
            parts = [said[i][0] for i in kept.tolist()]
            offsets = np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int64)
            data = np.frombuffer(b"".join(parts), np.uint8)
            found, ends = words_of(replace(batch.only(places[kept]), offsets=offsets, data=data))
            words.append(found)
            lengths += np.bincount(2 * owners[kept] + 1, np.diff(ends), len(lengths)).astype(np.int64)
    text_at = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return replace(items, words=np.concatenate(words), text_at=text_at, letter=np.zeros_like(items.letter))
