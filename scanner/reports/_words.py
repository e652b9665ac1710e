"""What the figures say, in sentences that every report shares; a number never stands without its unit."""

from __future__ import annotations

import shlex
from pathlib import Path, PurePosixPath
from typing import Any

from scanner import figures
from scanner.figures import about as about  # as the reports' own: words.about
from scanner.figures import about_many as about_many
from scanner.figures import number as number
from scanner.figures import percent as percent
from scanner.figures import plural as plural
from scanner.figures import plural_g as plural_g
from scanner.figures import probability as probability
from scanner.figures import size as size
from scanner.objects import LONG_TURN
from scanner.reports._base import in_words as base_measured
from scanner.reports._calibration import in_words as calibrated_on
from scanner.reports._spans import in_words as passages
from scanner.text import OWN_UNIT
from scanner.trust import NOT_CALIBRATED, interval_of, is_outside
from scanner.trust import in_words as trust

CALIBRATED = "Calibrated: the weights were fitted on confirmed or rehearsed rows."
HUNDRED = 100
"""Rows below which one row is more than 1 % of them."""
USUAL_AIM = 0.95  # of the pairs by meaning; where fewer were probably found, the summary names the option
RELATIONS = {
    "same_both": "the same prompt and answer",
    "same_prompt": "the same prompt, different answers",
    "same_response": "different prompts, the same answer",
    "near": "near copies",
    "contained": "one row, or its answer, inside the other",
    "semantic": "the same in other words",
}
RULE_WORDS = {
    "aws access key": "AWS access key", "cn mobile": "Chinese mobile phone", "cn resident id": "Chinese resident id",
    "email": "e-mail", "github token": "GitHub token", "google api key": "Google API key",
    "huggingface token": "Hugging Face token", "iban": "IBAN", "ip": "IP address", "ipv4": "IPv4 address",
    "ipv6": "IPv6 address", "jwt": "JWT", "mac address": "MAC address", "model api key": "model API key",
    "phone labelled": "phone (labelled)", "ssn": "SSN", "url password": "password in a URL", "us ssn": "US SSN",
}  # fmt: skip


def findings(summary: dict[str, Any]) -> list[tuple[str, int, float | None, str]]:
    """(what, rows, share of rows, details), the same lines whether anything was found or not."""
    found = summary["found"]
    exact, near, loose, semantic = (found[k] for k in ("exact", "near", "loose", "semantic"))
    conflicts, repeated = found["conflicts"], found.get("repeated") or {}
    lines = [
        ("exact copies", exact["rows"], exact["share"],
         f"{plural(exact['groups'], 'group')}, {plural(exact['surplus_rows'], 'row')} more than needed"),
        ("near copies", near["rows"], near["share"],
         f"{_pairs(near)}, Jaccard ≥ {near['jaccard']:g} or one in the other"),
        ("loose copies", loose["rows"], loose["share"],
         f"{_pairs(loose)} less alike; {'it adds' if loose['pairs'] == 1 else 'they add'} to what is memorized, and "
         f"{'is' if loose['pairs'] == 1 else 'are'} kept"),
        ("same meaning", semantic["rows"], semantic["share"], _meaning(semantic, summary["rows"])),
        ("conflicts", conflicts["rows"], conflicts["share"],
         f"{plural(conflicts['groups'], 'prompt')} with different answers"),
        ("passages", repeated.get("rows", 0), repeated.get("share"), passages(repeated)),
    ]  # fmt: skip
    kinds = [("private data", "private"), ("secrets", "secret")]
    if found.get("unread", {}).get("rows"):
        kinds.append(("unread fields", "unread"))
    for name, kind in kinds:
        part = found[kind]
        rules = [f"{of_rule(rule)} {number(seen['findings'])}" for rule, seen in list(part["by_rule"].items())[:7]]
        more = len(part["by_rule"]) - 7
        details = ", ".join(rules) + (f" and {plural(more, 'more kind')}" if more > 0 else "")
        details = f"in fields that no trainer reads: {details}" if kind == "unread" else details
        lines.append((name, part["rows"], part["share"], details or plural(0, "finding")))
    if renames(summary):
        named = found["names"]
        lines.append(("field names", named["rows"], named["share"], "private values in names, which no plan changes"))
    return lines


def renames(summary: dict[str, Any]) -> str:
    """That names of fields hold private values, where, and what is to be done; empty where none does."""
    named = summary["found"].get("names") or {}  # runs of an earlier version did not look for them
    if not named.get("rows"):
        return ""
    return (
        f"rename fields yourself: in {plural(named['rows'], 'row')} (first: {named['first']}) their names hold private "
        "values, which no plan changes; scan verify fails until it is done, and names the rows"
    )


def _pairs(found: dict[str, Any]) -> str:
    """How many near pairs; at least so many where large buckets were not compared in whole."""
    return f"{'at least ' if found.get('at_least') and found['pairs'] else ''}{plural(found['pairs'], 'pair')}"


def of_rule(rule_id: str) -> str:
    """A rule's id in words: "private/credit-card" -> "credit card"."""
    name = rule_id.rsplit("/", 1)[-1].replace("_", " ").replace("-", " ")
    return RULE_WORDS.get(name, name)


def opening(summary: dict[str, Any]) -> str:
    """How many rows repeat a prompt, or open with a question that another row opens with."""
    seen = summary["relations"]
    whole, first, torn = seen["prompts"], seen["openings"], seen["torn_openings"]
    return (
        f"{plural(whole['repeats'], 'row')} ({percent(whole['repeats_share'])}) {_repeat(whole)} the prompt of another "
        f"row; {number(first['repeats'])} ({percent(first['repeats_share'])}) {_repeat(first)} its first question. "
        f"First answers to one question differ in {plural(torn['rows'], 'row')}."
    )


def _repeat(seen: dict[str, Any]) -> str:
    return "repeats" if seen["repeats"] == 1 else "repeat"


def repeated(summary: dict[str, Any]) -> str:
    """How many rows hold a long turn of another row."""
    seen = summary["relations"]["repeated_turns"]
    return (
        f"{plural(seen['rows'], 'row')} ({percent(seen['share'])}) {'holds' if seen['rows'] == 1 else 'hold'} "
        f"a turn of {LONG_TURN} tokens or more, question or answer, that another row holds word for word."
    )


def labels(summary: dict[str, Any]) -> str:
    """Short answers that different prompts share."""
    short = summary["relations"]["same_answer"]["short"]
    return f"{plural(short['groups'], 'short answer')} in {plural(short['rows'], 'row')} ({percent(short['share'])})"


def contamination(summary: dict[str, Any]) -> list[str]:
    """One sentence per benchmark of which something was found, the most contaminated first, and one on the others."""
    seen = summary.get("contamination") or {}
    lines, clean, clean_items = [], 0, 0
    for name, found in seen.items():
        alike = found.get("semantic_only", 0)
        if not found.get("matched") and not alike:
            clean, clean_items = clean + 1, clean_items + (found.get("items") or 0)
            continue
        line = f"{number(found.get('matched'))} of {plural(found.get('items'), 'item')} of {name}"
        line += f" ({percent(found.get('share'))})"
        parts = [
            f"{number(count)} {'question and answer' if part == 'both' else f'{part} only'}"
            for part, count in sorted((found.get("by_part") or {}).items())
            if count
        ]
        hows = [f"{number(n)} {how}" for how, n in (found.get("by_how") or {}).items() if n and how != "semantic"]
        line += f": {', '.join(parts)}; {', '.join(hows)}" if parts and hows else ""
        lines.append(line + (f"; {number(alike)} more in other words{of_alike(found)}, to review" if alike else ""))
    if clean:
        others = "other benchmark" if lines else "benchmark"
        lines.append(f"0 of {plural(clean_items, 'item')} of {plural(clean, others)}")
    short = sum(found.get("not_searched", 0) for found in seen.values())
    if short:
        lines.append(f"{plural(short, 'item')} not looked for: too short to prove anything, or without text")
    return lines


def of_alike(found: dict[str, Any]) -> str:
    """Of which file the items found by meaning alone mostly are, and how many a transformer confirmed; may be empty."""
    total, most, read = found["semantic_only"], found.get("semantic_in"), found.get("semantic_confirmed")
    parts = []
    if most:
        parts.append((most["items"], f"of {PurePosixPath(most['file']).name}"))
    if read:
        parts.append((read["items"], f"confirmed by {read['model']}"))
    return "".join(f", {'all' if count == total else f'{number(count)} of them'} {what}" for count, what in parts)


def expectation(summary: dict[str, Any]) -> str:
    """How many answers are predicted to be recited."""
    predicted = summary["prediction"]
    if not predicted["rows_measured"]:
        if predicted.get("rows_without_answer") == predicted["rows_not_measured"]:
            return (
                "No row has an answer that is trained on, so nothing is predicted; where there is one, name its field "
                "with --response-field, and that of the prompt with --prompt-field"
            )
        return f"No answer is long enough to predict recitation of {predicted['extracted_tokens']} tokens or more"
    rows = predicted["expected_rows_extracted"]
    interval = interval_of(summary)
    between = "" if interval is None else f", 90 % interval {about(interval[0])} to {about(interval[1])}"
    if is_outside(summary):
        return (
            f"outside what was validated: how many of {plural(predicted['rows_measured'], 'answer')} would be recited "
            f"for {predicted['extracted_tokens']} tokens or more (extrapolated: {about(rows)}{between})"
        )
    of, part = plural(predicted["rows_measured"], "answer"), percent(rows / predicted["rows_measured"])
    verb = "is" if predicted["rows_measured"] == 1 else "are"
    return (
        f"{'' if about(rows).startswith('fewer') else 'about '}{about(rows)} of {of} ({part}) {verb} predicted "
        f"to be recited for {predicted['extracted_tokens']} tokens or more{between}"
    )


def skew(summary: dict[str, Any]) -> str:
    """How few rows carry how much."""
    top = summary["skew"]["top"]
    if not top:
        return "There is no skew to report: no memorized tokens are predicted."
    first, tenth = top[0], top[-1]
    measured = summary["skew"]["rows"]
    whole = measured == summary["rows"]
    if measured < HUNDRED:
        many = f", {tenth['percent']} % ({number(tenth['rows'])}) carry {percent(tenth['share'])}"
        of = "the only row" if measured == 1 else f"1 of {'' if whole else 'the '}{number(measured)} rows"
        return (
            f"{of}{'' if whole else ' with an answer'} carries {percent(first['share'])} of the expected memorized "
            f"tokens{many if tenth['rows'] > 1 else ''}"
        )
    of = "rows" if whole else f"the {number(measured)} rows with an answer"
    return (
        f"{first['percent']} % of {of} ({number(first['rows'])}) carry {percent(first['share'])} of the expected "
        f"memorized tokens, {tenth['percent']} % carry {percent(tenth['share'])}"
    )


def by_dose(summary: dict[str, Any]) -> str:
    """How much more the rows with the largest doses are recited than those with the smallest; of two bins or more."""
    first, *_, last = summary["prediction"]["by_dose"]
    low = f"below {first['to']:g}"
    return (
        f"{percent(last['mean'])} of the rows with a dose of {plural_g(last['from'], 'visit')} or more are predicted "
        f"to be recited, and {percent(first['mean'])} of those {low}"
    )


def _meaning(semantic: dict[str, Any], rows: int) -> str:
    """Pairs by meaning, and how many rows the encoder could not represent."""
    missing = semantic.get("not_measured", 0)
    if why := semantic.get("why_not"):
        return f"not looked for: {why}"
    if missing and missing >= rows:
        return "not measured: no row could be represented by the encoder"
    pairs = f"{plural(semantic['pairs'], 'pair')} in other words{_confirmed(semantic.get('confirmed'))}"
    if semantic.get("differing"):
        pairs += f", {number(semantic['differing'])} of them with other numbers or a negation"
    return f"{pairs}; {plural(missing, 'row')} not measured (words the encoder does not know)" if missing else pairs


def _confirmed(by: dict[str, Any] | None) -> str:
    """Which model decided on the pairs, what it read, and which share of its pairs that is estimated to find."""
    if not by:
        return ""
    recall = by["recall"]
    known = (
        "recall not measured"
        if recall["expected"] is None
        else f"estimated recall {recall['expected']:.2f}, {recall['low']:.2f} to {recall['high']:.2f}"
    )
    return f", by {by['model']} on {percent(by['work'])} of the tokens ({known}{_aimed(by)})"


def _aimed(by: dict[str, Any]) -> str:
    """Whether the recall asked for was reached, and if not, why; unasked, how to ask where the estimate is low."""
    aim, expected = by.get("aim"), by["recall"]["expected"]
    if aim is None:
        low = expected is not None and expected < USUAL_AIM
        return f"; --confirm-recall {USUAL_AIM:g} would read on" if low else ""
    if aim["all_read"]:
        return f"; for the {aim['recall']:g} asked for all that is proposed was read"
    if aim["reached"]:
        if expected is None:
            return f"; for the {aim['recall']:g} asked for there is nothing to find"
        return f"; by it the {aim['recall']:g} asked for is reached"
    return f"; by it the {aim['recall']:g} asked for is not reached within {percent(aim['limit'])} of the tokens"


def volume(scan: dict[str, Any]) -> str:
    """Turns and tokens read, and how many are learned; empty for runs of versions that did not sum them up."""
    seen, unit = scan["summary"].get("read") or {}, scan.get("token_unit")
    if not seen or None in seen.values():
        return ""
    everything = f"{plural(seen['turns'], 'turn')}, {plural(seen['tokens'], 'token')} (words)"
    learned = f"{number(seen['learned_tokens'])} learned in {plural(seen['learned_rows'], 'row')}"
    # lengths are counted in the scan's own tokens, whatever is predicted in
    return f"{everything}, {learned}" if unit == OWN_UNIT else f"{everything}; {learned}, each a {unit}"


def tolerated(scan: dict[str, Any]) -> list[str]:
    """What was read although it was damaged, most frequent first."""
    return figures.tolerated((scan.get("notes") or {}).get("reading") or [])


def left_out(scan: dict[str, Any]) -> list[str]:
    """Files that were found and not read."""
    files = (scan.get("notes") or {}).get("left_out") or []
    return figures.left_out([(file["name"], file["why"]) for file in files])


def unlearned(scan: dict[str, Any]) -> list[str]:
    """Inputs that were taken for tables of unknown columns, of which nothing is learned, and how to name what is."""
    settings = scan.get("settings") or {}
    tables = [source for source in scan.get("inputs") or [] if source.get("layout") == "table"]
    if settings.get("layout") or not tables:
        return []
    first = tables[0]["name"] if len(tables) == 1 else f"{tables[0]['name']} and {number(len(tables) - 1)} more"
    line = (
        f"no column of {first} has a name that says it is learned, so none is; name prompt and answer with "
        "--prompt-field and --response-field"
    )
    headless = [source["name"] for source in tables if source.get("format") == "csv" and source.get("first_line") == 1]
    if settings.get("header") is None and headless:
        line += (
            f"; the first row of {headless[0]} was taken for data, and its columns are column_1, column_2, ...: "
            "--header if it names them"
        )
    return [line]


def not_measured(summary: dict[str, Any]) -> str:
    """Rows without p_extract, and why; empty when all or none have one."""
    missing = summary["prediction"]["rows_not_measured"]
    if not missing or not summary["prediction"]["rows_measured"]:  # `expectation` says it of all of them
        return ""
    tokens = summary["prediction"]["extracted_tokens"]
    bare = summary["prediction"].get("rows_without_answer")
    none = f" ({number(bare)} of them without any)" if bare else ""
    return f"{plural(missing, 'row')} not measured: no supervised answer of {tokens} tokens or more{none}"


def planned(summary: dict[str, Any]) -> str:
    """What the plan would do."""
    plan = summary["plan"]
    parts = [f"drop {number(plan['drop'])}", f"redact {number(plan['redact'])}", f"review {number(plan['review'])}"]
    more = [
        f"{name} in {plural(plan[key], 'row')}"
        for key, name in (("loss_masked", "loss mask"), ("reweighted", "lower weight"))
        if plan[key]
    ]
    kept = f"keep {number(plan['keep'])} as {'it is' if plan['keep'] == 1 else 'they are'}"
    return " · ".join([*parts, kept, *more])


def calibration(summary: dict[str, Any]) -> str:
    """On what the numbers rest, and what of them can be trusted."""
    told = calibrated_on(summary) or (CALIBRATED if summary.get("calibrated") else NOT_CALIBRATED)
    return " ".join((told, *base_measured(summary), *trust(summary)))


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def notes(scan: dict[str, Any]) -> list[tuple[str, str]]:
    """(what, value): what the stages have to say about themselves; curves and tables are left to scan.json."""
    lines = []
    for stage, said in (scan.get("notes") or {}).items():
        if stage == "brake":
            continue
        for key, value in said.items() if isinstance(said, dict) else [("", said)]:
            name = f"{stage}: {key.replace('_', ' ')}" if key else stage
            if isinstance(value, bool):
                lines.append((name, "yes" if value else "no"))
            elif isinstance(value, str):
                lines.append((name, value))
            elif isinstance(value, int):
                lines.append((name, number(value)))
            elif isinstance(value, float):
                lines.append((name, f"{value:.4g}"))
            elif isinstance(value, list) and value and all(isinstance(v, str) for v in value):
                lines += [(name, v) for v in value]
    return lines


def batching(scan: dict[str, Any]) -> list[str]:
    """What the plan's batching does to the dose of the rows; empty for random batches averaged per token."""
    return list(((scan.get("notes") or {}).get("prediction") or {}).get("batching") or [])


def brake(scan: dict[str, Any]) -> list[str]:
    """Why `scan apply` would refuse the plan as it stands."""
    said = (scan.get("notes") or {}).get("brake") or []
    return [said] if isinstance(said, str) else [str(line) for line in said]


def commands(run: Path, scan: dict[str, Any], row_id: int | None) -> list[tuple[str, str]]:
    """(what for, exact command line) of the next steps."""
    folder = shlex.quote(str(run))
    inputs = scan.get("inputs") or []
    name = Path(str(inputs[0].get("path", ""))).name if inputs else ""
    suffix = "".join(Path(name).suffixes[-2 if name.endswith((".gz", ".zst", ".zip")) else -1 :])
    target = "clean" if len(inputs) > 1 else f"clean{suffix or '.jsonl'}"
    steps = []
    if (run / "private").is_dir() or not (run / "index").is_dir():  # nothing can be redacted of a purged run
        steps.append(("write the cleaned data set", f"scan apply {folder} -o {shlex.quote(target)}"))
    if brake(scan):
        first = "let the plan pass, once the clusters in the report look right; until then it is not applied"
        steps.insert(0, (first, f"scan plan {folder} --max-removal-share 1"))
    if row_id is not None:
        steps.append(("everything about one row", f"scan explain {folder} {row_id}"))
    return steps


def place(source: str, line: int) -> str:
    """Where a row stands: file and line."""
    return f"{source}:{line}"
