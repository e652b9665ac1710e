"""Where the answers to one prompt part: before that their rows teach the same, past it they contradict each other."""

from __future__ import annotations

import numpy as np

from scanner.objects import Float64, Int64, UInt64
from scanner.prediction import Answers, Conflicts


def conflicts(tokens: UInt64, answers: Answers, asked: Int64, share: Float64) -> Conflicts:
    """The first token in which the first answers of rows with one prompt differ.

    asked (n,): equal for rows with the same prompt and several answers to it, -1 for all others · share (n,): of the
    row's answer among those to its prompt. Answers of which one is the beginning of the others part where it ends.
    """
    place = np.full(len(asked), -1, np.int64)
    first = np.full(len(asked), -1, np.int64)
    heads = answers.first()
    first[answers.row[heads]] = heads
    torn = np.flatnonzero((asked >= 0) & (first >= 0))
    torn = torn[np.argsort(asked[torn], kind="stable")]
    for members in np.split(torn, np.flatnonzero(np.diff(asked[torn])) + 1) if len(torn) else []:
        texts = [tokens[answers.start[first[i]] : answers.end[first[i]]] for i in members]
        shortest = min(map(len, texts))
        block = np.stack([text[:shortest] for text in texts])
        differs = np.flatnonzero((block != block[0]).any(axis=0))
        place[members] = differs[0] if len(differs) else shortest
    return Conflicts(place, share)
