"""What was read, kept on disk, so that an interrupted audit need not read its inputs again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from scanner.objects import Damage, Rows, Skip
from scanner.ordering import stable_order
from scanner.writing import atomic, write_bytes


def save_rows(path: Path, rows: Rows) -> None:
    """Keep what was read, so that an interrupted run need not read again."""
    names = ("row_id", "source", "line", "start", "end", "turns", "digest", "private_names")
    arrays = {name: array for name in names if (array := getattr(rows, name)) is not None}
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            layout=np.array(rows.layout),
            first_row=np.array(rows.first_row),
            damage=np.array(json.dumps(rows.damage)),
            **arrays,
        )


def load_rows(path: Path) -> Rows:
    """The inverse of `save_rows`."""
    with np.load(path) as stored:
        values = {name: stored[name] for name in stored.files}
    layout = tuple(str(name) for name in values.pop("layout"))
    damage = tuple(Damage(*entry) for entry in json.loads(str(values.pop("damage"))))
    firsts = tuple(values.pop("first_row").tolist())
    return Rows(layout=layout, first_row=firsts, damage=damage, order=stable_order(values["digest"]), **values)


def save_skips(path: Path, skips: list[Skip], identity: str) -> None:
    """Keep the skips (under private/), with the identity of the run; written last, it marks the text as read."""
    entries = [[s.row_id, s.file, s.line, s.reason, s.raw.decode("latin-1")] for s in skips]
    write_bytes(path, json.dumps({"identity": identity, "skips": entries}).encode())


def load_skips(path: Path) -> list[Skip]:
    """The inverse of `save_skips`."""
    entries = json.loads(path.read_text("utf-8"))["skips"]
    return [Skip(row, file, line, reason, raw.encode("latin-1")) for row, file, line, reason, raw in entries]
