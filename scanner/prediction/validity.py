"""How far a prediction can be trusted: the plan and the data beside what the weights were fitted and tested on.

Every topic gets one statement with what follows from it:

    inside   the weights were fitted there
    note     worth knowing; the number of rows stands
    count    the number of rows is a guess; their order was checked under like conditions
    order    the number is a guess and the order of the rows was never checked, or was wrong when it was

What is said of the plan stands in plans.py, what is said of the data here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from scanner.effects import RECITED_UNSHUFFLED
from scanner.figures import listed, plural
from scanner.prediction.crediting import covered, credited, of_level, stood_source_by_source
from scanner.prediction.hazard import Weights
from scanner.prediction.openings import LENGTH as OPENING
from scanner.prediction.openings import MANY as MANY_OPENINGS
from scanner.prediction.plans import of_plan
from scanner.prediction.statements import (
    COUNT,
    INSIDE,
    MEANING,
    NOTE,
    ORDER,
    SEVERITIES,
    Statement,
    beyond,
    by_factor,
    of_test,
    span,
    times,
    unrecorded,
    visits,
)  # fmt: skip
from scanner.prediction.validated import LENGTH, SOURCE_BY_SOURCE, Validated
from scanner.settings import TrainingPlan

FEW = 0.05
"""Share of the rows below which what is outside concerns these rows and not the whole prediction."""
MOST_OPENINGS = 0.2
"""Share of answers that begin alike from which on no cell of the fit is like it (benchmarks/prediction)."""
LANGUAGE = {"Han": "Chinese", "Kana": "Japanese", "Hangul": "Korean"}
WORTH = ", counted as what they are worth to the plan's model and kind of tuning"
"""Of visits: the `exposures` of single rows do not depend on it."""
CARRIED = "A level read on rows packed so carries that (scan rehearse --packed-as-they-stand, then scan calibrate)."
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
    step_tokens: float = 0.0  # supervised tokens of an optimizer step, on average
    # packed as they stand, rows make other steps than shuffled ones
    source_by_source: bool = False  # of one source (effects.order_facts)
    side_by_side: bool = False  # in which copies meet (effects.standing_facts)


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
    found += _order_of_rows(weights, facts)
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
    yield from of_plan(plan, weights, facts.optimizer_steps)
    yield from (
        *_languages(facts, known),
        *_doses(facts, known),
        *_lengths(facts, known),
        *_steps(facts, known),
        *_openings(facts),
    )


def _order_of_rows(weights: Weights, facts: Facts) -> Iterator[Statement]:
    """Whether rows are packed in the order in which those were that the level was read on."""
    stood = stood_source_by_source(weights)
    matters = facts.source_by_source or facts.side_by_side
    read_on = "The level was read on rows packed as they stand, source by source"
    if stood == "none" and not matters:
        return
    severity, short = COUNT, "rows packed as they stand"
    if stood == "none":
        text = (
            "Packed as they stand, source by source or with copies side by side, rows make other steps than shuffled "
            f"ones, as which they are predicted: small models trained that way recited {RECITED_UNSHUFFLED} rows as "
            "were predicted, so the number is a guess, rather too large; for rows shuffled before packing it is none."
            + (f" {CARRIED}" if facts.source_by_source else "")
        )
    elif stood == "some":
        which, other = ("too large", "of those packed so") if facts.source_by_source else ("too small", "of the others")
        text = (
            f"{read_on}, and on others together, so it lies between: the number is a guess, rather {which}. Calibrate "
            f"on the rehearsals {other} alone (scan calibrate --name)."
        )
    elif not facts.source_by_source:
        short = "rows of mixed sources, the level read on rows packed source by source"
        text = (
            f"{read_on}, of which fewer are recited than of rows in mixed order, as these are: the number is a guess, "
            "rather too small. A level for these is read on shuffled rows (scan rehearse without "
            "--packed-as-they-stand)."
        )
    elif facts.side_by_side:
        text = (
            f"{read_on}, as these are. But copies stand side by side here, meet in a step when packed so, and are "
            "predicted as if they stood apart: the number is a guess, rather too large."
        )
    elif SOURCE_BY_SOURCE not in covered(weights).packings:
        text = f"{read_on}, as these are, but too few of them were recited to tell whether the number holds for it."
    else:
        severity, short = NOTE, "rows packed as they stand, like those the level was read on"
        text = f"{read_on}, as these are: the number is one for them, and too small for rows shuffled before packing."
    yield Statement("order of the rows", severity, short, text)


def outside_of(dose: npt.NDArray[np.float64], script: pl.Series, known: Validated) -> pl.Series:
    """(m,) what puts each row outside of what was fitted: "", "dose", "script" or "dose, script"."""
    highest = np.inf if known.dose_per_row is None else known.dose_per_row[1]
    frame = pl.DataFrame({"dose": np.asarray(dose) > highest, "script": ~script.is_in([*known.scripts, NO_LETTERS])})
    parts = [pl.when(name).then(pl.lit(name)) for name in ("dose", "script")]
    return frame.select(pl.concat_str(parts, separator=", ", ignore_nulls=True).alias("outside")).to_series()


def _languages(facts: Facts, known: Validated) -> Iterator[Statement]:
    n, counts = len(facts.script), facts.script.cast(pl.String).value_counts().rows()
    fitted = listed(known.languages or known.scripts) or "nothing that is recorded"
    elsewhere = {LANGUAGE[script] for script in known.scripts if script in LANGUAGE}
    unnamed = listed([name for name in known.languages if name not in elsewhere])
    for script, rows in sorted(counts, key=lambda found: (-found[1], found[0])):
        if script == NO_LETTERS:
            continue
        told, are = f"{rows:,} of {n:,}", "is" if rows == 1 else "are"
        language = LANGUAGE.get(script, "")
        called = f"{language or f'{script} script'}"
        test = known.test_of("script", script)
        if script in known.scripts:
            if language in known.languages:
                inside, text = INSIDE, f"{called} rows ({told}): the weights were fitted on {fitted}."
            else:
                inside = NOTE
                text = (
                    f"{rows:,} of {plural(n, 'row')} {are} answered in {script} script, of which "
                    f"{unnamed or 'no language by name'} is validated; other languages in it are not told apart."
                )
            yield Statement(f"{script} script", inside, f"{called} ({plural(rows, 'row')})", text, rows)
        elif test:
            made = of_test(test, f"{script} script", f"{called} rows ({rows:,} of {n:,})", f"{called} data")
            yield Statement(made.topic, made.severity, made.short, f"{called} rows ({told}): {made.text}", rows)
        else:
            text = (
                f"{called} rows ({told}): the weights were fitted on {fitted}; how many of these are recited is a "
                "guess, and their order was never checked."
            )
            yield Statement(f"{script} script", ORDER, f"{called} rows ({rows:,} of {n:,})", text, rows)


def _doses(facts: Facts, known: Validated) -> Iterator[Statement]:
    if known.dose_per_row is None:
        yield unrecorded("dose")
        return
    n, top = len(facts.dose), known.dose_per_row[1]
    above = int((facts.dose > top).sum())
    largest = float(facts.dose.max(initial=0.0))
    if not above:
        yield Statement("dose", INSIDE, f"dose up to {visits(largest)}",
                        f"No row has a dose above {visits(top)} visits, the largest validated{WORTH}.", 0)  # fmt: skip
        return
    many = above > FEW * n
    yield Statement(
        "dose", COUNT if many else NOTE, f"dose beyond {visits(top)} visits ({plural(above, 'row')})",
        f"{above:,} of {plural(n, 'row')} {'has' if above == 1 else 'have'} a dose beyond the largest validated "
        f"({visits(top)} visits; the largest here {visits(largest)}{WORTH}): for them the curve is extrapolated.",
        above,
    )  # fmt: skip


def _lengths(facts: Facts, known: Validated) -> Iterator[Statement]:
    if known.answer_tokens is None:
        yield unrecorded(LENGTH)
        return
    n, top = len(facts.answer_tokens), known.answer_tokens[1]
    means = known.reaching(LENGTH, known.mean_answer)
    if facts.mean_answer and means and by_factor(beyond(facts.mean_answer, means)[0], "mean_answer") != INSIDE:
        mean, validated = plural(round(facts.mean_answer), "answer token"), span(means, "{:,.0f}".format)
        yield Statement(
            LENGTH, COUNT, f"{mean} per row on average (validated {validated})",
            f"Rows have {mean} on average, all turns together; validated: {validated}. The more a step has to teach, "
            "the fewer rows are recited, and how many beyond these lengths is extrapolated: the number of rows is a "
            "guess.",
        )  # fmt: skip
        return
    longer = int((facts.answer_tokens > top).sum())
    text = (
        f"{longer:,} of {plural(n, 'row')} {'has' if longer == 1 else 'have'} answers of more than {top:,.0f} tokens, "
        "the longest validated: how far beyond that they are recited, and whether to their end, is extrapolated; "
        "whether they reach 16 tokens is not."
        if longer else f"No answer is longer than {top:,.0f} tokens, the longest validated."
    )  # fmt: skip
    name = f"answers up to {top:,.0f} tokens"
    if longer:
        name = f"answers beyond {top:,.0f} tokens ({plural(longer, 'row')})"
    yield Statement(LENGTH, NOTE if longer else INSIDE, name, text, longer)


def _steps(facts: Facts, known: Validated) -> Iterator[Statement]:
    """Files of an earlier version know no such range, and nothing is said by them."""
    if known.step_tokens is None or not facts.step_tokens:
        return
    factor, side = beyond(facts.step_tokens, known.step_tokens)
    severity = by_factor(factor, "step_tokens")
    tokens, validated = plural(round(facts.step_tokens), "answer token"), span(known.step_tokens, "{:,.0f}".format)
    text = f"An optimizer step holds {tokens} on average; validated: {validated}."
    if severity != INSIDE:
        checked = "" if severity == COUNT else " and their order was never checked"
        beside = f"{times(factor)} the most validated" if side == "above" else "fewer than the fewest validated"
        text = (
            f"An optimizer step holds {tokens} on average, {beside} ({validated}): what a visit is worth in such steps "
            f"was not measured, so the number of rows is a guess{checked}."
        )
    yield Statement("batch size", severity, f"steps of {tokens} (validated {validated})", text)


def _openings(facts: Facts) -> Iterator[Statement]:
    share = f"{100 * facts.shared_openings:.0f} %"
    name = f"boilerplate ({share} of the answers begin like five others)"
    begin = f"{share} of the different answers begin with {OPENING} tokens with which five others begin"
    unseen = (
        "weights that had seen no such set foretold .8 to 1.1 of what a set of 19 % recited, and the order "
        "(AUROC .81 to .94)"
    )
    if facts.shared_openings <= MANY_OPENINGS:
        yield Statement("boilerplate", INSIDE, name, f"{begin}: like most of what was fitted.")
    elif facts.shared_openings <= MOST_OPENINGS:
        yield Statement(
            "boilerplate", NOTE, name, f"{begin}. Such rows teach one another: one set of 19 % was among the fitted; "
            f"{unseen}. The interval of the number is wider for it.",
        )  # fmt: skip
    else:
        yield Statement(
            "boilerplate", COUNT, name, f"{begin}, more than in anything fitted (19 %). Such rows teach one another: "
            f"{unseen}. Rehearse on this set (scan rehearse) for a number.",
        )  # fmt: skip
