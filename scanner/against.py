"""New data against the indexes of earlier runs (`--against RUN`): opens them, matches, and says what it did.

The earlier text is never read; it may have been purged.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from scanner import earlier, signatures
from scanner.errors import SettingsError
from scanner.fingerprints import fingerprint
from scanner.objects import Fingerprints, Rows, UInt64
from scanner.progress import Progress
from scanner.settings import Settings
from scanner.signals.minhash import choose_bands
from scanner.signatures import Index
from scanner.store import RunFolder


def open_all(settings: Settings, run: Path) -> list[Index]:
    """The indexes of --against, checked before anything is read; names that occur twice are told apart.

    Raises RunError for a folder that cannot be compared with, SettingsError for the run that is being written.
    """
    found: list[Index] = []
    for path in settings.against:
        if path.resolve() == run.resolve():
            raise SettingsError(
                f"--against {path} is the folder that this run writes to; name an earlier run, or write elsewhere "
                "with --out"
            )
        index = signatures.read(path)
        signatures.require_comparable(index, settings.shingle)
        if all(index.identity != other.identity for other in found):
            found.append(index)
    names: dict[str, int] = {}
    for i, index in enumerate(found):
        count = names[index.name] = names.get(index.name, 0) + 1
        found[i] = replace(index, name=index.name if count == 1 else f"{index.name} ({count})")
    return found


def write_index(
    run: RunFolder,
    rows: Rows,
    prints: Fingerprints,
    opening: UInt64,
    bands: dict[str, Any],
    seed: int,
    against: Sequence[Index],
) -> None:
    """RUN/index, for later runs; bands: what the search for near duplicates used."""
    known = {name: bands[name] for name in ("bands", "rows_per_band", "shingle_tokens")}
    signatures.write(run, rows, prints, opening, {**known, "seed": seed}, against)


def find(
    run: RunFolder,
    rows: Rows,
    prints: Fingerprints,
    opening: UInt64,
    indexes: Sequence[Index],
    settings: Settings,
    seed: int,
    threads: int,
    progress: Progress,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Matches with every earlier run, in the order of --against, and notes; nothing to do without one."""
    if not indexes:
        return earlier.NONE, {}
    frames, notes = [], {}
    with progress.stage("compare with earlier runs", len(indexes)):
        for index in indexes:
            signature = prints.signature
            if (index.permutations, index.seed) != (signature.shape[1], seed):
                # the permutations of another count are others from the first on, so the new text is sketched again
                again = fingerprint(
                    run.segments(), len(rows), index.shingle, index.permutations, index.seed, threads
                )  # fmt: skip
                signature = again.signature
            bands = choose_bands(index.permutations, settings.jaccard, settings.recall, settings.floor)
            hashes = signatures.row_hashes(prints, opening, index.key)
            matched = earlier.match(
                rows.row_id, hashes, signature, prints.shingles > 0, index, index.name, (bands.bands, bands.rows),
                settings.floor, threads,
            )  # fmt: skip
            frames.append(matched.frame)
            notes[index.name] = matched.notes | {
                "identity": index.identity,
                "recall_at_threshold": bands.probability(settings.jaccard),
                "warnings": _warnings(index, indexes),
            }
            progress.advance(1)
    return pl.concat(frames).sort("row_id", maintain_order=True), notes


def _warnings(index: Index, indexes: Sequence[Index]) -> list[str]:
    """What a reader should know before trusting that nothing else was found."""
    known = {other.identity for other in indexes}
    said = [
        f"{index.name} was itself audited against {name}, which is not among --against: rows that only {name} holds "
        "are not found"
        for name, identity in index.against
        if identity not in known
    ]
    if index.unicode != unicodedata.unidata_version:
        said.append(
            f"{index.name} was read with Unicode {index.unicode}, this run with {unicodedata.unidata_version}: rows "
            "with characters that are new in one of them may not be found"
        )
    return said
