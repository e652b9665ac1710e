"""A page of Markdown for a pull request or a model card: the verdict, the findings, the riskiest rows, the plan."""

from __future__ import annotations

import re

from scanner.reports import _confirmed, _earlier, _private, _reasons, _training, _verdict, _whatif
from scanner.reports import _words as words
from scanner.reports._content import gather
from scanner.store import RunFolder
from scanner.text import one_line

NAME = "markdown"
EXTENSION = "md"
ROWS = 20
EXCERPT = 120
"""Characters of a row's text in the table."""


def render(run: RunFolder, text: str = "masked") -> bytes:
    """GitHub-flavoured Markdown; text of the data is escaped, so that it stays text."""
    content = gather(run, text, top=ROWS, details=False)
    summary, scan = content.summary, content.scan
    lines = [f"# {escaped(content.name)}", "", f"**{_verdict.headline(summary)}**", ""]
    lines += [f"- {line}" for line in _verdict.verdict(scan)]
    lines += [f"- {escaped(words.sentence(line))}" for line in filter(None, [words.volume(scan)])]
    lines += [f"- {words.calibration(summary)}", f"- Training plan: {_training.premise(scan)}"]
    lines += [f"- {words.sentence(line)}" for line in _whatif.lines(content.whatif, scan)]
    if words.not_measured(summary):
        lines.append(f"- {words.not_measured(summary)}.")
    lines += ["", "## What was found", "", "| kind | rows | share | details |", "|---|--:|--:|---|"]
    for what, rows, share, details in words.findings(summary):
        lines.append(f"| {what} | {words.number(rows)} | {words.percent(share)} | {escaped(details)} |")
    lines += ["", *(f"- {escaped(line)}" for line in _private.scope(summary))]
    overlap = words.contamination(summary)
    if overlap:
        lines += ["", "## Overlap with benchmarks", "", *(f"- {escaped(line)}" for line in overlap)]
    known = [*_earlier.lines(summary), *_earlier.caveats(scan), *_earlier.warnings(scan)]
    if known:
        lines += ["", "## Rows that earlier runs hold", "", *(f"- {escaped(line)}" for line in known)]
    tuned = _confirmed.lines(summary)
    if tuned:
        lines += ["", "## What a tuned model recites", "", *(f"- {escaped(line)}" for line in tuned)]
    lines += ["", "## The riskiest rows", "", "| row | place | risk | p_extract | tokens, 95 % | why | text |"]
    lines.append("|--:|---|---|--:|--:|---|---|")
    for row in content.top:
        excerpt = " → ".join(filter(None, (row.prompt, row.answer))) or content.missing_text
        times = f" ×{row.stands_for}" if row.stands_for > 1 else ""
        times += f" ({row.and_more})" if row.alike else ""
        why = f"{row.confirmed}; {row.reasons}" if row.confirmed else row.reasons
        cells = [
            f"{row.row_id}{times}", escaped(row.place), row.band, escaped(words.probability(row.p_extract)),
            words.number(row.tokens_q95), escaped(why), escaped(one_line(excerpt, EXCERPT)),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    if not content.top:
        lines.append(f"| | | | | | {content.no_top} | |")
    lines += ["", "## What the plan would do", "", f"{words.planned(summary)}.", ""]
    for line in _reasons.for_review(scan):
        lines += [f"{words.sentence(line)}", ""]
    for what, command in content.commands:
        fence = "`" * (max(map(len, re.findall(r"`+", command)), default=0) + 3)
        lines += [f"To {what}:" if not what.startswith("everything") else f"For {what}:", "", fence, command, fence, ""]
    if content.skipped:
        lines += [f"## Skipped: {words.plural(scan['rows_skipped'], 'record')}", ""]
        for skip in content.skipped[:10]:
            lines.append("- " + escaped(one_line("{file}:{line} {reason}".format(**skip), 160)))
    return ("\n".join(lines).rstrip() + "\n").encode("utf-8", "replace")


def escaped(text: str) -> str:
    """Text that Markdown and the HTML in it leave alone."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # bare addresses and @names would become links and notifications
    return re.sub(r"([\\`*_{}\[\]#+!|~$^])", r"\\\1", text).replace("://", ":&#47;&#47;").replace("@", "&#64;")
