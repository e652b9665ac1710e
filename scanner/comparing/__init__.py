"""Two runs side by side (`scan diff A B`): what was compared, which rows they share, and what came out differently.

    run folders -> sides -> rows matched by content -> figures, rows whose action or prediction changed -> screen, table

No text of the data is shown: rows are named by row_id and place, with the reasons that the tables give.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from scanner.comparing import _figures, _matching, _sides
from scanner.comparing._figures import Changed, Figure
from scanner.comparing._sides import ACTIONS, Side
from scanner.errors import OutputError, SettingsError
from scanner.writing import write_bytes, write_table

if TYPE_CHECKING:
    from rich.console import Console

ENDINGS = (".parquet", ".csv", ".json")
MOVED = 0.01
"""Change of p_extract that counts as one: the last digit that is shown."""
COLUMNS = (
    "source", "line", "action", "rule_id", "p_extract", "p_whole", "expected_tokens", "exposures", "risk", "band",
    "cluster_size", "copies_exact",
)  # fmt: skip
"""Of each side, in the table."""


@dataclass(frozen=True)
class Comparison:
    """Two runs, and every row of both in one line of `pairs`."""

    a: Side
    b: Side
    how: str  # rows are matched by records, text or sketches: see _matching
    carried_out: bool  # B is what A's plan leaves of A, in order and with nothing else changed but redacted rows
    pairs: pl.DataFrame  # content, copy, status; columns of both sides with _a and _b
    changed: tuple[Changed, ...]  # versions, settings, entries of the training plan
    figures: tuple[Figure, ...]

    @property
    def same_data(self) -> bool:
        """Whether both hold the same contents, each as often."""
        return bool((self.pairs["status"] == _matching.BOTH).all())

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs: the same run, or one that came out the same."""
        same = all(figure.difference in (0, None) and figure.a == figure.b for figure in self.figures)
        return same and self.same_data and not self.changed and not len(self.moved) and not len(self.other_action)

    def rows(self, status: str) -> int:
        """Rows of one status; a row of both runs counts once."""
        return int((self.pairs["status"] == status).sum())

    @cached_property
    def shared(self) -> pl.DataFrame:
        """Rows of the same content."""
        return self.pairs.filter(pl.col("status") == _matching.BOTH)

    @cached_property
    def other_action(self) -> pl.DataFrame:
        """Rows of the same content for which the plans say something else, by kind of change."""
        there = self.shared.filter(pl.col("action_a") != pl.col("action_b"))
        return there.sort("action_a", "action_b", "rule_id_a", "rule_id_b", "content", "copy")

    @cached_property
    def moved(self) -> pl.DataFrame:
        """Rows of the same content whose p_extract changed by MOVED or more, one line per content, most changed first.

        rows: how many there are of the content in both.
        """
        change = pl.col("p_extract_b") - pl.col("p_extract_a")
        there = self.shared.with_columns(change=change).filter(pl.col("change").abs() >= MOVED)
        one = there.group_by("content").agg(pl.all().sort_by("copy").first(), rows=pl.len())
        return one.sort(pl.col("change").abs(), "content", descending=[True, False])

    @property
    def direction(self) -> tuple[int, int]:
        """Rows of the same content whose p_extract rose, and fell, by MOVED or more."""
        up = int(self.moved.filter(pl.col("change") > 0)["rows"].sum())
        return up, int(self.moved["rows"].sum()) - up

    def fates(self) -> pl.DataFrame:
        """action of A's plan, rows, and how many of them B holds as they were, changed, and not at all."""
        of = pl.col("status")
        table = (
            self.pairs.drop_nulls("row_id_a")
            .group_by(pl.col("action_a").alias("action"))
            .agg(
                rows=pl.len(),
                there=(of == _matching.BOTH).sum(),
                changed=of.is_in(_matching.CHANGED).sum(),
                gone=(of == _matching.ONLY_A).sum(),
            )
        )
        order = {action: at for at, action in enumerate(reversed(ACTIONS))}
        return table.sort(pl.col("action").replace_strict(order, default=len(order), return_dtype=pl.Int8))

    def table(self) -> pl.DataFrame:
        """One line per matched row, and per row that only one run has; A's rows in their order, then B's own.

        content: number of the content, the same for its copies · copy: from 0, so that `copy == 0` is one line per
        content · status: both, answer changed, prompt changed, only A, only B · row_id_a, row_id_b · COLUMNS of both,
        null where there is no such row or it was not measured · p_extract_change: B's less A's.
        """
        sides = [f"{name}_{side}" for name in COLUMNS for side in "ab"]
        change = (pl.col("p_extract_b") - pl.col("p_extract_a")).alias("p_extract_change")
        return self.pairs.select("content", "copy", "status", "row_id_a", "row_id_b", *sides, change)

    def facts(self) -> dict[str, Any]:
        """What the screen says but for single rows, as plain values."""
        return {
            "a": str(self.a.run.path),
            "b": str(self.b.run.path),
            "same_run": self.is_empty,
            "same_inputs": _figures.same_inputs(self.a, self.b),
            "same_weights": _figures.same_weights(self.a, self.b),
            "matched_by": self.how,
            "plan_of_a_carried_out": self.carried_out,
            "settings": [asdict(entry) for entry in self.changed],
            "rows": {status: self.rows(status) for status in _matching.STATUSES},
            "plan_of_a": self.fates().to_dicts(),
            "figures": [asdict(figure) | {"difference": figure.difference} for figure in self.figures],
            "rows_with_another_action": len(self.other_action),
            "p_extract": dict(zip(("rose_rows", "fell_rows"), self.direction, strict=True)),
        }

    def render(self, top: int = 10, console: Console | None = None) -> None:
        """Print it. top: rows that are listed of each kind of change."""
        from scanner.comparing import _screen
        from scanner.display import screen

        _screen.show(self, console or screen(), top)


def diff(a: Path, b: Path, output: Path | None = None) -> Comparison:
    """Compare two finished runs (`scan diff`); nothing is written but `output`: the table as .parquet or .csv, or
    the figures as .json.

    RunError for a folder that is no finished run or lacks what is compared, SettingsError for one folder named twice,
    OutputError for another ending.
    """
    if output and output.suffix not in ENDINGS:
        raise OutputError(f"{output}: expected a name that ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    sides = _sides.read("A", a), _sides.read("B", b)
    if a.resolve() == b.resolve():
        raise SettingsError(
            f"{a} and {b} are the same run, which differs in nothing from itself; name two run folders. `scan plan` "
            "judges a run anew in its own folder: copy that first to compare before and after"
        )
    matched = _matching.match(*sides)
    changed, figures = _figures.changed_settings(*sides), _figures.figures(*sides)
    found = Comparison(*sides, matched.how, matched.carried_out, matched.table, changed, figures)
    if output and output.suffix == ".json":
        output.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(output, (json.dumps(found.facts(), indent=1, ensure_ascii=False) + "\n").encode())
    elif output:
        write_table(output, found.table())
    return found
