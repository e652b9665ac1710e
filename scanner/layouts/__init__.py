"""Records to segments: which strings of a record a trainer reads, who says them, and which are learned.

Every file of this folder offers NAME, DESCRIPTION, EXAMPLES, ID_FIELDS, FLAT, `matches(record) -> float` and
`segments(record, settings) -> list[Segment]`. FLAT means: for a record whose fields are all texts, paths, roles,
turns and flags of the segments depend only on its keys. `segments` raises LayoutError, with the reason, for a record
that does not fit; such a row is skipped and listed.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from scanner import plugins
from scanner.errors import LayoutError, meant
from scanner.jsontext import type_name
from scanner.layouts._fields import PROMPTS, RESPONSES, leaves
from scanner.layouts._fields import plain_names as plain_names
from scanner.layouts._turns import CONTAINERS, ROLE_KEYS, ROLE_NAMES
from scanner.objects import Segment
from scanner.settings import Settings

PACKAGE = "scanner.layouts"
TABULAR_FORMATS = ("csv", "parquet", "arrow", "hf_dataset")
NAME_IT = "name the layout with --layout, or the fields with --prompt-field and --response-field"
"""What to do about records that no layout fits."""
_LEAST_SHARE = 0.5  # of the sampled records that the layout must fit


@dataclass(frozen=True)
class Detected:
    """The layout found in a sample of records.

    share: of the sampled records that it fits, 0 to 1. scores: mean of `matches` per layout that fits any record.
    """

    name: str
    share: float
    scores: dict[str, float] = field(default_factory=dict)


def load(name: str) -> ModuleType:
    """The layout of that name."""
    return plugins.load(PACKAGE, name)


def detect(sample: Sequence[Any], settings: Settings, format_name: str = "") -> str:
    """The name of the layout that fits the sample best; see `find`."""
    return find(sample, settings, format_name).name


def find(sample: Sequence[Any], settings: Settings, format_name: str = "") -> Detected:
    """The layout that fits most of the sample best, and how well; what the user chose comes first.

    format_name: the source's format; only tables may fall back on the layout `table` (where it is not given: records
    that hold nothing but text, as rows of a csv file do). Raises LayoutError where no
    layout fits half of the sample, naming the keys seen and the options that help.
    """
    modules = plugins.load_all(PACKAGE)
    if settings.layout:
        chosen = load(settings.layout)
        return Detected(settings.layout, _share(chosen, sample))
    if settings.prompt_field or settings.response_field:
        return Detected("pair", 1.0)
    if not sample:
        raise LayoutError("there is no record to find the layout of; expected at least one that can be read")
    may_be_table = format_name in TABULAR_FORMATS or (not format_name and all(map(_is_row_of_text, sample)))
    scores = {}
    forms = _forms(sample)
    for name, module in modules.items():
        if name != "table" or may_be_table:
            score = sum(count * module.matches(record) for record, count in forms) / len(sample)
            if score:
                scores[name] = round(score, 4)
    best = max(scores, key=lambda name: scores[name], default="")
    share = sum(count for record, count in forms if modules[best].matches(record)) / len(sample) if best else 0.0
    if share < _LEAST_SHARE:
        raise LayoutError(
            f"no layout fits these records: {_seen(sample)}; expected one of {', '.join(modules)}; {NAME_IT}"
            f"{_misspelt(sample)}"
        )
    return Detected(best, share, scores)


def _forms(sample: Sequence[Any]) -> list[tuple[Any, int]]:
    """Records that no layout can tell apart, once each with their number: flat ones with the same keys.

    A layout may look at a text of one character, such as the letter of a choice, but at no longer one.
    """
    found: dict[tuple[Any, ...], tuple[Any, int]] = {}
    for i, record in enumerate(sample):
        form: tuple[Any, ...] = (i,)
        if type(record) is dict and all(type(value) is str for value in record.values()):
            form = (*record, None, *(value if len(value) < 2 else None for value in record.values()))
        first, count = found.get(form, (record, 0))
        found[form] = (first, count + 1)
    return list(found.values())


def _share(module: ModuleType, sample: Sequence[Any]) -> float:
    return sum(module.matches(record) > 0 for record in sample) / len(sample) if sample else 0.0


def _is_row_of_text(record: Any) -> bool:
    return isinstance(record, Mapping) and all(value is None or isinstance(value, str) for value in record.values())


def _seen(sample: Sequence[Any]) -> str:
    """Types and the most common keys of a sample, for a message; what is no plain name may be data and is not shown."""
    types = Counter(type_name(record) for record in sample)
    keys = Counter(key for record in sample if isinstance(record, Mapping) for key in record)
    shown = plain_names(key for key, _ in keys.most_common(12))
    kinds = ", ".join(f"{count:,} x {name}" for name, count in types.most_common(3))
    many = "record" if len(sample) == 1 else "records"
    return f"{len(sample):,} {many} seen ({kinds}), keys {', '.join(shown) or 'none'}"


def _misspelt(sample: Sequence[Any]) -> str:
    """The end of a message on keys that look like those that layouts know."""
    keys = plain_names({key: None for record in sample if isinstance(record, Mapping) for key in record})
    known = (*PROMPTS, *RESPONSES, *CONTAINERS, "chosen", "rejected")
    said = meant([key for key in keys if key not in known], known, 0.8)  # keys are words of their own, mostly
    return f".{said}" if said else ""


def canonical_fields(record: Any, layout: str | None = None) -> Any:
    """The record without the fields that only number it; the record itself where nothing else would be left.

    Two records are exact duplicates when the canonical JSON of this is the same (jsontext.canonical).
    """
    if not isinstance(record, Mapping):
        return record
    fields = _id_fields(layout or "text")
    if fields.isdisjoint(record):
        return record
    return {key: value for key, value in record.items() if key not in fields} or record


def unread(record: Any, segments: Sequence[Segment]) -> list[tuple[tuple[str | int, ...], str]]:
    """Every string of the record that no segment covers, with its path.

    No trainer reads them, but a copy of private text may stand there.
    """
    covered = {segment.path for segment in segments}
    return [(path, text) for path, text in leaves(record, ()) if path not in covered]


def is_label(path: tuple[str | int, ...], text: str) -> bool:
    """Whether a text only says who speaks in a dialogue."""
    return bool(path) and path[-1] in ROLE_KEYS and text in ROLE_NAMES


@functools.cache
def _id_fields(layout: str) -> frozenset[str]:
    return load(layout).ID_FIELDS  # type: ignore[no-any-return]
