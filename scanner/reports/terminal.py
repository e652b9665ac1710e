"""One screen: what was read and found, how skewed it is, the worst rows, and what to do next."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import accumulate

from rich.cells import cell_len
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from scanner.display import plain, shows_unicode
from scanner.evidence import shortened
from scanner.reports import _confirmed, _earlier, _keeping, _private, _reasons, _training, _verdict, _whatif
from scanner.reports import _words as words
from scanner.reports._content import Content, gather
from scanner.reports._heat import sentences as memorized
from scanner.reports._riskiest import RiskRow
from scanner.reports._templates import sentences
from scanner.store import RunFolder
from scanner.text import one_line

NAME = "terminal"
EXTENSION = "txt"
WIDTH = 100
ROWS = 5
BAND_STYLE = {"high": "bold red", "medium": "yellow", "low": "", "none": "dim"}


def render(run: RunFolder, text: str = "masked") -> bytes:
    """The screen as plain text, 100 columns wide, without colour."""
    out = io.StringIO()
    show(run, Console(file=out, width=WIDTH, color_system=None, force_terminal=False, legacy_windows=False), text)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines()).encode()


def show(run: RunFolder, console: Console, text: str = "masked", fixed: bool = False) -> None:
    """Print the screen to a rich console; hostile text cannot steer it, and without Unicode it falls back to ASCII.

    fixed: whether the cleaned data set is written next anyway (`--fix`), so that there is no command to show for it.
    """
    content = gather(run, text, top=ROWS, details=False)
    screen = _Screen(content, console.width, shows_unicode(console))
    console.print(screen.render())
    console.print(screen.plain("Next", "bold"))
    for step in screen.next_steps(fixed):
        console.print(step, soft_wrap=True)  # a command that is broken by us cannot be copied


def _fitting(text: str, cells: int) -> str:
    """One line of so many cells at most; a Chinese character takes two."""
    text = one_line(text, len(text) + 1)
    characters = next((i for i, width in enumerate(accumulate(map(cell_len, text))) if width > cells), len(text))
    return shortened(text, max(1, characters))


class _Screen:
    """Lays the parts out under a column of labels."""

    def __init__(self, content: Content, width: int, unicode: bool):
        self.content, self.unicode = content, unicode
        self.narrow = width < 76
        self.width = width - (0 if self.narrow else 11)

    def plain(self, text: str, style: str = "") -> Text:
        return plain(text, self.unicode, style)

    def render(self) -> Group:
        summary, scan = self.content.summary, self.content.scan
        asked, tuned = _whatif.lines(self.content.whatif, scan), _confirmed.short(summary)
        parts: list[tuple[str, Sequence[Text | Table]]] = [
            ("Read", self._read()),
            ("Found", [self._found(), *self._lines([_private.NOT_SOUGHT])]),
            ("Training", self._lines([_training.premise(scan, brief=True)])),
            ("Skew", self._skew()),
            *([("What if", self._lines(asked))] if asked else []),
            *([("Tuned", self._lines(tuned))] if tuned else []),
            *([("", [self.plain(words.calibration(summary), "dim")])] if summary["skew"]["rows"] else []),
            ("Top rows", [self._top()] if self.content.top else self._lines([f"none: {self.content.no_top}"])),
            (
                "Plan",
                self._lines(
                    [
                        *words.brake(scan),
                        words.planned(summary),
                        words.renames(summary),
                        *_reasons.for_review(scan),
                        *_keeping.lines(scan),
                    ]
                ),
            ),
        ]
        wrapped = sentences(scan.get("notes") or {})
        if wrapped:
            parts.insert(2, ("Template", self._lines(wrapped[:3])))
        contaminated = words.contamination(summary)
        if contaminated:
            parts.insert(2, ("Overlap", self._lines(contaminated)))
        known = [*_earlier.lines(summary), *_earlier.warnings(scan)]
        if known:
            parts.insert(2, ("Earlier", [self.plain(one_line(line, 4 * self.width)) for line in known]))
        elapsed = sum((scan.get("timings") or {}).values())
        title = self.plain(one_line(self.content.name, max(20, self.width - 30)), "bold")
        title.append_text(self.plain(f"  ·  {elapsed:.1f} s", "dim"))
        body: list[Text | Table] = [title, self.plain(_verdict.headline(summary))]
        if self.narrow:
            for label, lines in parts:
                body += [self.plain(label, "bold"), *lines] if label else lines
            return Group(*body)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, width=8)
        table.add_column()
        for label, lines in parts:
            table.add_row(self.plain(label, "bold"), Group(*lines))
        return Group(*body, table)

    def _lines(self, lines: list[str]) -> list[Text]:
        return [self.plain(line[:1].upper() + line[1:]) for line in lines if line]

    def _read(self) -> list[Text | Table]:
        scan, inputs = self.content.scan, self.content.scan.get("inputs") or []
        layouts = dict.fromkeys(str(source["layout"]) for source in inputs if source.get("layout"))
        total = sum(source.get("bytes") or 0 for source in inputs)
        shape = f" as {', '.join(layouts)}" if layouts else ""
        files = f"{words.plural(len(inputs), 'file')}, {words.size(total)}"
        lines = [f"{words.plural(scan['rows_read'], 'row')} from {files}{shape}"]
        lines.append(words.volume(scan))
        if scan["rows_skipped"]:
            first = [f"{s['file']}:{s['line']} {s['reason']}" for s in self.content.skipped[:2]]
            lines.append(
                f"{words.plural(scan['rows_skipped'], 'record')} skipped: {one_line('; '.join(first), 2 * self.width)}"
            )
        told = [*words.left_out(scan), *words.tolerated(scan)[:2]]
        lines += [one_line(line, 2 * self.width) for line in told] + words.unlearned(scan)
        return list(self._lines(lines))

    def _found(self) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        for _ in range(2):
            table.add_column(justify="right", no_wrap=True)
        if not self.narrow:
            table.add_column(ratio=1)
        for what, rows, share, details in words.findings(self.content.summary):
            style = "bold" if rows and what in ("private data", "secrets", "field names") else "" if rows else "dim"
            cells = [
                self.plain(what, style),
                self.plain(words.number(rows), style),
                self.plain(words.percent(share), "dim"),
            ]
            table.add_row(*cells, *([] if self.narrow else [self.plain(one_line(details, 200), "" if rows else "dim")]))
        return table

    def _skew(self) -> list[Text | Table]:
        """How skewed memorization is and what would come out; of rows without an answer only that they have none."""
        summary = self.content.summary
        expected = self._lines([words.expectation(summary), words.not_measured(summary)])
        if not summary["skew"]["rows"]:
            return [*expected]
        more = [*memorized(summary), *words.batching(self.content.scan)]
        return [self._skew_bar(), *expected, *self._lines(more)]

    def _skew_bar(self) -> Text:
        """The share of tokens that the first percent carries, as a bar before its sentence."""
        summary = self.content.summary
        line = self.plain("")
        if summary["skew"]["top"] and not self.narrow:
            filled = round(10 * summary["skew"]["top"][0]["share"])
            line.append_text(self.plain("█" * filled, "red")).append_text(self.plain("░" * (10 - filled), "dim"))
            line.append(" ")
        return line.append_text(self.plain(words.skew(summary)))

    def _top(self) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        if not self.narrow:
            table.add_column(ratio=1)
        heads = ["row", "risk", "p"] + ([] if self.narrow else ["asked, answered; why"])
        table.add_row(*(self.plain(head, "dim") for head in heads))
        for row in self.content.top:
            style = BAND_STYLE.get(row.band, "")
            cells = [
                self.plain(str(row.row_id)),
                self.plain(row.band, style),
                self.plain(words.probability(row.p_extract)),
            ]
            table.add_row(*cells, *([] if self.narrow else [self._row(row)]))
        return table

    def _row(self, row: RiskRow) -> Text:
        room = max(30, self.width - 22)
        asked = _fitting(row.prompt, room * 2 // 5)
        answered = _fitting(row.answer, room - cell_len(asked) - 3)
        shown = " → ".join(filter(None, (asked, answered))) or row.place
        stands = f"×{row.stands_for}; " if row.stands_for > 1 else ""
        more = f"{row.and_more}; " if row.alike else ""
        measured = f"{row.confirmed}; " if row.confirmed else ""
        why = _fitting(f"{measured}{stands}{more}{row.reasons}", room)
        return self.plain(shown).append("\n").append_text(self.plain(why, "dim"))

    def next_steps(self, fixed: bool) -> list[Text]:
        """The next command lines, each with what it is for as a shell comment, so that a line can be copied whole."""
        steps = [
            self.plain(command, "cyan").append(f"  # {what}", "dim")
            for what, command in self.content.commands
            if not (fixed and command.startswith("scan apply "))
        ]
        report = self.content.run.path / "report.html"
        if report.exists():
            steps.append(self.plain(str(report)).append("  # the report", "dim"))
        return [self.plain("  ").append_text(step) for step in steps]
