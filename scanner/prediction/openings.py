"""Answers that begin alike: rows that teach one another's answers without being copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scanner.kernels.grouping import sizes_of_groups
from scanner.objects import Int64, UInt64
from scanner.ordering import row_keys

if TYPE_CHECKING:
    from scanner.prediction import Answers

LENGTH = 8
"""Tokens of an opening: half of what counts as recited."""
OTHERS = 5
"""Other rows that must begin so, each of another text."""
MANY = 0.1
"""Share of answers that begin alike from which on one cell of the fit alone is like the set (`boilerplate-1`: .19)."""
MANY_SD = 0.08
"""Standard deviation of the log of what a visit is worth to such a set, beside what else is doubtful: with it 90 %
intervals hold 34 of 38 counts of six trainings on two such sets, on which it was chosen, and 28 without."""


def doubt(share: float) -> float:
    """Of a set of whose answers this share begin alike: standard deviation of the log of what a visit is worth to it.

    Such rows teach one another, by more or less than is foretold from single tokens, and all of them at once.
    """
    return MANY_SD if share > MANY else 0.0


def shared(tokens: UInt64, answers: Answers, group: Int64) -> float:
    """Share of the rows of different text whose first answer begins as those of OTHERS other rows do.

    group (n,): equal for rows of equal text, which count once. Rows with fewer than LENGTH tokens of answer do not
    count; 0 where none has as many.
    """
    heads = answers.first()
    heads = heads[answers.end[heads] - answers.start[heads] >= LENGTH]
    heads = heads[np.unique(group[answers.row[heads]], return_index=True)[1]]
    if not len(heads):
        return 0.0
    begun = tokens[answers.start[heads][:, None] + np.arange(LENGTH)]
    return float((sizes_of_groups(row_keys(begun)) > OTHERS).mean())
