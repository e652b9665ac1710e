"""Fit the weights of the token hazard model to what `measure.py` found, test them, and write the weights file.

The rows are derived again from the data files (`corpus.py`), their features by the shipped kernels; only hits were
stored. The likelihood is that of N_pre itself: N_pre tokens recalled, then one missed. The shipped prediction, not a
copy of it, gives the scores in the tables.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

import corpus
import numpy as np
import polars as pl
import torch
from scipy.stats import rankdata

from scanner.kernels.contexts import COPIED, RARITY_STEP, SEEN, ContextFeatures, context_features
from scanner.kernels.hazard import GAIN_UNIT
from scanner.prediction import Answers, Hazard, Priors, Regime, Weights, turn_tails
from scanner.prediction.hazard import EXTRACTED, NODES, RARITY_UNIT, SURPRISE_UNIT
from scanner.sampling import UNIT_SUPERVISED_TOKENS, near_copy_share, simulate
from scanner.settings import TrainingPlan

NAMES = list(Hazard.__dataclass_fields__)
PRIORS = Priors(
    offset=0.0,
    offset_sd=0.7,
    lora_dose=0.2,
    size_exponent=0.37,
    fitted_parameters=4.2e6,
    unknown_parameters=1e9,
    most_steps=1e9,
)
CHUNKS = 10  # controls are counted against the training set in so many parts, so that they hardly count one another
PULL = 2e-4  # weight decay of the fit per observation: keeps a coefficient that the data do not need near zero
FITTED_EPOCHS = (1, 2, 4, 6, 8)
TESTED_EPOCHS = (2, 4, 6, 8)


@dataclass(frozen=True)
class Table:
    """All measured rows (members, then controls) with the features of their answers, and each run's doses."""

    source: np.ndarray  # (n,) str
    member: np.ndarray  # (n,) bool
    copies: np.ndarray  # (n,) exact copies, itself included; 0 for controls
    plain: np.ndarray  # (n,) copies with near copies at their kappa
    length: np.ndarray  # (n,) kernel tokens of the answer
    features: ContextFeatures  # of the answers' tokens alone, one after the other
    answers: Answers  # one per row
    trained: list[corpus.Trained]
    supervised: np.ndarray  # (trained,) kernel tokens
    tokens: np.ndarray  # (trained,) kernel tokens, prompt included


@dataclass(frozen=True)
class Observation:
    """One run at one epoch: N_pre and dose of every row."""

    run: str
    epoch: int
    n_pre: np.ndarray  # (n,)
    dose: np.ndarray  # (n,)
    regime: Regime


@lru_cache(maxsize=1 << 20)
def _hash(token: str) -> int:
    return int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest(), "little")


def _tokens(text: str) -> list[int]:
    return [_hash(text[a:b]) for a, b in corpus.spans(text)]


def assemble(data: Path, measurements: pl.DataFrame, members: int, seed: int) -> Table:
    """Rows, planted copies and context features, in the order of the measurements."""
    rows, controls = corpus.choose(data, members, seed)
    controls = controls[:: corpus.CONTROL_STRIDE]
    trained = corpus.plant(rows, seed)
    first = measurements.filter((pl.col("run") == measurements["run"][0]) & (pl.col("epoch") == 0))
    length = first.sort("member", "place", descending=[True, False])["tokens"].to_numpy()

    def encode(row: corpus.Row, cut: int) -> tuple[list[int], list[int]]:
        return _tokens(row.prompt), _tokens(row.answer)[:cut]  # what the context cut off was not trained on

    training = [encode(t.row, length[t.member]) for t in trained]
    held = [encode(row, length[len(rows) + i]) for i, row in enumerate(controls)]
    group = np.array([t.member if t.replaced == 0 else len(rows) + i for i, t in enumerate(trained)])
    wanted: list[tuple[ContextFeatures, int, int, int]] = []  # features, first and last+1 token, place in the result
    for part in range(CHUNKS):
        guests = held[part::CHUNKS]
        both = training + guests
        offsets = np.cumsum([0, *(len(p) + len(a) for p, a in both)])
        tokens = np.array([t for p, a in both for t in (*p, *a)], np.uint64)
        groups = np.concatenate((group, group.max() + 1 + np.arange(len(guests))))
        features = context_features(tokens, offsets, groups, 1)
        places = range(len(training), len(both)) if part else range(len(both))
        for place in places:
            if place < len(rows) or place >= len(training):
                prompt, answer = both[place]
                begin = int(offsets[place]) + len(prompt)
                index = place if place < len(rows) else len(rows) + part + (place - len(training)) * CHUNKS
                wanted.append((features, begin, begin + len(answer), index))
    wanted.sort(key=lambda w: w[3])
    names = ("log_probability", "known", "agreed", "rarity", "within")
    joined = {n: np.concatenate([getattr(w[0], n)[w[1] : w[2]] for w in wanted]) for n in names}
    total = len(rows) + len(controls)
    edges = np.cumsum([0, *length])
    kappa = [float(near_copy_share(t.replaced)) for t in trained]
    copies = np.bincount([t.member for t in trained if t.replaced == 0], minlength=total)
    return Table(
        source=np.array([r.source for r in [*rows, *controls]]),
        member=np.arange(total) < len(rows),
        copies=copies,
        plain=np.bincount([t.member for t in trained], kappa, minlength=total),
        length=length,
        features=ContextFeatures(**joined, entropy=np.ones(total, np.float32)),
        answers=Answers(np.arange(total), edges[:-1], edges[1:]),
        trained=trained,
        supervised=np.array([len(a) for _, a in training]),
        tokens=np.array([len(p) + len(a) for p, a in training]),
    )


def observe(table: Table, out: Path, run: str, batching: str, simulated: int | None = None) -> list[Observation]:
    """Doses from the recorded batches, or (what a user has) from the simulated sampler with a seed of its own."""
    hits = pl.read_parquet(out / f"{run}.parquet").sort("member", "place", descending=[True, False])
    visits = pl.read_parquet(out / f"{run}-visits.parquet")
    owner = np.array([t.member for t in table.trained])
    kappa = near_copy_share([t.replaced for t in table.trained])
    found = []
    for epoch in (0, *FITTED_EPOCHS):
        now = hits.filter(pl.col("epoch") == epoch)
        if not len(now):
            continue
        if simulated is None or epoch == 0:
            seen = visits.filter(pl.col("epoch") <= epoch)
            row = seen["trained"].to_numpy()
            # batches are written one after the other; only an epoch's last one may be smaller
            place = seen.select(pl.int_range(pl.len()).over("epoch")).to_series().to_numpy() // 16
            _, batch = np.unique(seen["epoch"].to_numpy() * 100_000 + place, return_inverse=True)
            total = np.bincount(batch, table.supervised[row])
            own = np.bincount(row, UNIT_SUPERVISED_TOKENS / total[batch], minlength=len(table.trained))
        else:
            plan = TrainingPlan(epochs=epoch, learning_rate=3e-4, batch_size=16, batching=batching)
            order = np.arange(len(table.trained), dtype=np.uint64)
            own = simulate(plan, table.supervised, table.tokens, order, seed=simulated).own
        dose = np.bincount(owner, kappa * own, minlength=len(table.member))
        regime = Regime(float(own.mean()), float(now["steps"][0]))
        found.append(Observation(run, epoch, now["n_pre"].to_numpy(), dose, regime))
    return found


def fit(
    table: Table, observations: list[Observation], rows: np.ndarray, start: Hazard | None = None
) -> tuple[Hazard, float]:
    """Maximum likelihood of N_pre over the given rows, from `start`; returns the weights and nats per observation."""
    f = table.features
    surprise = -f.log_probability / SURPRISE_UNIT
    columns = [
        (f.within & SEEN > 0), (f.within & COPIED > 0), f.rarity * RARITY_STEP / RARITY_UNIT, surprise,
        np.log2(1 + f.agreed.astype(float)),
    ]  # fmt: skip
    base = torch.tensor(np.stack(columns).astype(np.float32))
    index, owner, gain, set_gain, progress, miss = [], [], [], [], [], []
    count = 0
    for o in observations:
        for i in rows:
            taken = min(int(o.n_pre[i]) + 1, int(table.length[i]))
            index.append(np.arange(table.answers.start[i], table.answers.start[i] + taken))
            owner.append(np.full(taken, count))
            gain.append(np.full(taken, np.log2(1 + o.dose[i])))
            set_gain.append(np.full(taken, np.log2(1 + o.regime.set_dose)))
            progress.append(np.full(taken, o.regime.progress()))
            last = np.zeros(taken, bool)
            last[-1] = o.n_pre[i] < table.length[i]
            miss.append(last)
            count += 1
    x = base[:, torch.tensor(np.concatenate(index))]
    own = torch.tensor(np.concatenate(owner))
    gain_t, set_t, progress_t = (torch.tensor(np.concatenate(v).astype(np.float32)) for v in (gain, set_gain, progress))
    sign = 1 - 2 * torch.tensor(np.concatenate(miss).astype(np.float32))
    nodes, share = np.polynomial.hermite_e.hermegauss(NODES)
    node, log_share = (torch.tensor(v, dtype=torch.float32) for v in (nodes, np.log(share / share.sum())))
    first = np.array([0.0, 0.2, 0.5, -0.5, -2.0, -0.5, 0.2, -0.5, -0.3, 0.2, -0.1, -1.0, 0.5, -0.5])
    if start is not None:
        first = start.vector()
        first[11:] = np.log(np.expm1(np.maximum(first[11:], 1e-3)))  # the inverse of softplus
    w = torch.tensor(first.astype(np.float32), requires_grad=True)
    soft = torch.nn.functional.softplus

    def loss() -> torch.Tensor:
        seen, copied, rare, odd, agreed = x
        z = w[0] + w[1] * seen + w[2] * copied + w[3] * rare
        z = z + set_t * soft(w[4] + w[5] * odd + w[6] * agreed)
        gain_of = torch.where(gain_t > 0, GAIN_UNIT * (gain_t.clamp(min=1e-6) / GAIN_UNIT) ** soft(w[12]), 0.0)
        z = z + gain_of * soft(w[7] + w[8] * odd + w[9] * copied + w[10] * rare + soft(w[11]) * progress_t)
        each = torch.nn.functional.logsigmoid(sign[:, None] * (z[:, None] + soft(w[13]) * node))
        rows_log = torch.zeros(count, NODES).index_add_(0, own, each)
        return -torch.logsumexp(rows_log + log_share, 1).mean() + PULL * (w**2).sum()

    optimizer = torch.optim.LBFGS(
        [w], max_iter=120 if start is None else 50, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    final = w.detach().double()
    final[11:] = soft(final[11:])
    return Hazard(*(round(float(v), 4) for v in final)), loss().item()


def score(table: Table, hazard: Hazard, o: Observation) -> np.ndarray:
    """P(N_pre >= 16) by the shipped prediction."""
    weights = Weights(hazard, PRIORS, False, {})
    return turn_tails(table.features, table.answers, o.dose, o.dose * 0, o.regime, weights, threads=1).extract


def auroc(value: np.ndarray, truth: np.ndarray) -> float:
    """Chance that a positive outranks a negative, ties counted half; NaN without both kinds."""
    positive = int(truth.sum())
    if positive in (0, len(truth)):
        return float("nan")
    rank = rankdata(value)
    return float((rank[truth].sum() - positive * (positive + 1) / 2) / (positive * (len(truth) - positive)))


def average_precision(value: np.ndarray, truth: np.ndarray) -> float:
    """Mean precision at the positives; ties are taken in the worst order."""
    if not truth.any():
        return float("nan")
    ranked = truth[np.lexsort((truth, -value))]
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean())


def tables(table: Table, runs: dict[str, list[Observation]], left_out: dict[str, np.ndarray], fitted: dict,
           ceiling: dict[str, str]) -> list[str]:  # fmt: skip
    """AUROC / average precision for N_pre >= 16, per run and epoch, over members long enough, and single-copy ones."""
    start, length = table.answers.start, np.maximum(1, table.length)
    cumulated = np.concatenate(([0.0], np.cumsum(table.features.log_probability, dtype=np.float64)))
    ngram = (cumulated[table.answers.end] - cumulated[start]) / length
    lines = []
    for run, observations in runs.items():
        for only_single in (False, True):
            rows = table.member & (table.length >= EXTRACTED)
            if only_single:
                rows &= table.plain == 1
            tested = [o for o in observations if o.epoch in TESTED_EPOCHS]
            title = "rows with one copy and no near copy" if only_single else "all members"
            head = " | ".join(
                f"epoch {o.epoch} ({int((o.n_pre[rows] >= EXTRACTED).sum())} of {rows.sum()})" for o in tested
            )
            lines += [f"**{run}, {title}**", "", f"| score | {head} |", "|---" * (len(tested) + 1) + "|"]
            scores = {
                "number of copies": lambda o: table.copies.astype(float),
                "copies with near copies at their kappa": lambda o: table.plain,
                "- answer length": lambda o: -table.length.astype(float),
                "- leave-one-out n-gram loss": lambda o: ngram,
                "dose alone": lambda o: o.dose,
                "hazard, fitted on everything": lambda o: fitted[(o.run, o.epoch)],
                "**hazard, source left out of the fit**": lambda o: left_out[(o.run, o.epoch)],
                "**same, sampler simulated with another seed**": lambda o: left_out[(o.run, o.epoch, "simulated")],
            }
            if run in ceiling:
                other = {o.epoch: o for o in runs[ceiling[run]]}
                scores["ceiling: N_pre under another seed"] = lambda o, other=other: other[o.epoch].n_pre.astype(float)
            for name, value in scores.items():
                cells = []
                for o in tested:
                    v, truth = value(o)[rows], o.n_pre[rows] >= EXTRACTED
                    cells.append(f"{auroc(v, truth):.3f} / {average_precision(v, truth):.3f}")
                lines.append(f"| {name} | " + " | ".join(cells) + " |")
            counts = [
                f"{left_out[(o.run, o.epoch)][rows].sum():.0f} / {(o.n_pre[rows] >= EXTRACTED).sum()}" for o in tested
            ]
            lines += ["| predicted / true rows, source left out | " + " | ".join(counts) + " |", ""]
    return lines


def write_weights(
    path: Path, hazard: Hazard, note: dict, runs: list[str], nats: float, bars: dict, most_steps: float
) -> None:
    """rules/weights/prediction.toml."""
    pretrained = sum(phase["tokens"] for phase in note["pretraining"])
    lines = [
        "# Weights of the token hazard model (scanner/prediction/hazard.py states the formula and each unit).",
        "# Written by benchmarks/prediction/fit.py; do not edit by hand, fit again or calibrate.",
        'kind = "weights"', 'id = "weights/prediction"', "calibrated = false", "",
        "[hazard]  # logits per unit of the feature",
        *(f"{name} = {value}" for name, value in asdict(hazard).items()), "",
        "[priors]  # no fit of ours stands behind these; calibration must replace them",
        "offset = 0.0  # logits; the level, one number per base model",
        "offset_sd = 0.7  # logits; how far the offsets of base models lie apart",
        "# a LoRA visit beside a full one: near zero at every size in 2506.20856, more elsewhere",
        f"lora_dose = {PRIORS.lora_dose}",
        "# dose ~ parameters^this: an Adam step moves a layer's output by learning rate x width, and width grows",
        "# from 256 at 4.2 M parameters to 4,096 at 7 B: 2e-5 on a large model is as large a step as 3e-4 on this one",
        f"size_exponent = {PRIORS.size_exponent}",
        f"fitted_parameters = {note['parameters']:.4g}",
        f"unknown_parameters = {PRIORS.unknown_parameters:.4g}  # where the plan names no model size",
        f"most_steps = {most_steps:.0f}  # the longest training of the fit; progress is counted up to here", "",
        "[provenance]",
        'script = "benchmarks/prediction/measure.py, benchmarks/prediction/fit.py"',
        f'date = "{date.today().isoformat()}"',
        f'model = "causal transformer, {note["parameters"]} parameters, pre-trained on {pretrained} tokens"',
        f"runs = {json.dumps(runs)}",
        f"learning_rate = {note['learning_rate']}", f"rows_per_step = {note['rows_per_step']}",
        f"epochs = {json.dumps(list(FITTED_EPOCHS))}", f"seed = {note['seed']}",
        f"nats_per_observation = {nats:.4f}",
        *(f"{name} = {value}" for name, value in bars.items()), "",
        "[provenance.sha256]", *(f'"{name}" = "{value}"' for name, value in note["sha256"].items()), "",
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--measurements", type=Path, default=Path(__file__).parent / "measurements")
    parser.add_argument("--weights", type=Path, help="where to write the weights; nothing is written without it")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    out = args.measurements
    note = json.loads((out / "measurements.json").read_text())
    names = [run for run in note["runs"] if (out / f"{run}.parquet").exists()]
    table = assemble(args.data, pl.read_parquet(out / f"{names[0]}.parquet"), note["members"], note["seed"])
    runs = {run: observe(table, out, run, note["runs"][run][0]) for run in names}
    simulated = {run: observe(table, out, run, note["runs"][run][0], simulated=77) for run in names}
    everything = [o for run in names for o in runs[run]]
    hazard, nats = fit(table, everything, np.arange(len(table.member)))
    print(asdict(hazard), f"nats per observation {nats:.4f}", flush=True)

    fitted = {(o.run, o.epoch): score(table, hazard, o) for o in everything}
    left_out = {key: np.full(len(table.member), np.nan) for key in fitted}
    left_out |= {(*key, "simulated"): value.copy() for key, value in left_out.items()}
    for source in np.unique(table.source):
        there = table.source == source
        other, _ = fit(table, everything, np.flatnonzero(~there), hazard)
        for run in names:
            for o, s in zip(runs[run], simulated[run], strict=True):
                left_out[(run, o.epoch)][there] = score(table, other, o)[there]
                left_out[(run, o.epoch, "simulated")][there] = score(table, other, s)[there]
        print(f"left out {source}", flush=True)
    ceiling = {a: b for a, b in (("random-1", "random-2"), ("random-2", "random-1")) if a in names and b in names}
    lines = tables(table, runs, left_out, fitted, ceiling)
    controls = ~table.member & (table.length >= EXTRACTED)
    last = runs[names[0]][-1]
    lines.append(
        f"Controls at epoch {last.epoch} of {names[0]}: predicted / true rows with N_pre >= 16: "
        f"{left_out[(names[0], last.epoch)][controls].sum():.1f} / {(last.n_pre[controls] >= EXTRACTED).sum()} "
        f"of {controls.sum()}."
    )
    print("\n".join(lines))
    rows = table.member & (table.length >= EXTRACTED)
    truth = last.n_pre >= EXTRACTED
    bars = {
        "auroc_left_out_sources": round(auroc(left_out[(names[0], last.epoch)][rows], truth[rows]), 3),
        "auroc_number_of_copies": round(auroc(table.copies[rows].astype(float), truth[rows]), 3),
    }
    print(bars)
    if args.weights:
        write_weights(args.weights, hazard, note, names, nats, bars, max(o.regime.steps for o in everything))


if __name__ == "__main__":
    main()
