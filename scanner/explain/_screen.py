"""An explanation on the terminal: its sentences, then a section for each thing there is to show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from scanner.display import Page
from scanner.evidence import Difference
from scanner.explain._found import Relative
from scanner.explain._heat import UNITS
from scanner.explain._heat import render as render_heat
from scanner.text import one_line
from scanner.trust import NOT_CALIBRATED

if TYPE_CHECKING:
    from scanner.explain import Explanation

FEATURES_SHOWN = 40


def render(told: Explanation, console: Console) -> None:
    """Print an explanation; sections without content are left out."""
    page = Page(console)
    for sentence in told.sentences():
        page.say(sentence, "dim" if sentence == NOT_CALIBRATED else "")
    _text(told, page)
    if told.heat and told.heat.shades:
        page.heading(f"Heat of the answer ({UNITS})")
        render_heat(told.heat, console, page.plain)
    if told.template and told.template.parts:
        page.heading(f"Template {told.template.number} of the {told.template.role} text, and what stands in its slots")
        for is_slot, text in told.template.parts:
            line = page.plain("slot      " if is_slot else "template  ", "dim")
            console.print(line.append_text(page.plain(one_line(text, 140), "" if is_slot else "dim")))
    if told.spans:
        _spans(told, page)
    if told.repeated:
        more = told.repeated_total - len(told.repeated)
        page.heading("Repeated passages" + (f", the longest of {told.repeated_total}" if more else ""))
        for stretch in told.repeated:
            page.say(stretch.told)
            if stretch.text:
                page.say(f"  {one_line(stretch.text, 140)}", "dim")
    if told.relatives:
        _relatives(told.relatives, page)
    if told.difference:
        page.heading(f"Beside the kept row {told.keep_row_id}")
        _difference(told.difference, page)
    if told.features:
        _features(told, page)


def _text(told: Explanation, page: Page) -> None:
    page.heading("Text")
    if told.missing_text:
        page.say(told.missing_text, "dim")
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(page.plain("asked"), page.plain(told.prompt))
    table.add_row(page.plain("answered"), page.plain(told.answer or "nothing that is supervised"))
    page.console.print(table)


def _spans(told: Explanation, page: Page) -> None:
    """Private values and secrets in their context, then what the rules behind them say."""
    page.heading("Marked spans")
    for span in told.spans:
        context = one_line(f"{span.before}{span.hidden}{span.after}", 120)
        where = f" in {one_line(span.field, 40)}" if span.field else ""
        line = page.plain(f"{span.rule_id}{where}, {span.length} characters  ")
        page.console.print(line.append_text(page.plain(context, "dim")))
    for name, said in told.rules.items():
        page.say(f"{name}: {said.advice}")
        page.say(f"  Known problems: {said.known_problems}", "dim")


def _relatives(relatives: tuple[Relative, ...], page: Page) -> None:
    page.heading("Related rows")
    table = Table.grid(padding=(0, 2, 0, 0))
    for relative in relatives:
        likeness = "" if math.isnan(relative.similarity) else f"{relative.similarity:.2f}"
        within = "" if math.isnan(relative.inside) else f"{100 * relative.inside:.0f} % of this row is in it"
        payload = "" if math.isnan(relative.payload) else f"payload {relative.payload:.2f}"
        place = one_line(relative.place, 40)
        cells = (str(relative.row_id), place, relative.signal, likeness, payload, relative.told, within)
        table.add_row(*(page.plain(cell) for cell in cells))
    page.console.print(table)


def _difference(found: Difference, page: Page) -> None:
    """The kept row and this one, a line each; marks as well as colours, for terminals without them."""
    for name, side, style in (("kept", found.left, "red"), ("this", found.right, "green")):
        shown = {"changed": ("{%s}", style), "cut": ("…%s…", "dim")}
        line = page.plain(f"{name}  ", "dim")
        for piece in side:
            marked, colour = shown.get(piece.kind, ("%s", ""))
            line.append_text(page.plain(marked % piece.text, colour))
        page.console.print(line)
    if not found.complete:
        page.say("Only the beginnings were compared: the texts are long.", "dim")


def _features(told: Explanation, page: Page) -> None:
    page.heading("Measured, and the share of rows at or below")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right", style="dim")
    for feature in told.features[:FEATURES_SHOWN]:
        cells = (feature.name, f"{feature.value:.4g}", f"{100 * feature.percentile:.0f} %")
        table.add_row(*(page.plain(cell) for cell in cells))
    page.console.print(table)
