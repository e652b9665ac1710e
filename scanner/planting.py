"""Rows planted among those that a rehearsal trains on, so that what copies do is measured and not assumed.

    members that stand alone -> copies {1, 2, 4, 8, 16} · near copies with R of 100 tokens replaced · other answers

A chosen member gets one treatment; rows planted for it are trained on like any other and never measured themselves.
Everything follows from the rows in content order and a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scanner.objects import Bool, Segment
from scanner.text import code_point_classes, normalise, token_spans

COPIES, REPLACED, CONFLICTS = "copies", "replaced", "conflicts"
LEVELS = {
    COPIES: (1, 2, 4, 8, 16),  # rows of this text in all
    REPLACED: (0, 5, 10, 20, 50),  # R: tokens of 100 replaced in each near copy
    CONFLICTS: (1, 3),  # rows with the same prompt and another answer
}
"""The treatments of SCIENCE 8; each is given to short and to long answers."""
NEAR_COPIES = 3
"""Near copies of a member, as in the pilots (SCIENCE 9)."""
FEWEST_ANSWER_TOKENS = 16
"""A shorter answer cannot reach N_pre >= 16, so planting for it would show nothing."""

Row = Sequence[Segment]


@dataclass(frozen=True)
class Treated:
    """A member for which rows were planted; copies at level 1 and nothing planted is the comparison."""

    member: int  # place among the rows trained on
    kind: str  # COPIES, REPLACED or CONFLICTS
    level: int
    length: str  # "short" or "long": its answer beside the median of all that could be chosen


@dataclass(frozen=True)
class Planted:
    """One planted row."""

    member: int  # the row it was made of
    kind: str
    level: int
    segments: tuple[Segment, ...]

    @property
    def is_copy(self) -> bool:
        """Whether it equals its member word for word."""
        return self.kind == COPIES or (self.kind == REPLACED and self.level == 0)


@dataclass(frozen=True)
class Planting:
    """What was planted, and for whom."""

    treated: tuple[Treated, ...]
    rows: tuple[Planted, ...]


NOTHING = Planting((), ())


def plant(rows: Sequence[Row], alone: Bool, share: float, seed: int) -> Planting:
    """Choose members and make their companions.

    rows: the rows trained on, in content order · alone (n,): the row has no copy or near copy of its own among them ·
    share: members to treat, of all rows; fewer where too few stand alone with an answer of 16 tokens.
    """
    rng = np.random.default_rng([seed, 1])
    tokens = np.array([_answer_tokens(row) for row in rows], np.int64)
    usable = np.flatnonzero(alone & (tokens >= FEWEST_ANSWER_TOKENS))
    wanted = min(round(share * len(rows)), len(usable))
    if not wanted:
        return NOTHING
    ranked = usable[np.argsort(tokens[usable], kind="stable")]
    halves = {"short": ranked[: len(ranked) // 2], "long": ranked[len(ranked) // 2 :]}
    treatments = [(kind, level) for kind, levels in LEVELS.items() for level in levels]
    treated = []
    for name, room in (("short", wanted // 2), ("long", wanted - wanted // 2)):
        for place, member in enumerate(rng.permutation(halves[name])[:room].tolist()):
            kind, level = treatments[place % len(treatments)]
            if kind != CONFLICTS or any(not segment.supervised for segment in rows[member]):  # else nothing is asked
                treated.append(Treated(member, kind, level, name))
    pool, donors = _Pool(rows), [i for i, row in enumerate(rows) if _answer_tokens(row)]
    planted = []
    for chosen in treated:
        made = _companions(rows, chosen, pool, donors, rng)
        planted += [Planted(chosen.member, chosen.kind, chosen.level, row) for row in made]
    return Planting(tuple(treated), tuple(planted))


def _companions(
    rows: Sequence[Row], chosen: Treated, pool: _Pool, donors: list[int], rng: np.random.Generator
) -> list[tuple[Segment, ...]]:
    row = tuple(rows[chosen.member])
    if chosen.kind == COPIES:
        return [row] * (chosen.level - 1)
    if chosen.kind == REPLACED:
        return [near_copy(row, chosen.level, pool, rng) for _ in range(NEAR_COPIES)]
    own = normalise(_first_answer(row))
    others: dict[str, str] = {}
    for donor in rng.permutation(donors).tolist():
        answer = _first_answer(rows[donor])
        if normalise(answer) != own:
            others.setdefault(normalise(answer), answer)
        if len(others) == chosen.level:
            break
    return [_answered(row, other) for other in others.values()]


def near_copy(row: Row, replaced: int, pool: _Pool, rng: np.random.Generator) -> tuple[Segment, ...]:
    """The row with `replaced` of 100 tokens exchanged, of what is learned and of the rest alike."""
    texts = [segment.text for segment in row]
    for learned in (True, False):
        places = [
            (i, start, end)
            for i, segment in enumerate(row)
            if segment.supervised == learned
            for start, end in token_spans(segment.text)
        ]
        drawn = rng.permutation(len(places))[: round(len(places) * replaced / 100)]
        for at in sorted(drawn.tolist(), reverse=True):  # backwards, so that earlier places stay where they are
            i, start, end = places[at]
            texts[i] = texts[i][:start] + pool.other(texts[i][start:end], rng) + texts[i][end:]
    return tuple(segment._replace(text=text) for segment, text in zip(row, texts, strict=True))


class _Pool:
    """Tokens of all rows by class, drawn as often as they occur: a word for a word, a sign for a sign."""

    def __init__(self, rows: Sequence[Row]):
        self._of: dict[int, list[str]] = {}
        for row in rows:
            for segment in row:
                for start, end in token_spans(segment.text):
                    self._of.setdefault(_class(segment.text[start]), []).append(segment.text[start:end])

    def other(self, token: str, rng: np.random.Generator) -> str:
        """Another token of the same class; itself where a few draws find none."""
        drawn = self._of[_class(token[0])]
        for at in rng.integers(len(drawn), size=8).tolist():
            if normalise(drawn[at]) != normalise(token):
                return str(drawn[at])
        return token


def _class(character: str) -> int:
    return int(code_point_classes()[ord(character)])


def _first_turn(row: Row) -> int:
    return next((segment.turn for segment in row if segment.supervised), -1)


def _first_answer(row: Row) -> str:
    first = _first_turn(row)
    return "\n".join(segment.text for segment in row if segment.supervised and segment.turn == first)


def _answer_tokens(row: Row) -> int:
    return len(token_spans(_first_answer(row)))


def _answered(row: Row, answer: str) -> tuple[Segment, ...]:
    """The row up to its first answer, with another answer in its place."""
    first = _first_turn(row)
    kept = [segment for segment in row if segment.turn <= first and segment.role != "rejected"]
    at = next(i for i, segment in enumerate(kept) if segment.supervised and segment.turn == first)
    before = [segment for segment in kept[:at] if not segment.supervised]
    return (*before, kept[at]._replace(text=answer))


def similarity(a: Row, b: Row, width: int) -> float:
    """Jaccard similarity of two rows' shingles, or of their answers' where that is smaller.

    Shingles as the near-copy kernel has them: `width` folded tokens of one segment, a shorter segment is one; system
    prompts and tool schemas are left out.
    """
    (prompt_a, answer_a), (prompt_b, answer_b) = _shingles(a, width), _shingles(b, width)
    return min(_jaccard(prompt_a | answer_a, prompt_b | answer_b), _jaccard(answer_a, answer_b))


def _shingles(row: Row, width: int) -> tuple[set[tuple[str, ...]], set[tuple[str, ...]]]:
    found: tuple[set[tuple[str, ...]], set[tuple[str, ...]]] = (set(), set())
    for segment in row:
        if segment.role in ("system", "tools", "rejected"):
            continue
        words = tuple(normalise(segment.text).split())
        long = range(max(1, len(words) - width + 1)) if words else range(0)
        found[segment.supervised].update(words[i : i + width] for i in long)
    return found


def _jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0
