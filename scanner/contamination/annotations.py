"""What a benchmark writes into its answers and data made of it often leaves out: GSM8K's sums and its last line.

"48/2 = <<48/2=24>>24 clips.\\n#### 24" says what "48/2 = 24 clips." says. The sums are for a calculator, the last line
is for the grader (Cobbe et al., Training Verifiers to Solve Math Word Problems, 2021, sections 2 and 4.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from scanner.contamination.items import Items, words_of
from scanner.objects import SegmentBatch

_ANNOTATION = re.compile(rb"<<[^<>\n]*=[^<>\n]*>>|\n####[ \t]*[-$]*\d[\d.,]*\s*\Z")


def without_annotations(reader: Iterable[SegmentBatch], items: Items) -> Items:
    """The items with nothing but the answers that hold annotations, these taken out; all other texts are empty.

    reader: the segments of the evaluation rows.
    """
    words, lengths = [np.zeros(0, np.uint64)], np.zeros(2 * len(items), np.int64)
    for batch in reader:
        text, at = batch.data.tobytes(), batch.offsets
        inside = slice(batch.first, batch.first + len(batch))
        places = np.flatnonzero(items.part[inside] == 1)
        said = [text[at[place] : at[place + 1]] for place in places.tolist()]
        bare = [_ANNOTATION.sub(b"", answer) for answer in said]
        owners = items.of_segment[inside][places]
        annotated = owners[[short != long for short, long in zip(bare, said, strict=True)]]
        kept = np.flatnonzero(np.isin(owners, annotated))
        if len(kept):
            parts = [bare[i] for i in kept.tolist()]
            offsets = np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int64)
            data = np.frombuffer(b"".join(parts), np.uint8)
            found, ends = words_of(replace(batch.only(places[kept]), offsets=offsets, data=data))
            words.append(found)
            lengths += np.bincount(2 * owners[kept] + 1, np.diff(ends), len(lengths)).astype(np.int64)
    text_at = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return replace(items, words=np.concatenate(words), text_at=text_at, letter=np.zeros_like(items.letter))
