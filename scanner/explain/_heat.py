"""The heat of one row's answer in words and lines: what would come out, with what chance, and what lies in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl
from rich.console import Console
from rich.text import Text

from scanner.evidence import Evidence
from scanner.figures import plural
from scanner.heat import FROM_START, Shade, kept, memorized, private_inside, shades
from scanner.store import RunFolder
from scanner.text import one_line

SHADES = 30
"""Lines of heat that are shown; the rest are counted."""
LINE = 800
"""Characters of each."""
NAMED = 5
"""Later stretches that are named with their tokens."""
BAR = 5
STYLES = ((0.9, "bold red"), (0.5, "yellow"), (0.0, "dim"))
"""Colour by heat, for terminals that have them; the number and the bar say the same."""
UNITS = "chance per token, the text before it being the true one; * = predicted to be memorized"


@dataclass(frozen=True)
class Heated:
    """What is predicted of one row's text, stretch by stretch."""

    from_start: tuple[tuple[int, float], ...]  # tokens and chance of each, one per answer at most
    later: tuple[tuple[int, float], ...]
    private: int  # private and secret spans that lie within one of them
    private_chance: float  # the largest chance of the stretches around them
    shades: tuple[Shade, ...]  # of its longest answer; empty where no heat was kept

    def sentence(self) -> str:
        """What comes out, in one or two sentences; empty where no stretch does."""
        parts = [
            f"{plural(tokens, 'token')} from the start (chance {chance:.2f})" for tokens, chance in self.from_start
        ]
        if self.later:
            named = ", ".join(f"{plural(tokens, 'token')} ({chance:.2f})" for tokens, chance in self.later[:NAMED])
            more = len(self.later) - NAMED
            rest = f" and {plural(more, 'more stretch', 'more stretches')}" if more > 0 else ""
            parts.append(f"once the answer has come so far, {named}{rest}")
        if not parts:
            return ""
        told = f"Predicted to come out word for word: {'; '.join(parts)}."
        if self.private:
            spans = "1 marked span lies" if self.private == 1 else f"{self.private} marked spans lie"
            told += f" {spans} in these (chance up to {self.private_chance:.2f}): look here first."
        return told


def heated(run: RunFolder, spans: pl.DataFrame, row_id: int, evidence: Evidence) -> Heated:
    """Memorized spans and shades of one row; spans: spans.parquet."""
    mine = spans.filter(pl.col("row_id") == row_id)
    stretches = memorized(mine).sort("segment", "start")
    inside = private_inside(mine)
    at_start = pl.col("rule_id").cast(pl.String) == FROM_START
    shown = shades(kept(run, [row_id], evidence), row_id, evidence.answer_segment(row_id))
    worst = inside["chance"].max()
    return Heated(
        from_start=_listed(stretches.filter(at_start)),
        later=_listed(stretches.filter(~at_start)),
        private=len(inside),
        private_chance=float(worst) if isinstance(worst, float) else 0.0,
        shades=shown,
    )


def _listed(stretches: pl.DataFrame) -> tuple[tuple[int, float], ...]:
    """Tokens and chance of each; runs of older versions hold none."""
    return tuple(stretches.select("tokens", "score").iter_rows()) if len(stretches) else ()


def render(told: Heated, console: Console, plain: Callable[[str, str], Text]) -> None:
    """One line per shade: its heat, a bar, its text."""
    for shade in told.shades[:SHADES]:
        style = next(name for least, name in STYLES if shade.p >= least)
        bar = ("#" * round(shade.p * BAR)).ljust(BAR)
        mark = "*" if shade.score else " "
        line = plain(f"{shade.p:.2f} {bar} {mark} ", "dim")
        console.print(line.append_text(plain(one_line(shade.text, LINE), style)))
    if len(told.shades) > SHADES:
        console.print(plain(f"and {plural(len(told.shades) - SHADES, 'more stretch', 'more stretches')}", "dim"))
