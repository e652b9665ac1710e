"""A finished run judged again: which rows stay and what becomes of the others, from what the run has stored.

scan plan RUN --jaccard 0.9 ...  ->  rows, whatif, plan and summary anew; no text is read
scan plan RUN --epochs 8 ...     ->  the prediction too, see repredicting.py
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import polars as pl

from scanner import (
    choosing,
    compiling,
    earlier,
    fieldranks,
    inputs,
    keeping,
    pairing,
    planning,
    predicting,
    projecting,
    repredicting,
    tables,
)  # fmt: skip
from scanner.errors import ChangedInputError, RunError, SettingsError
from scanner.objects import Float64, Rows
from scanner.progress import Progress
from scanner.settings import Settings, TrainingPlan, option_name
from scanner.store import RunFolder
from scanner.versions import PREDICTING, shipped


def judge(run: RunFolder, changes: dict[str, Any], progress: Progress) -> Settings:
    """Write the tables and scan.json of a finished run under other settings; returns all that now hold.

    changes: entries of Settings to replace. A Jaccard threshold below the audit's floor is refused.
    """
    scan = run.read_json("scan.json")
    before = Settings.from_dict(scan["settings"])
    if (wanted := changes.get("jaccard", before.jaccard)) < before.floor:
        raise SettingsError(
            f"--jaccard {wanted:g} lies below the audit's floor of {before.floor:g}; pairs below it were not kept: "
            f"audit again with --floor {wanted:g}"
        )
    settings = _sized(before.changed(**changes), scan)
    with progress.stage("look at the rows to keep"):
        ranks = _field_ranks(run, scan, before, settings, progress)  # may be refused, so before anything is written
    if repredicting.is_needed(changes):
        compiling.load_kernels(progress)
        scan["notes"] |= repredicting.predict_again(run, scan, settings, progress)
        scan["versions"] |= {name: shipped()[name] for name in PREDICTING}
    with progress.stage("judge again"):
        names = [i["name"] for i in scan["inputs"]]
        scan["notes"]["brake"] = _plan_again(run, settings, names, ranks.rank if ranks else None)
        scan["notes"]["keep"] = choosing.keep_notes(settings, ranks)
        projecting.project_again(run, settings, lambda: predicting.weights_of_run(scan, settings))
        scan["settings"] = settings.as_dict()
        scan["training_plan"] = scan["settings"]["plan"]
        scan["summary"] = tables.summary(run, scan["notes"], settings)
        run.write_json("scan.json", scan)
    return settings


def _field_ranks(
    run: RunFolder, scan: dict[str, Any], before: Settings, settings: Settings, progress: Progress
) -> fieldranks.FieldRanks | None:
    """Ranks for --keep-policy field:NAME: the run's own, else from the inputs, which must be what they were."""
    policy = keeping.parse(settings.keep_policy)
    if policy.kind != "field":
        return None
    table = run.read_table("rows")
    stored = fieldranks.of_table(table)
    if stored is not None and keeping.parse(before.keep_policy).field == policy.field:
        return fieldranks.FieldRanks(stored, {k: v for k, v in scan["notes"]["keep"].items() if k != "policy"})
    need = f"--keep-policy field:{policy.field} needs values that this run has not stored"
    sources = inputs.sources_of(scan)
    for source in sources:
        if not source.path.exists():
            raise RunError(
                f"{need}, and {source.path} is no longer there to read them from; bring it back, or audit again with "
                f"this policy: scan DATASET --keep-policy field:{policy.field}"
            )
    if changed := inputs.first_changed(scan, sources):
        raise ChangedInputError(
            f"{need}, and {changed} changed since the audit (its SHA-256 is another); bring it back, or audit again "
            f"with this policy: scan DATASET --keep-policy field:{policy.field}"
        )
    fieldranks.check(sources, policy.field, settings)
    progress.say(f"reading field {policy.field} from the input again")
    pairs = run.read_table("pairs", ["row_a", "row_b"])
    row_id = table["row_id"].to_numpy()
    wanted = np.searchsorted(row_id, np.unique(pl.concat([pairs["row_a"], pairs["row_b"]]).to_numpy()))
    firsts = [entry["first_row"] for entry in scan["inputs"]]
    return choosing.read_field(sources, firsts, row_id, wanted, settings)


def _plan_again(run: RunFolder, settings: Settings, source_names: list[str], field_rank: Float64 | None) -> list[str]:
    """Cluster and plan from stored tables under other settings; writes rows and plan, returns the brake's messages.

    field_rank (n,): with --keep-policy field: only, see fieldranks.
    """
    table, pairs, spans, predicted = (run.read_table(name) for name in ("rows", "pairs", "spans", "prediction"))
    n = len(table)
    row_id = table["row_id"].to_numpy()
    source = (
        table["source"]
        .replace_strict({name: i for i, name in enumerate(source_names)}, return_dtype=pl.Int32)
        .to_numpy()
    )
    place = np.zeros(n, np.int64)
    # only the order of contents matters here, not the digests themselves
    digest = np.stack([run.read_array("content_rank").astype(np.uint64)] * 2, axis=1)
    rows = Rows(row_id, source, table["line"].to_numpy(), place, place, place.astype(np.int32), digest, (), ())
    texts = pairing.groups_of(row_id, pairs.filter(pairing.COPIES))
    quality = table["quality.score"].fill_nan(0).to_numpy().astype(np.float64)
    matches = run.read_table("matches") if run.has_table("matches") else earlier.NONE
    preferred = keeping.preference(
        rows, settings.keep_policy, source_names, quality, table["length.supervised_tokens"].to_numpy(), field_rank,
        choosing.is_copied(rows, matches),
    )  # fmt: skip
    clusters = choosing.stars(row_id, texts, pairs, preferred.rank, settings)
    table = table.with_columns(
        cluster_id=pl.Series(clusters.cluster).replace(-1, None), cluster_size=pl.Series(clusters.size)
    )
    table = tables.with_field(table, field_rank)
    found = choosing.findings(
        rows, clusters, preferred, pairs, spans, predicted, table, matches, run.read_table("unread")
    )
    plan = planning.make_plan(found, settings)
    run.write_table("rows", table)
    run.write_table("plan", plan)
    return planning.brake(plan, source, settings, source_names)


def _sized(settings: Settings, scan: dict[str, Any]) -> Settings:
    """Settings whose plan has the size of the base that the run measured, where it names none, as an audit has it."""
    base = scan["notes"]["prediction"].get("base")
    return settings if base is None else settings.sized(base["parameters"])


_OF_NO_JUDGEMENT = ("plan", "threads", "text", "against", "base", "tokenizer", "rules")
"""The last four: what these name decides on which run it is, and wherever it lies, scan plan does not change it."""


def judged_since(run: RunFolder, settings: Settings) -> str:
    """What `scan plan` made of a run other than these settings ask for, in words; empty where nothing."""
    scan = run.read_json("scan.json")
    now = Settings.from_dict(scan["settings"])
    settings = _sized(settings, scan)
    other = [f.name for f in fields(Settings) if f.name not in _OF_NO_JUDGEMENT
             and getattr(now, f.name) != getattr(settings, f.name)]  # fmt: skip
    other += [f.name for f in fields(TrainingPlan) if getattr(now.plan, f.name) != getattr(settings.plan, f.name)]
    named = ", ".join(option_name(name) for name in other)
    return f", judged again since by scan plan with another {named}" if named else ""
