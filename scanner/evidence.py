"""Text shown as evidence: excerpts, spans in context, and differences of two rows, with private spans masked.

Everything that shows a row's text (reports, explanations) asks here, so that masking is done in one place:

    masked   every private or secret span becomes its rule's placeholder, in every row where the same value stands, and
             not only where a rule found it; this is done before text is cut, compared or searched
    none     no text at all
    full     the text as it stands; a person's choice

Control characters and direction overrides are made visible in all of them: text never steers the page or terminal
that shows it.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from scanner.objects import ROLES
from scanner.rule import KINDS
from scanner.store import RunFolder
from scanner.text import masked, token_spans, visible

PRIVATE = pl.col("kind").cast(pl.String).is_in(KINDS)
"""Spans that rules for private data and secrets found; those of other kinds tell what is repeated or memorized."""
SHORTEST_VALUE = 6
"""Characters. Shorter private values are masked where a rule found them, but not looked for in other rows."""
COMPARED_TOKENS = 400
"""Tokens of each side that a difference looks at; difflib is quadratic."""
CONTEXT_TOKENS = 12
"""Tokens of equal text shown around a change."""

TextIndex = dict[int, list["SegmentText"]]


@dataclass(frozen=True)
class SegmentText:
    """One string of a row with what must not be seen of it: (start, end, label) in code points."""

    segment: int
    turn: int
    role: str
    supervised: bool
    text: str
    hidden: tuple[tuple[int, int, str], ...]

    def shown(self, start: int = 0, end: int | None = None) -> str:
        """The text from `start` to `end`, masked; a span that reaches over the edge is masked as a whole."""
        end = len(self.text) if end is None else end
        inside = [(max(a, start) - start, min(b, end) - start, label) for a, b, label in self.hidden]
        return visible(masked(self.text[start:end], [(a, b, label) for a, b, label in inside if a < b]))


@dataclass(frozen=True)
class Piece:
    """A run of text in a difference. kind: same, changed (stands on this side only), cut (equal text left out)."""

    kind: str
    text: str


@dataclass(frozen=True)
class Difference:
    """Two texts side by side; `complete` is False where they were too long to be compared to their ends."""

    left: tuple[Piece, ...]
    right: tuple[Piece, ...]
    complete: bool


class Evidence:
    """The text of some rows of a run, under one policy: masked, none or full.

    `beside`: what is shown next to it; its private values are masked here too.
    """

    def __init__(self, run: RunFolder, policy: str = "masked", beside: Evidence | None = None):
        self.policy = policy
        self._beside = beside
        self._run = run
        self._loaded: TextIndex = {}
        self._spans: pl.DataFrame | None = None
        self._values: dict[str, str] | None = None
        self.missing = ""
        if policy == "none":
            self.missing = "text not shown (--text none)"
        elif not run.segments_path.exists():
            self.missing = "text not shown: it was purged from the run folder"

    def load(self, row_ids: Iterable[int]) -> None:
        """Read the text of these rows; rows that are loaded already are left alone."""
        wanted = sorted(set(row_ids) - self._loaded.keys())
        if self.missing or not wanted:
            return
        frame = self._run.segments().rows(wanted).with_columns(pl.col("role").cast(pl.String))
        found = self._elsewhere(frame["text"]) if self.policy == "masked" else []
        spans: dict[tuple[int, int], list[tuple[int, int, str]]] = {}
        if self.policy == "masked":
            for row_id, segment, start, end, label in self._private_spans(wanted).iter_rows():
                spans.setdefault((row_id, segment), []).append((start, end, label))
        self._loaded.update((row_id, []) for row_id in wanted)
        columns = frame.select("row_id", "segment", "turn", "role", "supervised", "text").iter_rows()
        for at, (row_id, segment, turn, role, supervised, text) in enumerate(columns):
            hidden = spans.get((row_id, segment), []) + (_places(text, found[at]) if found else [])
            part = SegmentText(segment, turn, role, supervised, text, tuple(sorted(hidden)))
            self._loaded[row_id].append(part)

    def masked_rows(self) -> set[int]:
        """The rows of which something is masked where a rule found it; none where text is not shown, or in full."""
        if self.missing or self.policy != "masked":
            return set()
        return set(self._private_spans()["row_id"].to_list())

    def segments(self, row_id: int) -> list[SegmentText]:
        """The strings of one row in order; none where text is not shown."""
        self.load([row_id])
        return self._loaded.get(row_id, [])

    def answer_segment(self, row_id: int) -> SegmentText | None:
        """The longest supervised string of a row, the one whose memorization matters most."""
        learned = [part for part in self.segments(row_id) if part.supervised]
        return max(learned, key=lambda part: len(part.text), default=None)

    def answer(self, row_id: int, limit: int = 280) -> str:
        """An excerpt of the longest supervised answer."""
        part = self.answer_segment(row_id)
        return shortened(part.shown(), limit) if part else ""

    def prompt(self, row_id: int, limit: int = 160) -> str:
        """An excerpt of what stands before that answer: its last user turn, or whatever else there is."""
        answer = self.answer_segment(row_id)
        turn = answer.turn if answer else len(ROLES) + max((p.turn for p in self.segments(row_id)), default=0)
        before = [p for p in self.segments(row_id) if p.turn < turn and not p.supervised]
        users = [p for p in before if p.role == "user"] or before
        last = [p for p in users if p.turn == users[-1].turn] if users else []
        return shortened("\n".join(p.shown() for p in last if p.text), limit)

    def in_context(self, row_id: int, segment: int, start: int, end: int, around: int = 48) -> tuple[str, str, str]:
        """What stands before, in and after a span, each masked; empty where text is not shown."""
        part = next((p for p in self.segments(row_id) if p.segment == segment), None)
        if part is None:
            return "", "", ""
        low, high = max(0, start - around), min(len(part.text), end + around)
        before, after = part.shown(low, start), part.shown(end, high)
        return ("…" if low else "") + before, part.shown(start, end), after + ("…" if high < len(part.text) else "")

    def difference(self, left: int, right: int) -> Difference | None:
        """Two rows side by side, token by token; None where text is not shown."""
        self.load([left, right])
        if self.missing:
            return None
        return difference(self._whole(left), self._whole(right))

    def _whole(self, row_id: int) -> str:
        said = [p for p in self.segments(row_id) if p.role not in ("system", "tools")]
        return "\n".join(p.shown() for p in said if p.text)

    def _private_spans(self, row_ids: list[int] | None = None) -> pl.DataFrame:
        if self._spans is None:
            columns = ["row_id", "segment", "start", "end", "rule_id", "preview", "kind"]
            table = self._run.read_table("spans", columns)
            table = table.filter(PRIVATE)
            label = pl.struct(pl.col("rule_id", "preview").cast(pl.String))
            label = label.map_elements(lambda s: label_of(s["rule_id"], s["preview"]), return_dtype=pl.String)
            self._spans = table.select("row_id", "segment", "start", "end", label.alias("label"))
        if row_ids is None:
            return self._spans
        return self._spans.filter(pl.col("row_id").is_in(row_ids))

    def _private_values(self) -> dict[str, str]:
        """Every private value of the run with its label; a value found in one row is masked in all."""
        if self._values is None:
            self._values = dict(self._beside._private_values()) if self._beside else {}
            spans = self._private_spans()
            ids = spans["row_id"].unique().sort()
            for at in range(0, len(ids), 20_000):  # rows at a time, so that never all text is in memory
                some = ids.slice(at, 20_000).to_list()
                rows = self._run.segments().rows(some, ["row_id", "segment", "text"]).iter_rows()
                texts = {(row_id, segment): text for row_id, segment, text in rows}
                some_spans = spans.filter(pl.col("row_id").is_in(some))
                # subtle: polars would count code points from the beginning of a text for each of its spans
                for row_id, segment, start, end, label in some_spans.iter_rows():
                    found = texts[row_id, segment][start:end]
                    if len(found.strip()) >= SHORTEST_VALUE:
                        self._values.setdefault(found, label)
        return self._values

    def _elsewhere(self, texts: pl.Series) -> list[list[tuple[str, str]]]:
        """Per text, the private values of other rows that stand in it too."""
        values = self._private_values()
        if not values or not len(texts):
            return []
        hits = texts.str.extract_many(pl.Series(list(values)).implode(), overlapping=True).to_list()
        return [[(value, values[value]) for value in dict.fromkeys(hit or ())] for hit in hits]


def label_of(rule_id: str, preview: str | None) -> str:
    """The name in a span's placeholder: the one its preview opens with ("[EMAIL] 21 chars"), else its rule's."""
    found = re.match(r"\[([A-Z0-9_]{1,40})\]", preview or "")
    return found[1] if found else rule_id.rsplit("/", 1)[-1].upper().replace("-", "_") or "PRIVATE"


def shortened(text: str, limit: int) -> str:
    """The beginning of a text, cut at a word's end where there is one."""
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    word = head.rsplit(maxsplit=1)[0] if " " in head[limit // 2 :] else head
    return word.rstrip() + "…"


def difference(left: str, right: str) -> Difference:
    """Compare two texts token by token; equal stretches longer than the context are left out."""
    skipped = _long_beginning(left, right)
    left, right = left[skipped:], right[skipped:]
    a, b = _tokens(left), _tokens(right)
    complete = sum(map(len, a)) == len(left) and sum(map(len, b)) == len(right)
    head_of_both = [Piece("cut", f" {skipped:,} equal characters ")] if skipped else []
    sides: tuple[list[Piece], list[Piece]] = (head_of_both[:], head_of_both[:])
    matcher = difflib.SequenceMatcher(None, [t.strip() for t in a], [t.strip() for t in b], autojunk=False)
    steps = matcher.get_opcodes()
    for at, (tag, a1, a2, b1, b2) in enumerate(steps):
        for side, tokens in ((sides[0], a[a1:a2]), (sides[1], b[b1:b2])):
            if tag != "equal":
                text = "".join(tokens)
                space = text[len(text.rstrip()) :]  # outside the mark, where it would look like a change
                side += [Piece("changed", text.rstrip()), Piece("same", space)] if text.strip() else []
                continue
            head = CONTEXT_TOKENS if at else 0
            tail = CONTEXT_TOKENS if at + 1 < len(steps) else 0
            if len(steps) == 1:
                head = 2 * CONTEXT_TOKENS
            if len(tokens) <= head + tail + 4:
                side.append(Piece("same", "".join(tokens)))
                continue
            left_out = Piece("cut", f" {len(tokens) - head - tail} equal tokens ")
            end = tokens[len(tokens) - tail :] if tail else []
            around = (Piece("same", "".join(tokens[:head])), left_out, Piece("same", "".join(end)))
            side += [piece for piece in around if piece.text]
    return Difference(tuple(sides[0]), tuple(sides[1]), complete)


def _long_beginning(left: str, right: str) -> int:
    """Characters at the start of both texts that need not be compared: equal, long, and well before any change."""
    if left == right:
        return 0
    shortest = min(len(left), len(right))
    equal = next((i for i in range(shortest) if left[i] != right[i]), shortest)
    start = max(0, equal - 20 * CONTEXT_TOKENS)
    edges = [begin for begin, _ in token_spans(left[start:equal])][1:]
    return start + edges[-CONTEXT_TOKENS] if start and len(edges) >= CONTEXT_TOKENS else 0


def _tokens(text: str) -> list[str]:
    """The text's first COMPARED_TOKENS tokens, each with the space after it; joined they give its beginning back."""
    text = text[: 20 * COMPARED_TOKENS]
    starts = [start for start, _ in token_spans(text)]
    if not starts:
        return [text] if text else []
    edges = [0, *starts[1:], len(text)][: COMPARED_TOKENS + 1]
    return [text[i:j] for i, j in itertools.pairwise(edges)]


def _places(text: str, values: list[tuple[str, str]]) -> list[tuple[int, int, str]]:
    found = []
    for value, label in values:
        at = text.find(value)
        while at >= 0:
            found.append((at, at + len(value), label))
            at = text.find(value, at + 1)
    return found
