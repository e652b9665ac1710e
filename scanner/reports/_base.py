"""What was measured of the untuned base, in one sentence; without --base there is none."""

from __future__ import annotations

from typing import Any

from scanner.figures import plural

LEFT = {
    "rows_not_aligned": "{} with answers that its template changes",
    "rows_refused": "{} that its template refuses",
}
"""Rows of which not every answer was measured, and why."""


def in_words(summary: dict[str, Any]) -> list[str]:
    """The sentence, in a list; an empty one for audits without --base."""
    base = (summary.get("prediction") or {}).get("base")
    if not base:
        return []
    left = [words.format(plural(base[name], "row")) for name, words in LEFT.items() if base[name]]
    elsewhere = f"; the table of general text stands in for the rest ({', '.join(left)})" if left else ""
    beyond = base["rows_beyond_context"]
    cut = (
        f" Rows are taken as cut after {base['context_tokens']:,} of its tokens, as a trainer cuts them: what lies "
        f"behind is not predicted ({plural(beyond, 'row')})."
        if beyond
        else ""
    )
    return [
        f"What the base knows untuned was measured: {base['name']}, {base['parameters']:,} parameters, on "
        f"{base['tokens_measured']:,} of {base['answer_tokens']:,} tokens of the answers ({base['precision']})"
        f"{elsewhere}.{cut}"
    ]
