"""How far a prediction can be trusted: the plan and the data beside what the weights were fitted and tested on.

Every topic gets one statement with what follows from it:

    inside   the weights were fitted there
    note     worth knowing; the number of rows stands
    count    the number of rows is a guess; their order was checked under like conditions
    order    the number is a guess and the order of the rows was never checked, or was wrong when it was

The factors are judgement, not measurement: how far one may go beyond a range before its name changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from scanner.effects import RECITED_UNSHUFFLED
from scanner.figures import listed, plural, plural_g
from scanner.prediction.crediting import covered, credited, of_level
from scanner.prediction.hazard import Weights
from scanner.prediction.openings import LENGTH as OPENING
from scanner.prediction.statements import (
    COUNT,
    INSIDE,
    MEANING,
    NOTE,
    ORDER,
    SEVERITIES,
    Statement,
    amount,
    times,
    visits,
)  # fmt: skip
from scanner.prediction.validated import Range, Transfer, Validated
from scanner.settings import TrainingPlan

FACTORS = {"parameters": (2.0, 10.0), "learning_rate": (1.5, 30.0), "epochs": (1.25, 3.0)}
"""Times beyond the range from which on the number, and from which on the order too, is outside."""
STEPS_FACTOR = 1.5
FEW = 0.05
"""Share of the rows below which what is outside concerns these rows and not the whole prediction."""
LEAST_K = 4
"""Smallest k of a goldfish loss that was ever rehearsed; larger ones lie between it and none."""
MANY_OPENINGS, MOST_OPENINGS = 0.1, 0.2
"""Share of answers that begin alike from which on one cell of the fit alone is like it (`boilerplate-1`: .19), and from
which on none is (benchmarks/prediction)."""
MEAN_ANSWERS = (20, 70)
"""Mean supervised tokens of a row in the sets that were rehearsed: 22 to 66."""
LANGUAGE = {"Han": "Chinese", "Kana": "Japanese", "Hangul": "Korean"}
NO_LETTERS = "none"  # answers of digits and signs have no script


@dataclass(frozen=True)
class Facts:
    """What must be known of the data; rows are those with a prediction."""

    dose: npt.NDArray[np.float64]  # (m,) effective, copies included
    answer_tokens: npt.NDArray[np.int64]  # (m,) supervised tokens of the row
    script: pl.Series  # (m,) of str: that most letters of the answers are in
    optimizer_steps: float
    shared_openings: float = 0.0  # share of different rows whose answers begin alike, see openings.shared
    own_tokens: bool = True  # False: counted with --tokenizer
    mean_answer: float = 0.0  # supervised tokens of a row of the set with any, as far as they are not cut
    order_matters: bool = False  # packed as they stand, rows make other steps than shuffled (effects.order_facts)


@dataclass(frozen=True)
class Validity:
    """All statements, the worst first, and what they come to."""

    statements: tuple[Statement, ...]
    severity: str  # of the prediction as a whole
    rows: int  # with a prediction
    rows_outside: Mapping[str, int]  # by dose, by script: rows that lie outside by themselves

    def as_dict(self) -> dict[str, Any]:
        """As it stands in scan.json."""
        return {
            "severity": self.severity,
            "meaning": MEANING[self.severity],
            "rows": self.rows,
            "rows_outside": dict(self.rows_outside),
            "statements": [s.as_dict() for s in self.statements],
        }


def judge(plan: TrainingPlan, weights: Weights, facts: Facts) -> Validity:
    """Hold plan and data against what the weights were fitted on and the runs behind their calibration went through."""
    known, n = covered(weights), len(facts.dose)
    shipped = {s.topic: s for s in _statements(plan, weights, facts)}
    found = [credited(s, shipped[s.topic]) for s in _statements(plan, replace(weights, validated=known), facts)]
    found += of_level(plan, weights)
    if not facts.own_tokens:
        found.append(Statement(
            "tokenizer", COUNT, "another tokenizer",
            "Everything is counted with --tokenizer; the weights were fitted on the scan's own tokens (words, CJK "
            "characters, punctuation marks), which are longer: the number of rows was checked with one small tokenizer "
            "of English alone."
        ))  # fmt: skip
    if facts.order_matters:
        found.append(Statement(
            "order of the rows", COUNT, "rows packed as they stand",
            "Packed as they stand, source by source or with copies side by side, rows make other steps than shuffled "
            f"ones, as which they are predicted: small models trained that way recited {RECITED_UNSHUFFLED} rows as "
            "were predicted, so the number is a guess, rather too large; for rows shuffled before packing it is none."
        ))  # fmt: skip
    general = {s: s.rows is None or s.rows > FEW * n for s in found}
    # what is wrong with a few rows comes after what is wrong with all of them, and before what is only worth knowing
    found.sort(key=lambda s: (-(SEVERITIES.index(s.severity) if general[s] else min(1.5, SEVERITIES.index(s.severity))),
                              -(n if s.rows is None else s.rows)))  # fmt: skip
    worst = max((s.severity for s in found if general[s]), key=SEVERITIES.index, default=INSIDE)
    outside = outside_of(facts.dose, facts.script, known)
    count = {name: int(outside.str.contains(name, literal=True).sum()) for name in ("dose", "script")}
    return Validity(tuple(found), worst, n, count)


def _statements(plan: TrainingPlan, weights: Weights, facts: Facts) -> Iterator[Statement]:
    """Topic by topic; no topic twice."""
    known = weights.validated
    yield from (*_size(plan, weights), *_method(plan, weights), *_trainer(plan, known), *_rate(plan, known))
    yield from (*_length_of_training(plan, facts, weights), *_languages(facts, known))
    yield from (*_doses(facts, known), *_lengths(facts, known), *_openings(facts))


def outside_of(dose: npt.NDArray[np.float64], script: pl.Series, known: Validated) -> pl.Series:
    """(m,) what puts each row outside of what was fitted: "", "dose", "script" or "dose, script"."""
    highest = np.inf if known.dose_per_row is None else known.dose_per_row[1]
    frame = pl.DataFrame({"dose": np.asarray(dose) > highest, "script": ~script.is_in([*known.scripts, NO_LETTERS])})
    parts = [pl.when(name).then(pl.lit(name)) for name in ("dose", "script")]
    return frame.select(pl.concat_str(parts, separator=", ", ignore_nulls=True).alias("outside")).to_series()


def _beyond(value: float, span: Range | None) -> tuple[float, str]:
    """How far outside of a range, as a factor from 1 on, and on which side."""
    if span is None:
        return np.inf, "above"
    if value > span[1]:
        return (value / span[1] if span[1] else np.inf), "above"
    return (span[0] / value if value else np.inf) if value < span[0] else 1.0, "below"


def _by_factor(factor: float, name: str) -> str:
    near, far = FACTORS[name]
    return INSIDE if factor <= near else COUNT if factor <= far else ORDER


def _unrecorded(topic: str) -> Statement:
    text = f"The weights file does not say which {topic} it was fitted on: nothing is validated."
    return Statement(topic, ORDER, f"{topic} (nothing recorded)", text)


def _size(plan: TrainingPlan, weights: Weights) -> Iterator[Statement]:
    known = weights.validated.parameters
    if known is None:
        yield _unrecorded("model size")
        return
    size = plan.model_params or weights.priors.unknown_parameters
    tests = [t for t in weights.validated.tested if t.topic == "parameters"]
    held = [float(t.value) for t in tests if t.order_holds and t.count_holds]
    seen = (min(known[0], *held), max(known[1], *held)) if held else known
    factor, side = _beyond(size, seen)
    severity = _by_factor(factor, "parameters")
    inside = _by_factor(_beyond(size, known)[0], "parameters") == INSIDE
    who = f"The plan's model has {amount(size)} parameters"
    if not plan.model_params:
        who = f"The plan names no model size (--model-params); {amount(size)} parameters are assumed"
    extent = "largest" if side == "above" else "smallest"
    beside = f"{times(factor)} the {extent} validated"
    if side == "below":
        beside = f"the {extent} validated has {times(factor)} as many"
    close = [t for t in tests if 0.5 <= float(t.value) / size <= 2]
    if not inside and close:
        yield _of_test(close[0], "model size", f"{amount(size)} parameters", f"{who}; one of this size")
        return
    fitted = _span(seen, amount)
    if severity == INSIDE:
        text = f"{who}; validated: {fitted}."
    else:
        checked = "" if severity == COUNT else "; the order of rows was never checked at this size"
        text = f"{who}, {beside} ({amount(seen[0 if side == 'below' else 1])}): the number of rows is a guess{checked}."
    named = amount(size) if plan.model_params else "not named"
    yield Statement("model size", severity, f"model size ({named}; validated {fitted})", text)


def _of_test(test: Transfer, topic: str, what: str, who: str) -> Statement:
    """What a test of a kind that was not fitted says."""
    severity = NOTE if test.order_holds and test.count_holds else COUNT if test.order_holds else ORDER
    ceiling = "" if np.isnan(test.ceiling) else f", where another seed reaches {test.ceiling:.3f}"
    verdict = {
        NOTE: "order and number held",
        COUNT: "the order held, the number did not",
        ORDER: "the order did not hold" if test.recited_rows >= 10 else "too few to say whether the order holds",
    }[severity]
    return Statement(
        topic, severity, what,
        f"{who} was tested and not fitted: {test.recited_rows:,} of {test.rows:,} rows were recited, "
        f"{test.expected_rows:,.0f} predicted, AUROC {test.auroc:.3f}{ceiling}: {verdict}.",
    )  # fmt: skip


def _method(plan: TrainingPlan, weights: Weights) -> Iterator[Statement]:
    name = {"lora": f"LoRA of rank {plan.lora_rank}", "full": "full fine-tuning"}[plan.method]
    test = weights.validated.test_of("method", plan.method)
    if plan.method in weights.validated.methods:
        yield Statement("method", INSIDE, name, f"The weights were fitted on {name.split(' of ')[0]}.")
    elif test:
        yield _of_test(test, "method", name, name.split(" of ")[0])
    else:
        worth = (
            f"that a visit is worth {weights.priors.lora_dose:.2g} of a visit under full fine-tuning comes from "
            "small rehearsals" if plan.method == "lora" else "what it does is not measured"
        )  # fmt: skip
        yield Statement(
            "method", ORDER, f"{name} (never rehearsed)",
            f"{name[:1].upper()}{name[1:]} was never rehearsed for these weights: {worth}; the number of rows is a "
            "guess and their order was never checked.",
        )  # fmt: skip


def _trainer(plan: TrainingPlan, known: Validated) -> Iterator[Statement]:
    """Batching, loss average, schedule, goldfish loss: their dose is simulated, what it does may not be measured."""
    for topic, value, fitted, what in (
        ("batching", plan.batching, known.batchings, f"{plan.batching} batches"),
        ("loss average", plan.loss_average, known.loss_averages, f"loss averaged per {plan.loss_average}"),
        ("schedule", plan.lr_schedule, known.lr_schedules, f"a {plan.lr_schedule} learning-rate schedule"),
        ("goldfish loss", *_goldfish(plan.goldfish_k)),
    ):
        test = known.test_of(topic, value)
        if value in fitted:
            if value:
                yield Statement(topic, INSIDE, what, f"The weights were fitted on {what}.")
        elif test:
            yield _of_test(test, topic, what, what[:1].upper() + what[1:])
        else:
            mild = topic == "schedule"
            yield Statement(
                topic, NOTE if mild else COUNT, f"{what} (never rehearsed)",
                f"Never rehearsed for these weights: {what}. The dose follows from the simulated trainer; what it does "
                f"was not measured{'' if mild else ', so the number of rows is a guess'}.",
            )  # fmt: skip


def _goldfish(k: int | None) -> tuple[str, tuple[str, ...], str]:
    """What a test of it is called, what was fitted (none of it), and what it is in words."""
    if k is None:
        return "", ("",), ""
    if k < LEAST_K:
        return f"goldfish {k}", (), f"a goldfish loss of k = {k}"
    return "goldfish", (), "a goldfish loss"


def _rate(plan: TrainingPlan, known: Validated) -> Iterator[Statement]:
    if known.learning_rate is None:
        yield _unrecorded("learning rate")
        return
    factor, side = _beyond(plan.learning_rate, known.learning_rate)
    fitted = _span(known.learning_rate, "{:g}".format)
    severity = INSIDE if plan.learning_rate == 0 else _by_factor(factor, "learning_rate")
    if severity == INSIDE:
        text = f"The learning rate is {plan.learning_rate:g}; validated: {fitted}."
    else:
        checked = "" if severity == COUNT else " and their order was never checked"
        beside = f"{times(factor)} {'larger' if side == 'above' else 'smaller'} than validated ({fitted})"
        text = (
            f"The learning rate of {plan.learning_rate:g} is {beside}: how a dose grows with it was not measured this "
            f"far, so the number of rows is a guess{checked}."
        )
    yield Statement("learning rate", severity, f"learning rate {plan.learning_rate:g} (validated {fitted})", text)


def _length_of_training(plan: TrainingPlan, facts: Facts, weights: Weights) -> Iterator[Statement]:
    known = weights.validated
    if known.epochs is None or known.optimizer_steps is None:
        yield _unrecorded("length of training")
        return
    most = known.epochs[1]
    severity = _by_factor(max(1.0, plan.epochs / most), "epochs")
    text = f"The plan has {plural_g(plan.epochs, 'epoch')}; validated: up to {most:g}."
    if severity != INSIDE:
        checked = "" if severity == COUNT else "; the order of rows was never checked after so many"
        text = (
            f"{plan.epochs:g} epochs are {times(plan.epochs / most)} the longest training validated ({most:g}): the "
            f"number of rows is a guess{checked}."
        )
    yield Statement("epochs", severity, f"{plural_g(plan.epochs, 'epoch')} (validated up to {most:g})", text)
    steps, top = facts.optimizer_steps, known.optimizer_steps[1]
    if steps <= STEPS_FACTOR * top:
        taken = plural(round(steps), "optimizer step")
        yield Statement("optimizer steps", INSIDE, taken, f"The plan takes {taken}; validated: up to {top:,.0f}.")
    else:
        yield Statement(
            "optimizer steps", COUNT, f"{steps:,.0f} optimizer steps (validated up to {top:,.0f})",
            f"{steps:,.0f} optimizer steps are {times(steps / top)} the most validated ({top:,.0f}); that a model "
            f"learns faster the longer it trains is counted up to {weights.priors.most_steps:,.0f} only, so the number "
            "of rows is a guess.",
        )  # fmt: skip


def _languages(facts: Facts, known: Validated) -> Iterator[Statement]:
    n, counts = len(facts.script), facts.script.cast(pl.String).value_counts().rows()
    fitted = listed(known.languages or known.scripts) or "nothing that is recorded"
    elsewhere = {LANGUAGE[script] for script in known.scripts if script in LANGUAGE}
    unnamed = listed([name for name in known.languages if name not in elsewhere])
    for script, rows in sorted(counts, key=lambda found: (-found[1], found[0])):
        if script == NO_LETTERS:
            continue
        told, many = f"{rows:,} of {n:,}", plural(rows, "row")
        language = LANGUAGE.get(script, "")
        called = f"{language or f'{script} script'}"
        test = known.test_of("script", script)
        if script in known.scripts:
            if language in known.languages:
                inside, text = INSIDE, f"{called} rows ({told}): the weights were fitted on {fitted}."
            else:
                inside = NOTE
                text = (
                    f"{rows:,} of {plural(n, 'row is', 'rows are')} answered in {script} script, of which "
                    f"{unnamed or 'no language by name'} is validated; other languages in it are not told apart."
                )
            yield Statement(f"{script} script", inside, f"{called} ({many})", text, rows)
        elif test:
            made = _of_test(test, f"{script} script", f"{called} rows ({rows:,} of {n:,})", f"{called} data")
            yield Statement(made.topic, made.severity, made.short, f"{called} rows ({told}): {made.text}", rows)
        else:
            text = (
                f"{called} rows ({told}): the weights were fitted on {fitted}; how many of these are recited is a "
                "guess, and their order was never checked."
            )
            yield Statement(f"{script} script", ORDER, f"{called} rows ({rows:,} of {n:,})", text, rows)


def _doses(facts: Facts, known: Validated) -> Iterator[Statement]:
    if known.dose_per_row is None:
        yield _unrecorded("dose")
        return
    n, top = len(facts.dose), known.dose_per_row[1]
    beyond = int((facts.dose > top).sum())
    largest = float(facts.dose.max(initial=0.0))
    if not beyond:
        yield Statement("dose", INSIDE, f"dose up to {visits(largest)}",
                        f"No row has a dose above {visits(top)} visits, the largest validated.", 0)  # fmt: skip
        return
    many = beyond > FEW * n
    yield Statement(
        "dose", COUNT if many else NOTE, f"dose beyond {visits(top)} visits ({plural(beyond, 'row')})",
        f"{beyond:,} of {plural(n, 'row has', 'rows have')} a dose beyond the largest validated ({visits(top)} visits; "
        f"the largest here {visits(largest)}): for them the curve is extrapolated.", beyond,
    )  # fmt: skip


def _lengths(facts: Facts, known: Validated) -> Iterator[Statement]:
    if known.answer_tokens is None:
        yield _unrecorded("answer length")
        return
    n, top = len(facts.answer_tokens), known.answer_tokens[1]
    if facts.mean_answer and not MEAN_ANSWERS[0] <= facts.mean_answer <= MEAN_ANSWERS[1]:
        validated = f"{MEAN_ANSWERS[0]} to {MEAN_ANSWERS[1]}"
        mean = f"{plural(round(facts.mean_answer), 'token')} on average"
        yield Statement(
            "answer length", COUNT, f"answers of {mean} (validated {validated})",
            f"Answers have {mean}; validated: {validated}. The more a step has to teach, the fewer rows are recited, "
            "and how many beyond these lengths is extrapolated: the number of rows is a guess.",
        )  # fmt: skip
        return
    longer = int((facts.answer_tokens > top).sum())
    text = (
        f"{longer:,} of {plural(n, 'row has', 'rows have')} answers of more than {top:,.0f} tokens, the longest "
        "validated: how far beyond that they are recited, and whether to their end, is extrapolated; whether they "
        "reach 16 is not."
        if longer else f"No answer is longer than {top:,.0f} tokens, the longest validated."
    )  # fmt: skip
    name = f"answers up to {top:,.0f} tokens"
    if longer:
        name = f"answers beyond {top:,.0f} tokens ({plural(longer, 'row')})"
    yield Statement("answer length", NOTE if longer else INSIDE, name, text, longer)


def _openings(facts: Facts) -> Iterator[Statement]:
    share = f"{100 * facts.shared_openings:.0f} %"
    name = f"boilerplate ({share} of the answers begin like five others)"
    begin = f"{share} of the different answers begin with {OPENING} tokens with which five others begin"
    unseen = (
        "weights that had seen no such set foretold two thirds to all of what a set of 19 % recited, and the order "
        "(AUROC .81 to .94)"
    )
    if facts.shared_openings <= MANY_OPENINGS:
        yield Statement("boilerplate", INSIDE, name, f"{begin}: like most of what was fitted.")
    elif facts.shared_openings <= MOST_OPENINGS:
        yield Statement(
            "boilerplate", NOTE, name, f"{begin}. Such rows teach one another: one set of 19 % was among the fitted; "
            f"{unseen}.",
        )  # fmt: skip
    else:
        yield Statement(
            "boilerplate", COUNT, name, f"{begin}, more than in anything fitted (19 %). Such rows teach one another: "
            f"{unseen}. Rehearse on this set (scan rehearse) for a number.",
        )  # fmt: skip


def _span(known: Range, show: Any) -> str:
    low, high = show(known[0]), show(known[1])
    return low if low == high else f"{low} to {high}"
