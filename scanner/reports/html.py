"""A self-contained page: no script, no network, every text escaped, readable on a phone and on paper."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from pathlib import Path
from typing import Any

from scanner import trust
from scanner.evidence import Evidence
from scanner.reports import _confirmed, _heat, _private, _reasons, _templates, _training, _verdict, _whatif
from scanner.reports import _earlier as earlier
from scanner.reports import _words as words
from scanner.reports._content import CLUSTERS, SKIPPED, Content, gather
from scanner.reports._glossary import GLOSSARY
from scanner.store import RunFolder

NAME = "html"
EXTENSION = "html"
FOLDER = Path(__file__).parent
OPTION = re.compile(r"(?<![\w-])-(?:[a-z]|-[a-z][a-z-]{0,26}[a-z])(?![\w-])")
"""An option, such as -o or --drop-semantic; what is longer has to break, or the page would scroll sideways."""


def render(run: RunFolder, text: str = "masked") -> bytes:
    """The page as UTF-8."""
    import jinja2  # heavy: only loaded where a page is made

    from scanner.reports import _curves

    content = gather(run, text)
    style = (FOLDER / "_report.css").read_text("utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_with_whole_options,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=words.number, percent=words.percent, probability=words.probability, rule=words.of_rule, tokens=_tokens
    )
    page = environment.get_template("_report.html.j2").render(
        content=content,
        summary=content.summary,
        scan=content.scan,
        text=text,
        style=_trusted(style),
        policy=policy(style),
        charts=_charts(content),
        curves=_curves.gather(run, content.scan, content.whatif),
        validity=trust,
        words=words,
        reasons=_reasons,
        verdict=_verdict,
        private=_private,
        premise=_training.premise(content.scan),
        confirmed=_confirmed,
        whatif=_whatif,
        earlier=earlier,
        heat=_heat,
        heats=_heat.gather(run, [row.row_id for row in content.top], Evidence(run, text)),
        glossary=GLOSSARY,
        templates=_templates.gather(run, text),
        template_lines=_templates.sentences(content.scan.get("notes") or {}),
        limits={"clusters": CLUSTERS, "skipped": SKIPPED},
        settings=_flat(content.scan.get("settings") or {}),
        highest_share=max((share or 0 for _, _, share, _ in words.findings(content.summary)), default=0),
    )
    return page.encode("utf-8", "replace")


def _with_whole_options(value: Any) -> Any:
    """A text whose options stay on one line, for a browser would break --drop-semantic after any of its hyphens.

    What is escaped already stays as it is: markup, and what a template puts where no element may stand (`| e`).
    """
    if not isinstance(value, str) or hasattr(value, "__html__") or not OPTION.search(value):
        return value
    from markupsafe import Markup, escape

    return Markup(OPTION.sub(r'<span class="option">\g<0></span>', str(escape(value))))


def policy(style: str) -> str:
    """The content security policy: nothing but this very style sheet and images in the page itself."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def _trusted(style: str) -> Any:
    """The style sheet is ours and its bytes are what the policy's hash is about, so it is not escaped."""
    from markupsafe import Markup

    return Markup(style)


def _charts(content: Content) -> dict[str, Any]:
    """Every chart of the page; None where there is nothing to draw."""
    from scanner.reports import _charts as charts

    summary = content.summary
    predicted = summary["prediction"]
    settings = content.scan.get("settings") or {}
    at, rows = predicted["extracted_tokens"], predicted["expected_rows_extracted"]
    curves = [
        (f"{words.about_many(rows, 'row')} expected", "main", [[at, rows]] if rows else []),
        ("rows whose 95 % quantile is ≥ n", "second", predicted["tail_q95"]),
        ("rows whose median is ≥ n", "third", predicted["tail_q50"]),
    ]
    curve, threshold = recall_curve(content.scan.get("notes") or {}), settings.get("jaccard")
    return {
        "ribbon": charts.ribbon(summary["skew"]["lorenz"]),
        "tail": charts.tail(curves, predicted["extracted_tokens"]),
        "doses": charts.doses(predicted["by_dose"]),
        "lorenz": charts.lorenz(summary["skew"]["lorenz"]),
        "sizes": charts.sizes(summary["clusters"]["sizes"]),
        "recall": charts.recall(curve, threshold),
        "meter": charts.meter,
    }


def recall_curve(notes: dict[str, Any]) -> list[tuple[float, float]]:
    """The achieved curve of the near-duplicate search: pairs of (Jaccard, probability) under any stage's `curve`."""
    for said in notes.values():
        if isinstance(said, dict):
            for key in ("curve", "recall_curve", "achieved_recall"):
                points = said.get(key)
                if isinstance(points, list) and all(isinstance(p, list) and len(p) == 2 for p in points):
                    return [(float(s), float(p)) for s, p in points]
    return []


def _tokens(value: float) -> str:
    return "–" if not math.isfinite(value) else words.number(value)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Settings as (name, value) lines."""
    lines: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            lines.append((prefix + key, ", ".join(map(str, value)) or "none"))
        else:
            lines.append((prefix + key, "not set" if value is None else str(value)))
    return lines
