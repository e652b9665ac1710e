"""Names that others gave to files and items, as tables and reports show them: private values masked, signs that would
steer a screen made visible.

    "chats/ann.roe@mail.net.jsonl"  ->  "chats/[EMAIL_1].jsonl"

Only scan.json has the paths as they are, for without them the files could not be read again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl

from scanner import redaction
from scanner.text import on_one_line

_PLAIN = re.compile(r"(?!(?:.*\d){7})(?!.*\d\.\d+\.\d+\.\d)(?!.*[^\W_]{16})[\w ./-]*")
"""No address, number or key: of digits six at most, and no long run without a break."""
_ENDING = re.compile(r"(?:\.(?:jsonl?|ndjson|csv|tsv|parquet|arrow|txt|md|log|gz|gzip|zst|zstd|zip))*\Z", re.IGNORECASE)
"""What files are called for their kind; an address would go on there."""

_PATHS = ("path", "member")


def shown(names: Iterable[str]) -> list[str]:
    """The names with numbered placeholders for what the shipped rules find, none of which steers what shows them.

    Different names stay different, but for signs that no keyboard makes.

    The parts of a path are masked one by one, so that it keeps their number.
    """
    names = [name.encode("utf-8", "replace").decode() for name in names]  # a name may hold any bytes
    every = dict.fromkeys(part for name in names for part in name.split("/"))
    parts = [part for part in every if not _PLAIN.fullmatch(part)]
    if not parts:
        return names
    from scanner import rulebook  # subtle: most names are plain, and the rules take a tenth of a second to load

    book = rulebook.load(())
    stems = [_ENDING.sub("", part) for part in parts]
    # an ending that is not known is tried with and without
    texts = [stem for whole in stems for stem in (whole, whole.rpartition(".")[0])]
    order = np.arange(len(texts))
    frame = pl.DataFrame({"row_id": order // 2, "segment": order % 2, "text": texts, "field_path": ""})
    spans: dict[int, list[redaction.Span]] = {}
    for i, start, end, rule in book.find([frame], 1).select("row_id", "start", "end", "rule_id").iter_rows():
        spans.setdefault(i, []).append(redaction.Span(start, end, book.by_id[rule].placeholder))
    numbering = redaction.Numbering()
    masked = {parts[i]: redaction.redact(parts[i], found, numbering) for i, found in spans.items()}
    return [on_one_line("/".join(masked.get(part, part) for part in name.split("/"))) for name in names]


def without_private_paths(scan: Mapping[str, Any]) -> dict[str, Any]:
    """scan.json for what is handed on: private values in the paths of its inputs and settings masked."""
    inputs, settings = scan.get("inputs") or [], scan.get("settings") or {}
    named = [source[key] for source in inputs for key in _PATHS if key in source]
    for value in settings.values():
        named += [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, str)]
    known = dict(zip(named, shown(named), strict=True))

    def masked(value: Any) -> Any:
        if isinstance(value, list):
            return [masked(part) for part in value]
        return known.get(value, value) if isinstance(value, str) else value

    return {
        **scan,
        "inputs": [{key: masked(v) if key in _PATHS else v for key, v in source.items()} for source in inputs],
        "settings": {key: masked(value) for key, value in settings.items()},
    }
