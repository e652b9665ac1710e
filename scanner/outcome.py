"""What a confirmation measured, told: rates of the run, prediction beside measurement, membership, what is next."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scanner import confirmation, recalls, strata
from scanner.display import screen
from scanner.evidence import Evidence
from scanner.figures import plural
from scanner.objects import Bool, Float64, Int64
from scanner.prediction import EXTRACTED, reliability, scoring
from scanner.prediction.calibration import SIZE_FACTOR
from scanner.prediction.scoring import DRAWS
from scanner.prediction.trainings import plan_in_words
from scanner.retelling import FEW_ROWS, size
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder
from scanner.text import one_line

CONTROL = "control"
FEWEST_CONTROLS = 100
"""Below, nothing is said of membership (SCIENCE 5)."""
RATES = ("extracted", "whole", "extracted_beyond_base")
TOP, EXCERPT = 5, 60  # rows that are shown; characters of each side
SHOWN_SCORES = ("loss_per_token_nats", "min_k_plus", "zlib_ratio", "log_ratio_per_token_nats")


def figures(
    run: RunFolder, settings: Settings, table: pl.DataFrame, controls: pl.DataFrame | None, population: int,
    left_out: int, skipped: int, has_base: bool,
) -> dict[str, Any]:  # fmt: skip
    """What confirmation/<name>.json says of the measured rows.

    table, controls: as they are written. population: rows that the measured ones were chosen from. left_out: controls
    that are rows of the run. skipped: records of --controls that could not be read.
    """
    known = table.filter(pl.col("reason").is_null())
    why = Counter(table["reason"].drop_nulls().to_list())
    counts = Counter(table["stratum"].to_list())
    return {
        "rows": {
            "chosen_from": population, "chosen": len(table), "measured": len(known),
            "strata": dict(sorted(counts.items())), "not_measured": dict(sorted(why.items())),
        },
        "not_measured": confirmation.unmeasured({"tuned", "distribution", *(["base"] if has_base else [])}),
        "rates": {name: _of_rate(strata.rate(known, name)) for name in RATES},
        "beside": _beside(run, settings, known),
        "controls": None if controls is None else _of_controls(controls, left_out, skipped),
        "membership": _membership(run, known, controls),
    }  # fmt: skip


def summarised(run: RunFolder, settings: Settings) -> list[dict[str, Any]]:
    """summary.confirmed of scan.json: every finished confirmation, and whether it is of the plan predicted now."""
    return [
        {
            "name": name, "called": recalls.called(name, facts), "model": facts["model"]["name"],
            "base": facts["base"] and facts["base"]["name"], "plan": plan_in_words(plan_of(facts)),
            "is_of_plan": replace(plan_of(facts), model_params=None) == replace(settings.plan, model_params=None),
            "rows": facts["rows"], "rates": facts["rates"], "beside": facts["beside"],
            "controls": facts["controls"], "membership": facts["membership"], "told": in_words(name, facts),
        }
        for name, facts in recalls.finished(run).items()
    ]  # fmt: skip


def _of_rate(found: strata.Rate | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"share": found.share, "low": found.low, "high": found.high, "rows": found.rows,
            "expected_rows": found.expected_rows, "measured": found.measured, "hits": found.hits}  # fmt: skip


def _beside(run: RunFolder, settings: Settings, known: pl.DataFrame) -> dict[str, Any]:
    """p_extract beside what was measured, of the measured rows and of the run; `missing` says why it is not."""
    if settings.tokenizer is not None:
        return {"missing": "the audit predicts in the tokens of --tokenizer, and what is measured is in the scan's own"}
    both = known.filter(pl.col("predicted").is_not_null() & pl.col("extracted").is_not_null())
    if not len(both):
        return {"missing": "no measured row has a prediction"}
    p, truth = both["predicted"].to_numpy(), both["extracted"].to_numpy()
    every = run.read_table("prediction", ["p_extract", "calibrated"])
    return {
        "rows": len(both),
        "expected_rows": math.fsum(np.sort(p)),
        "measured_rows": int(truth.sum()),
        "expected_of_run": float(every["p_extract"].fill_nan(None).drop_nulls().sum()),
        "auroc": scoring.auroc(p, truth, both["weight"].to_numpy()),
        "bins": [b.as_dict() for b in reliability.bins(p, truth)],
        "calibrated": bool(every["calibrated"].all()),
        "predicted_parameters": settings.plan.model_params,
    }


def _of_controls(controls: pl.DataFrame, left_out: int, skipped: int) -> dict[str, Any]:
    known = controls.filter(pl.col("reason").is_null())
    extracted = known["extracted"].drop_nulls()
    return {"rows": len(controls), "measured": len(known), "rows_of_the_run": left_out, "skipped": skipped,
            "with_answer": len(extracted), "extracted": int(extracted.sum())}  # fmt: skip


def _membership(run: RunFolder, known: pl.DataFrame, controls: pl.DataFrame | None) -> dict[str, Any]:
    """AUROC of telling rows of the run from held-out ones, by each score; `missing` says why there is none."""
    if controls is None:
        return {"missing": "no --controls were given"}
    held = controls.filter(pl.col("reason").is_null())
    if len(held) < FEWEST_CONTROLS:
        return {"missing": f"{len(held):,} held-out rows were measured; less than {FEWEST_CONTROLS} tell too little"}
    cluster = run.read_table("rows", ["row_id", "cluster_id"])
    member = known.join(cluster, on="row_id", how="left", maintain_order="left")
    unit = member.select(pl.coalesce("cluster_id", -1 - pl.col("row_id")))["cluster_id"].to_numpy()
    found = {}
    for name, sign in confirmation.scores().items():
        both = pl.concat([member.select(name, "weight"), held.select(name, "weight")])
        score = sign * both[name].cast(pl.Float64).to_numpy()
        truth = np.arange(len(both)) < len(member)
        units = np.concatenate((unit, unit.max(initial=0) + 1 + np.arange(len(held))))
        there = ~np.isnan(score)
        if there[truth].any() and (there & ~truth).sum() >= FEWEST_CONTROLS:
            found[name] = interval(score[there], truth[there], both["weight"].to_numpy()[there], units[there])
    return {"scores": found}


def interval(score: Float64, truth: Bool, weight: Float64, unit: Int64) -> dict[str, float | None]:
    """AUROC with its 90 % bootstrap interval; copies are drawn together, members and held-out rows apart."""
    rng = np.random.default_rng(0)
    units, number = np.unique(unit, return_inverse=True)
    sides = [np.unique(number[truth == kind]) for kind in (True, False)]
    drawn = []
    for _ in range(DRAWS):
        times = sum(np.bincount(rng.choice(side, len(side)), minlength=len(units)) for side in sides)
        drawn.append(scoring.auroc(score, truth, weight * np.asarray(times)[number]))
    low, high = np.quantile(np.array(drawn, np.float64), (0.05, 0.95))
    return {"auroc": scoring.auroc(score, truth, weight), "low": float(low), "high": float(high)}


@dataclass(frozen=True)
class Outcome:
    """What `scan confirm` measured, and where it stands."""

    run: RunFolder
    name: str
    facts: dict[str, Any]

    @property
    def path(self) -> Any:
        """The table."""
        return self.run.path / recalls.FOLDER / f"{self.name}.parquet"

    def lines(self) -> list[str]:
        """What was found, in sentences."""
        return in_words(self.name, self.facts)

    def render(self, text: str = "masked", console: Console | None = None) -> None:
        """Print one screen; text of the data cannot steer the terminal."""
        console = console or screen()
        for line in self.lines():
            console.print(Text(line))
        table = pl.read_parquet(self.path, glob=False)
        shown = self._top(table, Evidence(self.run, text))
        if shown.row_count:
            console.print(Text("\nRecited furthest", "bold"))
            console.print(shown)
        console.print(Text("\nNext", "bold"))
        for command, what in self._next():
            console.print(Text(f"  {command}", "cyan").append(f"  # {what}", "dim"), soft_wrap=True)

    def _top(self, table: pl.DataFrame, evidence: Evidence) -> Table:
        """The rows recited furthest, one of each cluster of duplicates."""
        clusters = self.run.read_table("rows", ["row_id", "cluster_id"])
        ranked = table.filter(pl.col("n_pre") > 0).join(clusters, on="row_id", how="left", maintain_order="left")
        ranked = ranked.sort(["n_pre", "tokens", "row_id"], descending=[True, False, False])
        own = pl.coalesce("cluster_id", -1 - pl.col("row_id"))
        top = ranked.with_columns(own=own).unique("own", keep="first", maintain_order=True).head(TOP)
        evidence.load(top["row_id"].to_list())
        shown = Table.grid(padding=(0, 2, 0, 0))
        for justify in ("right", "right", "right"):
            shown.add_column(justify=justify, no_wrap=True)
        shown.add_column(ratio=1)
        if len(top):
            shown.add_row(*(Text(head, "dim") for head in ("row", "recited", "predicted p", "asked -> answered")))
        for row_id, n_pre, tokens, p in top.select("row_id", "n_pre", "tokens", "predicted").iter_rows():
            sides = (evidence.prompt(row_id, EXCERPT), evidence.answer(row_id, EXCERPT))
            excerpt = evidence.missing or one_line(" -> ".join(sides), 2 * EXCERPT)
            cells = (str(row_id), f"{n_pre:,} of {tokens:,}", "-" if p is None else f"{p:.2f}", excerpt)
            shown.add_row(*map(Text, cells))
        return shown

    def _next(self) -> list[tuple[str, str]]:
        run = shlex.quote(str(self.run.path))
        steps = []
        found = self.facts["rates"]["extracted"]
        if found and found["hits"] >= FEW_ROWS and "missing" not in self.facts["beside"]:
            calibrating = f"scan calibrate {run} --name {shlex.quote(self.name)} -o calibration.toml"
            steps += [(calibrating, "fit the level of this base"),
                      ("scan DATASET --calibration calibration.toml", "predict with it")]  # fmt: skip
        if found and found["hits"]:
            steps.append((f"scan explain {run} ROW", "everything about one row"))
        return [*steps, (str(self.path), "the table")]


def in_words(name: str, facts: dict[str, Any]) -> list[str]:
    """What a confirmation found, in sentences: from its name and .json alone."""
    rows, model = facts["rows"], f"{recalls.called(name, facts)} ({size(facts['model']['parameters'])})"
    plan = plan_in_words(plan_of(facts))
    beside = f" beside {facts['base']['name']}" if facts["base"] else ""
    strata_ = rows["strata"]
    how = (
        "all of them"
        if strata_.get(strata.ALL)
        else (
            f"the {strata_.get(strata.TOP, 0):,} likeliest and {strata_.get(strata.UNIFORM, 0):,} drawn from the others"
        )
    )
    lines = [
        f"{model}{beside}: {rows['measured']:,} of {rows['chosen_from']:,} rows "
        f"measured, {how}; {facts['precision']}. Plan of the run: {plan}."
    ]
    if plan_of(facts).method == "lora" and not facts["adapter"]:
        lines.append(
            f"{facts['model']['name']} is a whole model, and the run is predicted for LoRA: that is one training where "
            "the adapter was merged into the model. Else predict for full fine-tuning (scan plan RUN --method full), "
            "and confirm under another --name."
        )
    lines += [
        f"{plural(count, 'row')} {_were(count)} not measured: {why}." for why, count in rows["not_measured"].items()
    ]
    lines += _rate_lines(facts)
    lines += _beside_lines(facts)
    lines += _few_lines(facts)
    lines += _control_lines(facts)
    return lines


def plan_of(facts: dict[str, Any]) -> TrainingPlan:
    """The plan that a confirmation was made under."""
    return Settings.from_dict({"plan": facts["plan"]}).plan


def _rate_lines(facts: dict[str, Any]) -> list[str]:
    found, whole = facts["rates"]["extracted"], facts["rates"]["whole"]
    if found is None:
        return [f"No measured row has an answer of {EXTRACTED} tokens or more within the model's context."]
    lines = [
        f"Recited for {EXTRACTED} tokens or more: {_rate(found)} of the rows with so long an answer, about "
        f"{found['expected_rows']:,.0f} of {found['rows']:,.0f} rows ({found['hits']:,} of {found['measured']:,} "
        "measured)."
    ]
    if whole:
        measured = f"{whole['hits']:,} of {whole['measured']:,} measured"
        lines.append(f"Recited to the end: {_rate(whole)} of the rows with an answer ({measured}).")
    beyond = facts["rates"]["extracted_beyond_base"]
    if beyond and not found["hits"]:
        return lines
    if beyond:
        lines.append(
            f"Of the {found['hits']:,} measured ones the base completes {found['hits'] - beyond['hits']:,} too, which "
            f"is no memory of this training; {_rate(beyond)} of the rows are recited by the tuned model alone."
        )
    else:
        lines.append("What the model would have completed before tuning is not told apart: give --base.")
    return lines


def _rate(found: dict[str, Any]) -> str:
    """4.2 % (3.1 to 5.6)."""
    if found["high"] - found["low"] < 1e-12:
        return f"{100 * found['share']:.1f} %"
    return f"{100 * found['share']:.1f} % (90 % interval {100 * found['low']:.1f} to {100 * found['high']:.1f} %)"


def _beside_lines(facts: dict[str, Any]) -> list[str]:
    beside = facts["beside"]
    if "missing" in beside:
        return [f"Predicted and measured are not compared: {beside['missing']}."]
    order = "not defined, for rows of one kind only" if beside["auroc"] is None else f"{beside['auroc']:.3f}"
    level = "calibrated: no test of it if on these very rows" if beside["calibrated"] else "not calibrated"
    found, other = facts["rates"]["extracted"], _of_another_size(beside, plan_of(facts))
    return [
        f"Predicted ({level}) for the measured rows: {beside['expected_rows']:.1f}, measured "
        f"{beside['measured_rows']:,} of {beside['rows']:,}; for the run: {beside['expected_of_run']:,.1f}, estimated "
        f"{found['expected_rows']:,.0f}. Order of the rows: AUROC {order}, weighted as drawn.{other}"
    ]


def _few_lines(facts: dict[str, Any]) -> list[str]:
    """Why no calibration is offered next, where rows are compared and hardly one of them is recited."""
    found = facts["rates"]["extracted"]
    if found is None or "missing" in facts["beside"] or found["hits"] >= FEW_ROWS:
        return []
    more = "" if facts["rows"]["strata"].get(strata.ALL) else "measure more of them (--rows, --all), or "
    return [
        f"Fewer than {FEW_ROWS} recited rows to fit the level of this base on: {more}rehearse the plan for more epochs "
        "(scan rehearse). scan calibrate takes these all the same, and says how open they leave the level."
    ]


def _of_another_size(beside: dict[str, Any], plan: TrainingPlan) -> str:
    """What to say where the run was predicted for a model of another size than the one that was measured."""
    predicted, measured = beside["predicted_parameters"], plan.model_params or math.nan
    if predicted and 1 / SIZE_FACTOR <= predicted / measured <= SIZE_FACTOR:
        return ""
    named = f"of {size(predicted)}" if predicted else "of no named size"
    return (
        f" That is predicted for a model {named}, and this one has {size(measured)}; to predict for it: scan plan RUN "
        f"--model-params {measured / 1e6:.3g}M."
    )


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _control_lines(facts: dict[str, Any]) -> list[str]:
    held, found = facts["controls"], facts["membership"]
    if held is None:
        return []
    inside = held["rows_of_the_run"]
    left = (
        f"; {inside:,} {'stands' if inside == 1 else 'stand'} in the run and {_were(inside)} left out" if inside else ""
    )
    explained = ", which no training on them explains" if held["extracted"] else ""
    if held["with_answer"]:
        count = f"{held['extracted']:,} of {held['with_answer']:,}"
        are = "is" if held["extracted"] == 1 else "are"
        of_them = f"{count} controls {are} recited for {EXTRACTED} tokens or more"
    elif held["measured"]:
        of_them = f"none of the {held['measured']:,} controls measured has an answer of {EXTRACTED} tokens or more"
    else:
        of_them = "no row of --controls was measured"
    lines = [f"Held out: {of_them}{explained}{left}."]
    if held["skipped"]:
        lines.append(f"Records of --controls that could not be read, and were skipped: {held['skipped']:,}.")
    if "missing" in found:
        return [*lines, f"Nothing is said of membership: {found['missing']}."]
    told = ", ".join(
        f"{name} {one['auroc']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
        for name in SHOWN_SCORES if (one := found["scores"].get(name))
    )  # fmt: skip
    return [*lines, f"Rows of the run told from held-out ones, AUROC (90 % interval): {told}. It is that of membership "
                    "only where both were drawn from one source."]  # fmt: skip
