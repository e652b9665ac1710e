"""A comparison on the screen: what was compared, rows, figures, and the rows that changed most; no text of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scanner.comparing import _matching
from scanner.comparing._figures import Figure, same_inputs, same_weights, shared_inputs
from scanner.comparing._sides import ACTIONS, Side
from scanner.display import Page
from scanner.figures import number, plural, probability, size
from scanner.objects import EXTRACTED
from scanner.text import one_line

if TYPE_CHECKING:
    from scanner.comparing import Comparison

INPUTS = 3
"""Inputs of a side that are named; the rest are counted."""
NARROW = 76
"""Characters below which the dose is left out."""
ONE_WAY = 10
"""Rows that must move, all one way, before that is said."""
CELL = 44
"""Characters of a setting's value."""
HOW = {
    "records": "by record: both hold the same ones",
    "text": "by the text that is trained on, with its roles",
    "sketches": "by signature and length, since text was purged: not proven equal",
}


def show(found: Comparison, console: Console, top: int) -> None:
    """Print a comparison; names and reasons cannot steer the terminal."""
    _Screen(found, console).show(top)


class _Screen(Page):
    def __init__(self, found: Comparison, console: Console):
        super().__init__(console)
        self.found = found

    def grid(
        self,
        heads: Sequence[str],
        lines: Sequence[Sequence[str | Text]],
        right: Sequence[int],
        folding: Sequence[int] = (0,),
    ) -> None:
        """A table without frames; columns `right` hold numbers, the columns `folding` wrap where there is no room."""
        table = Table.grid(padding=(0, 2, 0, 0))
        for at in range(len(heads)):
            table.add_column(justify="right" if at in right else "left", no_wrap=at not in folding, overflow="fold")
        table.add_row(*(self.plain(head, "dim") for head in heads))
        for line in lines:
            table.add_row(*(self.plain(cell) if isinstance(cell, str) else cell for cell in line))
        self.console.print(table)

    def show(self, top: int) -> None:
        found = self.found
        for side in (found.a, found.b):
            self.say(f"{side.name}  {one_line(str(side.run.path), 60)}: {_inputs(side)}")
        for line in self._compared():
            self.say(line)
        if found.is_empty:
            self.say("The same run: nothing differs.", "bold")
            return
        if found.changed:
            self.heading("Settings that differ")
            lines = [(c.name, one_line(c.a, CELL), one_line(c.b, CELL)) for c in found.changed]
            self.grid(("", "A", "B"), lines, (), folding=(1, 2))
        self._rows()
        self._figures()
        self._actions(top)
        self._moved(top)

    def _compared(self) -> list[str]:
        found = self.found
        if same_inputs(found.a, found.b):
            data = "Inputs: the same bytes"
        elif found.same_data and found.how == "records":
            data = "Inputs: other bytes, the same records"
        else:
            shared = shared_inputs(found.a, found.b)
            data = "Inputs: other bytes" + (f", {plural(shared, 'file')} in common" if shared else "")
        same = "" if found.changed else "; settings, training plan and versions: the same"
        lines = [f"{data}{same}"]
        if same and same_inputs(found.a, found.b) and not found.is_empty:
            lines.append("The program, or a file that the settings name, changed between the two: the results differ.")
        if same_weights(found.a, found.b) is False:
            lines.append("Other weights: the two were predicted by other versions, so chances differ for that alone.")
        return lines

    def _rows(self) -> None:
        found = self.found
        self.heading("Rows")
        if found.same_data:
            self.say(f"The same {plural(len(found.pairs), 'row')} in both; matched {HOW[found.how]}.")
            return
        counts = {status: found.rows(status) for status in _matching.STATUSES}
        changed = sum(counts[status] for status in _matching.CHANGED)
        parts = [f"{number(counts[_matching.BOTH])} in both"]
        if changed:
            answers, prompts, twice = (counts[status] for status in _matching.CHANGED)
            sides = f"{plural(answers, 'answer')}, {plural(prompts, 'prompt')}, {number(twice)} otherwise"
            parts.append(f"{number(changed)} changed ({sides})")
        parts += [f"{number(counts[_matching.ONLY_A])} only in A", f"{number(counts[_matching.ONLY_B])} only in B"]
        self.say(f"{', '.join(parts)}; matched {HOW[found.how]}, copies counted.")
        fates = found.fates()
        heads = ("A's plan", "rows", "in B as they were", "changed", "not in B")
        self.grid(heads, [(row[0] or "none", *map(number, row[1:])) for row in fates.iter_rows()], (1, 2, 3, 4))
        for line in [*self._verdict(fates), *self._new()]:
            self.say(line)

    def _new(self) -> list[str]:
        """What B's plan does with the rows that only B has."""
        new = self.found.pairs.filter(pl.col("status") == _matching.ONLY_B)
        counted = dict(new["action_b"].value_counts().iter_rows())
        told = [f"{action} {number(counted[action])}" for action in reversed(ACTIONS) if action in counted]
        return [f"B's plan for the rows that only B has: {', '.join(told)}."] if told else []

    def _verdict(self, fates: pl.DataFrame) -> list[str]:
        """Whether B is A without what A's plan takes out."""
        if not len(self.found.shared):
            return ["No row of A stands in B as it was."]
        beside = (pl.col("action_a") == "redact") & ~pl.col("sensitive_a")
        unread = len(self.found.shared.filter(beside))
        left = dict(self.found.shared.filter(~beside)["action_a"].value_counts().iter_rows())
        asked = {action: rows for action, rows, _, _, _ in fates.iter_rows()}
        lost = {action: gone for action, _, _, _, gone in fates.iter_rows()}
        lines = []
        if self.found.carried_out:
            lines.append("B is what A's plan leaves of A: each row in its place, none changed but those to redact.")
        if asked.get("drop") or asked.get("redact"):
            still = {action: left.get(action, 0) for action in ("drop", "redact")}
            parts = [plural(count, f"row to {what}", f"rows to {what}") for what, count in still.items() if count]
            lines.append(
                f"Of what A's plan takes out, B still holds {' and '.join(parts)} as before."
                if parts
                else "Nothing that A's plan drops or redacts stands in B as it was."
            )
        if unread:
            held = plural(unread, "row is", "rows are")
            lines.append(
                f"{held} to be redacted only in fields that no trainer reads, which are not compared (scan verify "
                "looks into them)."
            )
        sensitive = self.found.shared.filter("sensitive_a")
        if len(sensitive):
            stand = "stands" if len(sensitive) == 1 else "stand"
            held = plural(len(sensitive), "row")
            lines.append(f"{held} in which A found private data or secrets {stand} in B unchanged.")
        if lost.get("redact") and self.found.rows(_matching.ONLY_B):
            lines.append("A row that was changed beyond recognition counts as gone, and as new.")
        gone = lost.get("keep", 0) + lost.get("review", 0)
        if gone:
            lines.append(f"Not in B, though A's plan leaves {'it' if gone == 1 else 'them'} in: {plural(gone, 'row')}.")
        return lines

    def _figures(self) -> None:
        self.heading("Figures")
        shown = [f for f in self.found.figures if f.a or f.b or (f.a is None) != (f.b is None)]
        lines = []
        for figure in (f for f in shown if f.a != f.b):
            lines.append((figure.what, *map(figure.written, "AB"), _difference(figure)))
            if figure.interval_a and figure.interval_b:
                meet = {True: "overlap", False: "apart", None: "–"}[figure.overlaps]
                lines.append(("  90 % interval", *map(figure.interval, "AB"), meet))
        if lines:
            self.grid(("", "A", "B", "B - A"), lines, (1, 2, 3))
        same = [f"{f.what} {f.written('A')}" for f in shown if f.a == f.b]
        if same:
            self.say(f"The same in both: {'; '.join(same)}.", "dim")
        for line in self._told():
            self.say(line)

    def _told(self) -> list[str]:
        """How far the predicted numbers of recited answers can be told apart."""
        found = self.found
        expected = next(f for f in found.figures if f.interval_a or f.interval_b or f.part == "Predicted")
        lines = []
        if not expected.one_unit:
            lines.append(
                "What is recited or memorized cannot be compared, nor can chances (p_extract): "
                f"{EXTRACTED} tokens are other lengths of text in A and in B."
            )
        if expected.overlaps and expected.difference:
            up, down = found.direction
            told = "no difference that the prediction could tell"
            if bool(up) != bool(down) and up + down >= ONE_WAY:
                way = f"{'up' if up else 'down'} by .01 or more in {plural(up or down, 'row')}"
                told = f"how large the difference is cannot be told; p_extract goes one way, {way}"
            lines.append(f"Recited answers: the 90 % intervals overlap: {told}.")
        elif expected.overlaps is False:
            lines.append("Recited answers: the 90 % intervals do not overlap.")
        outside = [side.name for side in (found.a, found.b) if side.is_outside]
        if outside:
            lines.append(f"In {' and '.join(outside)} the number of recited answers lies outside what was validated.")
        return lines

    def _actions(self, top: int) -> None:
        table = self.found.other_action
        if not len(table):
            if len(self.found.shared):
                self.heading("Actions")
                self.say("The plans say the same of every row that is in both.")
            return
        self.heading(f"Actions: {plural(len(table), 'row')} of those in both")
        kinds = table.group_by("action_a", "rule_id_a", "action_b", "rule_id_b", maintain_order=True).len()
        kinds = kinds.sort("len", descending=True, maintain_order=True)
        steps = [
            (number(count), f"{_step(a, rule_a)} → {_step(b, rule_b)}")
            for a, rule_a, b, rule_b, count in kinds.head(top).iter_rows()
        ]
        self.grid(("rows", "A's plan → B's plan"), steps, (0,), folding=(1,))
        if len(kinds) > top:
            self.say(f"and {plural(len(kinds) - top, 'more kind')} of change", "dim")
        shown = _spread(table, top)
        lines = [
            (str(r["row_id_a"]), str(r["row_id_b"]), f"{r['action_a']} → {r['action_b']}", self._place(r, _why(r)))
            for r in shown.iter_rows(named=True)
        ]
        self.say("")
        self.grid(("row in A", "in B", "action", "stands at (A), why"), lines, (0, 1), folding=(3,))

    def _place(self, row: dict[str, object], more: str) -> Text:
        """Where A's row stands, and something on it below."""
        place = self.plain(one_line(f"{row['source_a']}:{row['line_a']}", 40))
        return place.append("\n").append_text(self.plain(more, "dim")) if more else place

    def _moved(self, top: int) -> None:
        shared, moved = self.found.shared, self.found.moved
        measured = shared.drop_nulls(["p_extract_a", "p_extract_b"])
        if not len(measured):
            return
        self.heading("Chance of being recited (p_extract), rows in both")
        up, down = self.found.direction
        self.say(f"{number(len(measured))} measured in both: {number(up)} rose by .01 or more, {number(down)} fell.")
        if not len(moved):
            return
        lines: list[list[str | Text]] = [
            [
                str(r["row_id_a"]), str(r["row_id_b"]), probability(r["p_extract_a"]), probability(r["p_extract_b"]),
                f"{number(r['exposures_a'], 1)} → {number(r['exposures_b'], 1)}",
                r["band_a"] if r["band_a"] == r["band_b"] else f"{r['band_a']} → {r['band_b']}",
                self._place(r, f"{number(r['rows'])} copies" if r["rows"] > 1 else ""),
            ]
            for r in moved.head(top).iter_rows(named=True)
        ]  # fmt: skip
        heads = ["row in A", "in B", "p in A", "in B", "dose (visits)", "band", "stands at (A)"]
        if self.console.width < NARROW:
            heads, lines = heads[:4] + heads[5:], [line[:4] + line[5:] for line in lines]
        self.grid(heads, lines, range(len(heads) - 2), folding=(len(heads) - 1,))
        if len(moved) > top:
            self.say(f"and {plural(len(moved) - top, 'more content')}; --output FILE lists every row", "dim")


def _inputs(side: Side) -> str:
    sources = side.scan.get("inputs") or []
    named = ", ".join(one_line(str(source.get("name")), 40) for source in sources[:INPUTS])
    more = f" and {len(sources) - INPUTS} more" if len(sources) > INPUTS else ""
    total = sum(source.get("bytes") or 0 for source in sources)
    return f"{named}{more}, {size(total)}, {plural(side.scan.get('rows_read'), 'row')}"


def _difference(figure: Figure) -> str:
    change = figure.difference
    if change is None:
        return "–"
    if 0 < abs(change) < 0.05:
        return "≈ 0"
    digits = 0 if change == int(change) else 1 if abs(change) < 100 else 0
    return f"{change:+,.{digits}f}"


def _step(action: str, rule: str | None) -> str:
    return f"{action} ({rule})" if rule else action


def _why(row: dict[str, object]) -> str:
    """Why B's plan does what it does; where it leaves the row alone, why A's plan did not."""
    side = "a" if row["action_b"] == "keep" else "b"
    return one_line(f"{side.upper()}: {row[f'why_{side}']}", 160) if row[f"why_{side}"] else ""


def _spread(table: pl.DataFrame, top: int) -> pl.DataFrame:
    """At most so many rows, the first of every kind of change before the second of any."""
    nth = pl.int_range(pl.len()).over("action_a", "action_b", "rule_id_a", "rule_id_b")
    return table.with_columns(nth=nth).sort("nth", maintain_order=True).head(top)
