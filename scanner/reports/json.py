"""The scan as one JSON document: scan.json and the riskiest rows, clusters and findings beside it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from scanner.reports._content import gather
from scanner.store import RunFolder

NAME = "json"
EXTENSION = "json"


def render(run: RunFolder, text: str = "masked") -> bytes:
    """Indented UTF-8 JSON; the keys of scan.json come first, not measured is null."""
    content = gather(run, text)
    document = {
        **content.scan,
        "text": {"policy": text, "missing": content.missing_text},
        "top_rows": [asdict(row) for row in content.top],
        "clusters": [asdict(cluster) for cluster in content.clusters],
        "findings": [asdict(finding) for finding in content.findings],
        **asdict(content.relations),
        "passages": [asdict(passage) for passage in content.passages],
        "earlier": [asdict(row) for row in content.earlier],
        "skipped": list(content.skipped),
        "whatif": list(content.whatif),
        "matches": [asdict(match) for match in content.matches],
    }
    written = json.dumps(_measured(document), indent=1, ensure_ascii=False, allow_nan=False)
    return written.encode("utf-8", "replace") + b"\n"


def _measured(value: Any) -> Any:
    """NaN and infinities as null, which JSON has no other word for."""
    if isinstance(value, dict):
        return {key: _measured(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_measured(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
