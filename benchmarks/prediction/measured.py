"""What the grid measured, beside the features of the very rows that were trained on.

Rows are derived again from the data files (`corpus.py`), their features by the shipped kernels, and the batches of a
training by its seed; only hits and lengths were stored (`grid.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import corpus
import grid
import numpy as np
import polars as pl

from scanner import sampling
from scanner.batching import sequence_length
from scanner.contextual import token_features
from scanner.kernels.contexts import ContextFeatures
from scanner.kernels.tokens import token_widths, tokenise
from scanner.models import TINY_CONTEXT
from scanner.prediction import Answers, Goldfish, Regime, level
from scanner.prediction.dropping import goldfish
from scanner.prediction.freeing import freed
from scanner.sampling import Copies, asked_alone, near_copy_share, simulate, with_copies
from scanner.text import code_point_classes, folded_code_points

CHUNKS = 10  # controls are counted against the training set in so many parts, so that they hardly count one another


@dataclass(frozen=True)
class Table:
    """The measured rows of one training set (members, then controls) with the features of their answers."""

    source: np.ndarray  # (n,) str
    member: np.ndarray  # (n,) bool
    copies: np.ndarray  # (n,) exact copies, itself included; 0 for controls
    plain: np.ndarray  # (n,) copies with near copies at their kappa
    single: np.ndarray  # (n,) bool: one copy, nothing planted
    length: np.ndarray  # (n,) kernel tokens of the answer that the model saw
    whole: np.ndarray  # (n,) bool: nothing of the answer was cut
    features: ContextFeatures  # of the answers' tokens alone, one after the other
    base_loss: np.ndarray  # (T,) nats, of the untuned model
    conflict_place: np.ndarray  # (n,) token at which the answers to the prompt part; -1: no conflict
    conflict_share: np.ndarray  # (n,) share of this answer
    answers: Answers  # one per row
    data: Path
    trained: list[corpus.Trained]
    supervised: np.ndarray  # (trained,) kernel tokens
    tokens: np.ndarray  # (trained,) kernel tokens, prompt included


@dataclass(frozen=True)
class Observation:
    """One cell at one epoch: N_pre and dose of every row."""

    cell: str
    epoch: int
    n_pre: np.ndarray  # (n,) tokens
    whole: np.ndarray  # (n,) bool, the answer was reproduced to its end
    hits: list[np.ndarray]  # per row (tokens,) bool
    dose: np.ndarray  # (n,) visits, of rows laid end to end what is left of them when a row is asked for alone
    own: np.ndarray  # (n,) of the row's own visits, a mean over its exact copies, less what meetings cost
    regime: Regime
    goldfish: Goldfish | None = None
    kept: list[np.ndarray] | None = None  # per row (tokens,) bool: the goldfish loss drops nothing of the token

    @property
    def freed(self) -> float:
        """What a visit is worth by what the set was measured to know by then."""
        return freed(self.regime.known)


@lru_cache(maxsize=1 << 15)
def tokens_of(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Hashes and widths of the kernel tokens of a text, by the shipped kernels."""
    data = np.frombuffer(text.encode(), np.uint8)
    hashes, starts, counts = np.empty(len(data), np.uint64), np.empty(len(data), np.int64), np.empty(1, np.int64)
    bounds, tables = np.array([0, len(data)], np.int64), (code_point_classes(), folded_code_points())
    found = tokenise(data, bounds, *tables, 0, hashes, starts, counts)
    widths = np.empty(found, np.uint8)
    token_widths(data, bounds, *tables, widths)
    return hashes[:found].copy(), widths


def first_measured(name: str) -> pl.DataFrame:
    """The rows of a cell's first measured epoch, by place."""
    table = pl.read_parquet(grid.HERE / f"{name}.parquet")
    return table.filter(pl.col("epoch") == table["epoch"].max()).sort("place")


def assemble(data: Path, name: str) -> Table:
    """Rows, planted copies and context features of a cell, in the order of its measurements."""
    cell = grid.CELLS[name]
    rows, controls = corpus.choose(data, cell.rows, cell.members, 200, grid.SEED)
    trained = grid.trained_rows(cell, rows)
    total = len(rows) + len(controls)
    measured = first_measured(name)
    length = np.zeros(total, np.int64)
    length[measured["place"].to_numpy()] = measured["tokens"].to_numpy()
    whole = np.array([length[i] == len(corpus.spans(r.answer)) for i, r in enumerate([*rows, *controls])])

    def cut(row: corpus.Row, member: int) -> list[tuple[np.ndarray, np.ndarray]]:
        prompt, (answer, widths) = tokens_of(row.prompt), tokens_of(row.answer)
        seen = max(corpus.MIN_ANSWER_TOKENS, length[member])  # what the context cut off was not trained on
        return [prompt, (answer[:seen], widths[:seen])]

    training = [cut(t.row, t.member) for t in trained]
    inside = np.zeros(len(rows), bool)
    inside[[t.member for t in trained]] = True
    outside = [*np.flatnonzero(~inside).tolist(), *range(len(rows), total)]
    guests = [cut([*rows, *controls][i], i) for i in outside]
    own = {t.member: place for place, t in reversed(list(enumerate(trained))) if t.replaced == 0}
    group = np.array([t.member if t.replaced == 0 else total + i for i, t in enumerate(trained)])
    wanted = []
    for part in range(CHUNKS):
        some = guests[part::CHUNKS]
        both = training + some
        offsets = np.cumsum([0, *(len(p[0]) + len(a[0]) for p, a in both)])
        tokens, widths = (np.concatenate([half[k] for row in both for half in row]) for k in (0, 1))
        groups = np.concatenate((group, group.max() + 1 + np.arange(len(some))))
        turns = (np.arange(len(both)), offsets[:-1] + [len(p[0]) for p, _ in both], offsets[1:])
        features = token_features(tokens, widths, offsets, turns, groups, True, 1)
        members = [(own[i], i) for i in np.flatnonzero(inside)] if part == 0 else []
        visitors = [(len(training) + j, outside[part + j * CHUNKS]) for j in range(len(some))]
        for place, index in [*members, *visitors]:
            begin = int(offsets[place]) + len(both[place][0][0])
            wanted.append((features, begin, begin + int(length[index]), index))
    wanted.sort(key=lambda w: w[3])
    names = ("log_probability", "known", "agreed", "rarity", "within", "width", "background", "opening")
    joined = {n: np.concatenate([getattr(w[0], n)[w[1] : w[2]] for w in wanted]) for n in names}
    edges = np.cumsum([0, *length])
    kappa = [float(near_copy_share(t.replaced)) for t in trained]
    exact = np.bincount([t.member for t in trained if t.replaced == 0], minlength=total)
    everything = np.bincount([t.member for t in trained], minlength=total)
    place, share = conflicts(rows, trained, total)
    base = pl.read_parquet(grid.HERE / f"base-{cell.base}-{cell.rows}-{cell.members}.parquet").sort("place")
    losses = {p: np.frombuffer(b, np.float16) for p, b in base.iter_rows()}
    parts = [losses.get(i, np.zeros(0, np.float16))[: length[i]] for i in range(total)]
    base_loss = np.concatenate(parts).astype(np.float32)
    return Table(
        source=np.array([r.source for r in [*rows, *controls]]),
        member=np.append(inside, np.zeros(len(controls), bool)),
        copies=exact,
        plain=np.bincount([t.member for t in trained], kappa, minlength=total),
        single=everything == 1,
        length=length,
        whole=whole,
        features=ContextFeatures(**joined, entropy=np.ones(total, np.float32), base=np.exp(-base_loss)),
        base_loss=base_loss,
        conflict_place=place,
        conflict_share=share,
        answers=Answers(np.arange(total), edges[:-1], edges[1:]),
        data=data,
        trained=trained,
        supervised=np.array([len(a[0]) for _, a in training]),
        tokens=np.array([len(p[0]) + len(a[0]) for p, a in training]),
    )


def conflicts(rows: list[corpus.Row], trained: list[corpus.Trained], total: int) -> tuple[np.ndarray, np.ndarray]:
    """(total,) where the answers to a member's prompt first part, and the share of its own answer."""
    place, share = np.full(total, -1, np.int64), np.ones(total)
    others: dict[int, list[np.ndarray]] = {}
    for t in trained:
        if t.replaced == corpus.CONFLICT:
            others.setdefault(t.member, []).append(tokens_of(t.row.answer)[0])
    for member, answers in others.items():
        mine = tokens_of(rows[member].answer)[0]
        shared = []
        for other in answers:
            least = min(len(mine), len(other))
            differs = np.flatnonzero(mine[:least] != other[:least])
            shared.append(int(differs[0]) if len(differs) else least)
        place[member], share[member] = min(shared), 1 / (1 + len(answers))
    return place, share


def observe(table: Table, name: str, simulated: int | None = None) -> list[Observation]:
    """Each measured epoch, with the doses that were given, or those of batches drawn anew by the seed `simulated`.

    Drawn from the rows' lengths in the base's own tokens, as a trainer does; an audit has only its own. Packed rows are
    packed as they stood in the training, or, drawn anew, as shuffled ones.
    """
    cell = grid.CELLS[name]
    measured = pl.read_parquet(grid.HERE / f"{name}.parquet")
    copies = planted_copies(table.trained)
    supervised, tokens = lengths(cell, table)
    seed = cell.seed if simulated is None else simulated
    order = np.arange(len(table.trained), dtype=np.uint64)
    members, places = first_places(table.trained)
    some_answers = table.answers.where(table.member)
    found = []
    for epoch in sorted(measured["epoch"].unique().to_list()):
        now = measured.filter(pl.col("epoch") == epoch)
        at = now["place"].to_numpy()
        given = simulate(
            cell.plan, supervised, tokens, order, seed=seed, copies=copies, until=epoch,
            sequence_tokens=sequence_of(cell), standing=simulated is None,
        )  # fmt: skip
        dose, own = np.zeros(len(table.member)), np.zeros(len(table.member))
        total = with_copies(given.own, copies, given.together)
        exact = copies.number
        mean = np.bincount(copies.text, given.own)[copies.text] / exact
        alone = asked_alone(cell.plan, mean, total)
        dose[members] = (total * alone)[places]
        own[members] = (mean * given.together * alone)[places]
        n_pre, whole = np.zeros(len(table.member), np.int64), np.zeros(len(table.member), bool)
        n_pre[at], whole[at] = now["n_pre"].to_numpy(), now["whole"].to_numpy()
        hits = [np.zeros(0, bool)] * len(table.member)
        for p, b, t in now.select("place", "hits", "tokens").iter_rows():
            hits[p] = np.unpackbits(np.frombuffer(b, np.uint8))[:t].astype(bool)
        set_dose = sampling.dose_of_set(given.own, supervised, exact, cell.plan.goldfish_k)
        known = level.share_recited(some_answers, n_pre[table.member], trained_rows(table))
        regime = Regime.of(cell.plan, set_dose, float(given.steps), epoch / cell.plan.epochs, known)
        k = cell.plan.goldfish_k
        kept = [np.zeros(0, bool)] * len(table.member) if k else None
        if kept is not None:
            for p, b, t in now.select("place", "kept", "tokens").iter_rows():
                kept[p] = np.unpackbits(np.frombuffer(b, np.uint8))[:t].astype(bool)
        forgets = goldfish(k, dose, own * table.copies)
        found.append(Observation(name, epoch, n_pre, whole, hits, dose, own, regime, forgets, kept))
    return found


def trained_rows(table: Table) -> np.ndarray:
    """(n,) rows of the training set that were made of each row, itself included."""
    return np.bincount([t.member for t in table.trained], minlength=len(table.member)).astype(np.float64)


def first_places(trained: list[corpus.Trained]) -> np.ndarray:
    """(2, members) of the trained rows: each member, and the first place at which it stands as it is."""
    first = {t.member: place for place, t in reversed(list(enumerate(trained))) if t.replaced == 0}
    return np.array(list(first.items())).T


def sequence_of(cell: grid.Cell) -> int:
    """Tokens of a packed sequence of a cell."""
    return sequence_length(cell.plan, cell.sequence or TINY_CONTEXT, cell.sequence)


def planted_copies(trained: list[corpus.Trained]) -> Copies:
    """Who is a copy of whom: every planted near copy stands for itself, beside the row that it was made from."""
    count = 1 + max(t.member for t in trained)
    near = [place for place, t in enumerate(trained) if t.replaced]
    text = np.array([t.member for t in trained])
    text[near] = count + np.arange(len(near))
    numbers = np.unique(text, return_inverse=True)
    of_row, of_copy = np.searchsorted(numbers[0], [trained[i].member for i in near]), numbers[1][near]
    kappa = near_copy_share([trained[i].replaced for i in near]) ** sampling.NEAR_POWER
    return Copies(
        numbers[1], np.concatenate((of_row, of_copy)), np.concatenate((of_copy, of_row)), np.concatenate((kappa, kappa))
    )


def lengths(cell: grid.Cell, table: Table) -> tuple[np.ndarray, np.ndarray]:
    """(trained,) supervised words and model tokens of the rows that a cell was trained on."""
    stored = pl.read_parquet(grid.lengths_at(cell))
    words, tokens = (stored[name].to_numpy().astype(np.int64) for name in ("words", "tokens"))
    if cell.half is not None:
        members, _ = corpus.choose(table.data, cell.rows, cell.members, 200, grid.SEED)
        inside = grid.in_half(len(members), cell.half)
        taken = [inside[t.member] for t in corpus.plant(members, grid.SEED)]
        return words[taken], tokens[taken]
    order = grid.order_of(cell, len(words))
    return words[order], tokens[order]
