"""Results as the tables of README.md, between the marks that stand there."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"


def write_tables(results: dict[str, Any], readme: Path) -> None:
    """Replace what stands between the marks."""
    text = readme.read_text("utf-8")
    made = "\n\n".join([BEGIN, *sections(results), END])
    readme.write_text(re.sub(re.escape(BEGIN) + ".*" + re.escape(END), lambda _: made, text, flags=re.DOTALL), "utf-8")


def sections(results: dict[str, Any]) -> list[str]:
    """Every table that there are results for."""
    found = []
    if "machine" in results:
        found.append(_machine(results))
    if "speed" in results:
        found += ["### Seconds", _speed(results), "### Against the best of the others", _factors(results)]
    if "curves" in results:
        found += ["### Pairs caught, by their true Jaccard similarity", _curves(results["curves"])]
    for title, part in (("10,000 rows of benchmarks/rows.py", results.get("join")), *results.get("files", {}).items()):
        if part:
            found += [f"### Flags beside an exact join: {title}", _join(part)]
    if "templates" in results:
        found += ["### Templated rows", *_templates(results["templates"])]
    if "shared" in results:
        found += ["### One template shared by all rows", _shared(results["shared"])]
    return found


def _table(head: list[str], rows: list[list[str]]) -> str:
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *rows])


def _machine(results: dict[str, Any]) -> str:
    of, how = results["machine"], results["settings"]
    text = (
        f"{of['processor']}, {of['cores']} cores, {of['system']}, Python {of['python']}, {of['date']}; "
        f"{how['threads']} threads, up to {how['repeats']} repeats, medians."
    )
    versions: dict[str, str] = {}
    for at_size in results.get("speed", {}).values():
        for entry in at_size.values():
            for run in entry["runs"]:
                versions.update(run["versions"])
    if versions:
        text += " Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) + "."
    if how.get("provisional"):
        text = f"**Provisional: the machine was not quiet (load {of['load_before']:.1f}).** {text}"
    return text


def _middle(entry: dict[str, Any], what: str) -> float | None:
    values = [run[what] for run in entry["runs"] if run.get(what) is not None]
    return statistics.median(values) if values else None


def _speed(results: dict[str, Any]) -> str:
    lines = []
    for size, at_size in results["speed"].items():
        for name, entry in at_size.items():
            if not entry["runs"]:
                lines.append([name, f"{int(size):,}", f"not run: {entry['why']}", *[""] * 6])
                continue
            seconds = [run["seconds"] for run in entry["runs"]]
            middle = statistics.median(seconds)
            kernel = _middle(entry, "kernel_seconds")
            lines.append(
                [
                    name, f"{int(size):,}", f"{middle:.2f} ({min(seconds):.2f} to {max(seconds):.2f})",
                    str(len(seconds)), f"{int(size) / middle:,.0f}", f"{kernel:.2f}" if kernel is not None else "",
                    f"{_middle(entry, 'cpu_seconds'):.2f}", f"{_middle(entry, 'startup_seconds'):.2f}",
                    f"{max(run['peak_gb'] for run in entry['runs']):.2f}",
                ]
            )  # fmt: skip
    head = ["", "rows", "end to end, s", "runs", "rows/s", "kernel, s", "processor, s", "start-up, s", "peak GB"]
    return _table(head, lines)


def _factors(results: dict[str, Any]) -> str:
    lines = []
    for size, at_size in results["speed"].items():
        middles = {name: _middle(entry, "seconds") for name, entry in at_size.items()}
        apart = ("sftscan", "rensa, Rho")  # the Rho sketch does not reach the recall
        others = {name: m for name, m in middles.items() if m and not name.startswith(apart)}
        if not others:
            continue
        best = min(others, key=lambda name: others[name])
        for name, own in middles.items():
            if own and name.startswith("sftscan"):
                lines.append([f"{name}, {int(size):,} rows", best, f"{others[best] / own:.1f}"])
    return _table(["", "best of the others", "times as fast"], lines)


def _curves(part: dict[str, Any]) -> str:
    lines = []
    levels: list[str] = []
    for name, entry in part["tools"].items():
        if "failed" in entry:
            lines.append([name, f"failed: {entry['failed']}"])
            continue
        levels = list(entry["caught"])
        lines.append([name, *[f"{entry['caught'][level]:.3f}" for level in levels]])
    return _table(["", *[level.removeprefix("0") for level in levels]], lines)


def _join(part: dict[str, Any]) -> str:
    truth = ", ".join(
        f"{entry['pairs']} pairs at or above {level.removeprefix('0')} ({entry['rows_with_an_earlier_duplicate']} rows "
        "with an earlier duplicate)"
        for level, entry in part["truth"].items()
    )
    lines = []
    for name, entry in part["tools"].items():
        if "failed" in entry:
            lines.append([name, f"failed: {entry['failed']}", *[""] * 4])
            continue
        shares = [f"{entry[f'precision_at_{level}']:.3f}" for level in (0.7, 0.8, 0.9)]
        lines.append([name, f"{entry['flagged']:,}", f"{entry['recall_at_.8']:.3f}", *shares])
    head = ["", "flagged rows", "recall at .8", "true at .7", "true at .8", "true at .9"]
    return f"Exact join: {truth}.\n\n" + _table(head, lines)


def _templates(part: dict[str, Any]) -> list[str]:
    measures = ("precision", "recall", "f1", "b_cubed_f1", "exact_sets")
    lines, families = [], []
    names: list[str] = []
    for name, entry in part["tools"].items():
        if "failed" in entry:
            lines.append([name, f"failed: {entry['failed']}", *[""] * 6])
            continue
        names = [family for family in entry if family != "all"]
        own = entry["all"]
        lines.append(
            [name, *[f"{own[m]:.3f}" for m in measures], f"{own['removed_rows']:,}", f"{own['lost_groups']:,}"]
        )
        families.append([name, *[f"{entry[f]['precision']:.3f} / {entry[f]['recall']:.3f}" for f in names]])
    head = ["", "precision", "recall", "F1", "B-cubed F1", "exact sets", "rows removed", "texts lost"]
    return [
        f"{part['rows']:,} rows, {part['pairs']:,} true pairs.",
        _table(head, lines),
        "Precision / recall of pairs per family:",
        _table(["", *names], families),
    ]


def _shared(part: dict[str, Any]) -> str:
    names = list(next(iter(part.values())))
    lines = []
    for name in names:
        middles = {int(rows): _middle(at_size[name], "seconds") for rows, at_size in part.items()}
        shown = [f"{m:.2f} ({1e6 * m / rows:.0f})" if m else "not run" for rows, m in middles.items()]
        lines.append([name, *shown])
    return "Seconds (microseconds per row).\n\n" + _table(["", *[f"{int(rows):,} rows" for rows in part]], lines)
