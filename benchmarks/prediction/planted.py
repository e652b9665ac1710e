"""One cell of the grid as the scanner sees it: features of every measured answer, doses, and what was recalled.

The rows are derived again from the data files (`corpus.py`, `grid.py`), their features by the shipped kernels; the
measurements hold no text. Used by `tokens.py` and `counterfactual.py`, which look at more than N_pre.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import corpus
import numpy as np
import polars as pl
from grid import CELLS, SEED, trained_rows

from scanner.kernels.contexts import ContextFeatures, context_features
from scanner.prediction import Answers, Conflicts, Regime
from scanner.sampling import near_copy_share

CONTROLS = 200  # as grid.run_cell chooses them
CHUNKS = 10  # rows that were not trained are looked at in so many parts, so that they hardly count one another


@dataclass(frozen=True)
class Planted:
    """Every measured row of a cell, members first; (n,) unless said."""

    source: np.ndarray  # str
    trained: np.ndarray  # bool: the row itself was in the training set
    copies: np.ndarray  # exact copies in the training set, itself included
    alone: np.ndarray  # bool: a member planted once, without near copies or conflicts
    length: np.ndarray  # our own tokens of the answer, as far as the trainer saw it
    features: ContextFeatures  # of the answers' tokens alone, one answer after the other
    answers: Answers  # one per row
    conflicts: Conflicts
    owner: np.ndarray  # (trained rows,) the member that each was planted for
    replaced: np.ndarray  # (trained rows,) tokens of 100


@dataclass(frozen=True)
class Epoch:
    """What a cell recalled after an epoch, and the doses until then."""

    epoch: int
    hits: list[np.ndarray]  # per row (tokens,) bool, teacher-forced
    n_pre: np.ndarray  # (n,)
    dose: np.ndarray  # (n,) of the row, its copies and near copies
    own: np.ndarray  # (n,) of the row's own visits alone
    regime: Regime


def token_hashes(text: str) -> np.ndarray:
    """Own tokens of a text as 64-bit hashes: equal tokens, equal hashes, which is all the counts need."""
    found = [hash_of(text[a:b]) for a, b in corpus.spans(text)]
    return np.array(found, np.uint64)


@lru_cache(maxsize=1 << 20)
def hash_of(token: str) -> int:
    """A 64-bit hash that does not change between processes."""
    return int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest(), "little")


def assemble(data: Path, name: str, measured: pl.DataFrame) -> Planted:
    """The rows of a cell with their features. measured: the cell's table, for the lengths of the answers."""
    cell = CELLS[name]
    members, controls = corpus.choose(data, cell.rows, cell.members, CONTROLS, SEED)
    everything = [*members, *controls]
    first = measured.filter(pl.col("epoch") == measured["epoch"].min()).sort("place")
    length = first["tokens"].to_numpy().astype(np.int64)
    assert len(length) == len(everything), f"{name}: {len(length)} rows measured, {len(everything)} derived"
    known: dict[str, np.ndarray] = {}

    def tokens(text: str) -> np.ndarray:
        if text not in known:
            known[text] = token_hashes(text)
        return known[text]

    plan = trained_rows(cell, members)
    owner, replaced = np.array([t.member for t in plan]), np.array([t.replaced for t in plan])
    training = [(tokens(t.row.prompt), tokens(t.row.answer)[: length[t.member]]) for t in plan]
    itself = np.full(len(everything), -1)
    for place, t in reversed(list(enumerate(plan))):
        if t.replaced == 0:
            itself[t.member] = place
    group = np.where(replaced == 0, owner, len(everything) + np.arange(len(plan)))
    outside = np.flatnonzero(itself < 0)
    parts: list[tuple[ContextFeatures, int, int] | None] = [None] * len(everything)
    for number in range(CHUNKS):
        guests = outside[number::CHUNKS]
        rows = training + [(tokens(everything[i].prompt), tokens(everything[i].answer)[: length[i]]) for i in guests]
        offsets = np.cumsum([0, *(len(p) + len(a) for p, a in rows)])
        flat = np.concatenate([part for row in rows for part in row])
        found = context_features(flat, offsets, np.concatenate((group, 2 * len(rows) + len(everything) + guests)), 1)
        here = [(len(training) + k, i) for k, i in enumerate(guests)]
        if not number:
            here += [(int(itself[i]), i) for i in np.flatnonzero(itself >= 0)]
        for at, i in here:
            begin = int(offsets[at]) + len(rows[at][0])
            parts[i] = (found, begin, begin + len(rows[at][1]))
    edges = np.cumsum([0, *length])
    whole = [part for part in parts if part is not None]
    per_token = [f.name for f in fields(ContextFeatures) if f.name != "entropy"]
    joined = {name: np.concatenate([getattr(f, name)[a:b] for f, a, b in whole]) for name in per_token}
    alone = np.bincount([t.member for t in corpus.plant(members, SEED)], minlength=len(everything)) == 1
    return Planted(
        source=np.array([row.source for row in everything]),
        trained=itself >= 0,
        copies=np.bincount(owner[replaced == 0], minlength=len(everything)),
        alone=alone & (np.arange(len(everything)) < len(members)),
        length=length,
        features=ContextFeatures(**joined, entropy=np.ones(len(everything), np.float32)),
        answers=Answers(np.arange(len(everything)), edges[:-1], edges[1:]),
        conflicts=_conflicts(training, owner, replaced, itself, len(everything)),
        owner=owner,
        replaced=replaced,
    )


def _conflicts(training: list, owner: np.ndarray, replaced: np.ndarray, itself: np.ndarray, count: int) -> Conflicts:
    """Where the planted other answers part from the member's own, and the share of rows with its answer."""
    place, share = np.full(count, -1, np.int64), np.ones(count)
    for i in np.unique(owner[replaced == corpus.CONFLICT]):
        mine = training[itself[i]][1]
        others = [training[k][1] for k in np.flatnonzero((owner == i) & (replaced == corpus.CONFLICT))]
        shortest = min(len(a) for a in (mine, *others))
        differs = np.flatnonzero([any(a[k] != mine[k] for a in others) for k in range(shortest)])
        place[i] = differs[0] if len(differs) else shortest
        same = 1 + sum(len(a) == len(mine) and bool((a == mine).all()) for a in others)
        share[i] = same / (1 + len(others))
    return Conflicts(place, share)


def epochs_of(planted: Planted, measured: pl.DataFrame, doses: pl.DataFrame) -> dict[int, Epoch]:
    """What was recalled after each measured epoch but 0."""
    kappa = np.asarray(near_copy_share(planted.replaced))
    itself = np.full(len(planted.length), -1)
    for k in np.flatnonzero(planted.replaced == 0)[::-1]:
        itself[planted.owner[k]] = k
    found = {}
    for (epoch,), table in measured.filter(pl.col("epoch") > 0).group_by("epoch"):
        table = table.sort("place")
        of_row = doses.filter(pl.col("epoch") == epoch).sort("trained")["dose"].to_numpy().astype(float)
        own = np.where(itself >= 0, of_row[itself], 0.0)
        hits = [
            np.unpackbits(np.frombuffer(packed, np.uint8), count=n).astype(bool)
            for packed, n in table.select("hits", "tokens").iter_rows()
        ]
        found[int(epoch)] = Epoch(
            epoch=int(epoch),
            hits=hits,
            n_pre=table["n_pre"].to_numpy().astype(np.int64),
            dose=np.bincount(planted.owner, kappa * of_row, minlength=len(planted.length)),
            own=own,
            regime=Regime(float(of_row.mean()), float(table["steps"][0])),
        )
    return dict(sorted(found.items()))


def read(folder: Path, data: Path, name: str) -> tuple[Planted, dict[int, Epoch]]:
    """One cell from `folder`/NAME.parquet and NAME-doses.parquet."""
    measured = pl.read_parquet(folder / f"{name}.parquet")
    planted = assemble(data, name, measured)
    return planted, epochs_of(planted, measured, pl.read_parquet(folder / f"{name}-doses.parquet"))
