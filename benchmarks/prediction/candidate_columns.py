"""Candidate features of tokens and rows that the hazard model does not have; `candidates.py` says what each adds.

Everything is known before training: the rows' own text, the other rows, the scan's static embedding, the untuned base
model, and where a simulated sampler puts the visits. NaN stands for "not measured" and is later taken for the mean.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import corpus
import grid
import measured
import numpy as np
from scipy.sparse import csr_matrix

from scanner import embedding
from scanner.batching import Sampler
from scanner.kernels.contexts import COPIED, SEEN
from scanner.neighbourhoods import chord_distances, local_intrinsic_dimension
from scanner.objects import ROLE_CODE, SegmentBatch
from scanner.sampling import NEAR_POWER, near_copy_share, replaced_of_100

NEAREST, CROWD = 20, 10  # neighbours for the local dimension, and for density
TEMPLATE_TOKENS, TEMPLATE_ROWS = 4, 5  # a stretch of so many tokens that stands in so many other rows
SHINGLE = 3  # tokens
AGREEMENT_POWER = 8  # of that probability: what others go on with in several ways is hardly taught by any of them
NEAR_ANSWERS = "near-copy mass of the answer, in what others teach"
ENDS = frozenset(".!?;:。！？；：\n")  # what a sentence or a line ends with


@cache
def rows_of(data: Path, name: str) -> list[corpus.Row]:
    """The measured rows of a cell, members and then controls: the order of its table."""
    cell = grid.CELLS[name]
    members, controls = corpus.choose(data, cell.rows, cell.members, 200, grid.SEED)
    return [*members, *controls]


def of_tokens(data: Path, name: str, table: measured.Table) -> dict[str, np.ndarray]:
    """(T,) per candidate, over the answers' tokens."""
    f = table.features
    place = np.arange(len(f.known)) - np.repeat(table.answers.start, table.length)
    opens = np.zeros(len(place))
    for row, start, length in zip(rows_of(data, name), table.answers.start, table.length, strict=True):
        opens[start : start + length] = sentence_starts(row.answer)[:length]
    return {
        "stood earlier in the row": (f.within & SEEN) > 0,
        "three tokens that stood earlier in the row": (f.within & COPIED) > 0,
        "longest context that went on with the token": np.log2(1.0 + f.agreed),
        "leave-one-out surprise": -f.log_probability,
        "place in the answer, log2": np.log2(1.0 + place),
        "first token of a sentence or line": opens,
        "loss of the untuned base, of the token": table.base_loss,
    }


def taught(data: Path, name: str, table: measured.Table) -> dict[str, np.ndarray]:
    """(T,) per candidate, over the answers' tokens: how often the others show it, and how many answer alike."""
    rows = rows_of(data, name)
    prompts = [measured.tokens_of(r.prompt)[0] for r in rows]
    answers = [measured.tokens_of(r.answer)[0][:n] for r, n in zip(rows, table.length, strict=True)]
    _, near = near_mass(prompts, answers, table, False)
    trained = []
    for t in table.trained:
        seen = max(corpus.MIN_ANSWER_TOKENS, table.length[t.member])
        trained.append((t.member if t.replaced == 0 else -1, measured.tokens_of(t.row.answer)[0][:seen]))
    log_p = table.features.log_probability.astype(np.float64)
    shown = np.log2(1 + shown_elsewhere(answers, trained))
    return {
        NEAR_ANSWERS: np.repeat(near, table.length),
        "times that other answers go on so": shown * np.exp(AGREEMENT_POWER * log_p),
        "times that other answers go on so, squared": shown**2 * np.exp(AGREEMENT_POWER * log_p),
    }


def shown_elsewhere(answers: list[np.ndarray], trained: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """(T,) how often trained answers but the row's own have a token after the same TEMPLATE_TOKENS before it.

    trained: the measured row that each is an exact copy of, -1 for none, and its tokens. What stands before the
    beginning of an answer counts as the same everywhere.
    """

    def stretches(answer: np.ndarray) -> list[bytes]:
        padded = np.concatenate((np.zeros(TEMPLATE_TOKENS, np.uint64), answer.astype(np.uint64)))
        return [padded[i : i + TEMPLATE_TOKENS + 1].tobytes() for i in range(len(answer))]

    total: Counter[bytes] = Counter()
    own: dict[int, Counter[bytes]] = {}
    for of, answer in trained:
        found = stretches(answer)
        total.update(found)
        if of >= 0:
            own.setdefault(of, Counter()).update(found)
    counted = [[total[s] - own.get(i, Counter())[s] for s in stretches(a)] for i, a in enumerate(answers)]
    return np.array([n for row in counted for n in row], np.float64)


def sentence_starts(text: str) -> np.ndarray:
    """(tokens,) bool: the first token, and those after the end of a sentence or of a line."""
    places = corpus.spans(text)
    starts = np.zeros(len(places), bool)
    for i, (begin, _) in enumerate(places):
        before = places[i - 1] if i else (0, 0)
        starts[i] = i == 0 or text[before[1] - 1] in ENDS or "\n" in text[before[1] : begin]
    return starts


def of_rows(data: Path, name: str, table: measured.Table) -> dict[str, np.ndarray]:
    """(n,) per candidate, over the rows."""
    rows = rows_of(data, name)
    prompts = [measured.tokens_of(r.prompt)[0] for r in rows]
    answers = [measured.tokens_of(r.answer)[0][:n] for r, n in zip(rows, table.length, strict=True)]
    surprise = -mean(table, table.features.log_probability)
    usual = {s: np.nanmean(surprise[table.source == s]) for s in np.unique(table.source)}
    of_prompt, of_answer = (templates(parts, table) for parts in (prompts, answers))
    all_near, other_near = near_mass(prompts, answers, table, True)
    _, answer_near = near_mass(prompts, answers, table, False)
    density, dimension = surroundings(rows, table)
    with np.errstate(divide="ignore"):
        length = np.log2(np.where(table.length > 0, table.length, np.nan))
    return {
        "answer length, log2": length,
        "prompt length, log2": np.log2(1.0 + np.array([len(p) for p in prompts])),
        "mean background of the answer": mean(table, table.features.background),
        "mean leave-one-out surprise": surprise,
        "atypical: surprise beyond the source's mean": surprise - [usual[s] for s in table.source],
        "loss of the untuned base, mean": mean(table, table.base_loss),
        "entropy of the answer's tokens": np.array([entropy(a) for a in answers]),
        "share of the answer that stands in the prompt": np.array(
            [np.isin(a, p).mean() if len(a) else np.nan for p, a in zip(prompts, answers, strict=True)]
        ),
        "share of the answer in known 4-token contexts": mean(table, table.features.known >= TEMPLATE_TOKENS),
        "template share of the answer": of_answer,
        "template share of the prompt": of_prompt,
        "near-copy mass, all rows": all_near,
        "near-copy mass beyond the dose": other_near,
        "near-copy mass of the answer beyond the dose": answer_near,
        "share of other answers to the prompt": 1 - table.conflict_share,
        "density: mean cosine to 10 neighbours": density,
        "local intrinsic dimension, 20 neighbours": dimension,
    }


def mean(table: measured.Table, values: np.ndarray) -> np.ndarray:
    """(n,) mean over each answer's tokens; NaN without any."""
    sums = np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))
    with np.errstate(invalid="ignore"):
        return (sums[table.answers.end] - sums[table.answers.start]) / np.where(table.length > 0, table.length, np.nan)


def entropy(tokens: np.ndarray) -> float:
    """Of the tokens over its maximum: 1 all different, 0 all the same; NaN under 2 tokens."""
    if len(tokens) < 2:
        return float("nan")
    share = np.unique(tokens, return_counts=True)[1] / len(tokens)
    return float(-(share * np.log(share)).sum() / np.log(len(tokens)))


def templates(parts: list[np.ndarray], table: measured.Table) -> np.ndarray:
    """(n,) share of a part's 4-token stretches that stand in that part of at least 5 other members."""
    stretches = [[p[i : i + TEMPLATE_TOKENS].tobytes() for i in range(len(p) - TEMPLATE_TOKENS + 1)] for p in parts]
    held = Counter(s for i in np.flatnonzero(table.member) for s in set(stretches[i]))
    least = TEMPLATE_ROWS + table.member  # the row itself is counted too
    return np.array(
        [np.mean([held[s] >= n for s in some]) if some else np.nan for some, n in zip(stretches, least, strict=True)]
    )


def near_mass(
    prompts: list[np.ndarray], answers: list[np.ndarray], table: measured.Table, whole: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) log2(1 + sum of kappa) over the trained rows but exact copies, and over those of other members alone.

    kappa is what the scan makes of the Jaccard of 3-token shingles, of prompt and answer (`whole`) or answers alone.
    """
    texts = [np.concatenate(pair) if whole else pair[1] for pair in zip(prompts, answers, strict=True)]
    for t in table.trained:
        answer = measured.tokens_of(t.row.answer)[0][: max(corpus.MIN_ANSWER_TOKENS, table.length[t.member])]
        texts.append(np.concatenate((measured.tokens_of(t.row.prompt)[0], answer)) if whole else answer)
    sets = [{t[i : i + SHINGLE].tobytes() for i in range(len(t) - SHINGLE + 1)} for t in texts]
    number: dict[bytes, int] = {}
    places = np.array([number.setdefault(s, len(number)) for some in sets for s in sorted(some)])
    sizes = np.array([len(s) for s in sets])
    holds = csr_matrix((np.ones(len(places)), places, np.cumsum([0, *sizes])), (len(sets), len(number)))
    count = len(prompts)
    common = (holds[:count] @ holds[count:].T).toarray()
    jaccard = common / np.maximum(sizes[:count, None] + sizes[None, count:] - common, 1)
    kappa = near_copy_share(replaced_of_100(jaccard, SHINGLE)) ** NEAR_POWER
    of, level = np.array([(t.member, t.replaced) for t in table.trained]).T
    mine = np.arange(count)[:, None] == of
    return tuple(np.log2(1 + np.where(left, 0, kappa).sum(1)) for left in (mine & (level == 0), mine))


def surroundings(rows: list[corpus.Row], table: measured.Table) -> tuple[np.ndarray, np.ndarray]:
    """(n,) mean cosine to the nearest trained texts but the row's own, and local dimension, by the static embedding."""
    trained = [t.row for t in {(t.member, t.row.prompt, t.row.answer): t for t in table.trained}.values()]
    texts = [f"{r.prompt}\n{r.answer}".encode() for r in [*rows, *trained]]
    count = len(texts)
    batch = SegmentBatch(
        np.arange(count), np.zeros(count, np.int32), np.zeros(count, np.int32),
        np.full(count, ROLE_CODE["text"], np.uint8), np.ones(count, bool), np.cumsum([0, *map(len, texts)]),
        np.frombuffer(b"".join(texts), np.uint8),
    )  # fmt: skip
    vectors, words, unknown = next(iter(embedding.load().encode_batches([batch], [np.ones(count, bool)], 1)))
    unit = vectors.astype(np.float64)
    norm = np.linalg.norm(unit, axis=1)
    measurable = (norm > 0) & (unknown <= embedding.MAX_UNKNOWN * words)
    unit /= np.where(norm > 0, norm, 1)[:, None]
    cosine = unit[: len(rows)] @ unit[len(rows) :].T
    own = np.array([[r is t or (r.prompt, r.answer) == (t.prompt, t.answer) for t in trained] for r in rows])
    cosine[own | ~measurable[len(rows) :]] = -1
    nearest = -np.sort(-cosine, axis=1)[:, :NEAREST]
    found = nearest[:, :CROWD].mean(1), local_intrinsic_dimension(chord_distances(nearest)).value
    return tuple(np.where(measurable[: len(rows)], f, np.nan) for f in found)


def latest_visit(table: measured.Table, o: measured.Observation, seed: int | None) -> np.ndarray:
    """(n,) how late in the last epoch a row or an exact copy of it was seen, 0 to 1; NaN where it never was.

    seed: of the simulated sampler; None: of the training itself.
    """
    cell = grid.CELLS[o.cell]
    found = np.full(len(table.member), np.nan)
    if o.epoch == 0:
        return found
    sampler = Sampler(cell.plan, measured.lengths(cell, table)[1] if seed is None else table.tokens)
    visits = sampler.epoch(np.random.default_rng([cell.seed if seed is None else seed, o.epoch - 1]))
    of, level = np.array([(t.member, t.replaced) for t in table.trained]).T
    exact = level[visits.rows] == 0
    np.fmax.at(found, of[visits.rows[exact]], visits.step[exact] / visits.steps)
    return found
