"""Templated instruction data with known duplicates: long shared prompts around short payloads. Seeded.

    python benchmarks/duplicates/templated.py FOLDER [--rows 20000] [--seed 1]

    from templated import generate, write
    data = generate(rows=20_000, seed=1)   # or families=("assistant", "classify", "extract"), see FAMILIES
    files = write(data, folder)            # one JSON Lines file per source, in the order of data.rows
    data.rows[i].record                    # what a line of its file holds
    data.rows[i].group                     # rows with the same number are duplicates of one another, others are not
    data.pairs()                           # (n, 2) every true duplicate pair, as places in data.rows

Files are named so that reading them in order of their names gives the rows in order: row i is row_id i.

The payload of a row is what its template leaves open: the user's text, the slots and the free answer; a label such
as "positive" and the wrapper are not. Its shingles are runs of three words of one payload text (lower case, without
punctuation; a shorter text is one shingle). Guaranteed for every pair of rows of one family, by an exact join:

    same group: Jaccard similarity of the payloads >= .8     other group: < .7

Duplicates come by named edits (`edit`): exact, spacing, case, punctuation, word (replaced, dropped or added), into the
same source or a sister source with the same wrapper. One payload in 12 is a hard negative (`edit` = "negative"): an
earlier payload with so many words changed that less than .65 is left. Label families repeat answers freely.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from phrases import Writer
from wrappers import ASSISTANTS, CLASSIFIERS, EXTRACTORS, REPORTS, TOOLS

SAME, OTHER = 0.8, 0.7
FAMILIES = ("assistant", "classify", "extract", "plain", "report", "tools")
EDITS = ("exact", "spacing", "case", "punctuation", "word")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Row:
    """One row and what is known about it."""

    record: dict[str, Any]
    family: str
    source: str  # the file it goes to
    payload: tuple[str, ...]
    group: int
    edit: str  # "original", "negative" or one of EDITS


@dataclass(frozen=True)
class Templated:
    """Rows in the order of their sources."""

    rows: list[Row]

    def pairs(self) -> np.ndarray:
        """(n, 2) places of every pair of duplicates, the earlier first."""
        members: dict[int, list[int]] = defaultdict(list)
        for place, row in enumerate(self.rows):
            members[row.group].append(place)
        found = [(a, b) for group in members.values() for i, a in enumerate(group) for b in group[i + 1 :]]
        return np.array(sorted(found), np.int64).reshape(-1, 2)

    def groups(self) -> np.ndarray:
        """(rows,) the group of every row."""
        return np.array([row.group for row in self.rows], np.int64)


def shingles(payload: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    """Runs of three words of each text."""
    found: set[tuple[str, ...]] = set()
    for text in payload:
        words = _WORD.findall(text.lower())
        if words:
            found.update(zip(words, words[1:], words[2:], strict=False) if len(words) > 3 else [tuple(words)])
    return frozenset(found)


def jaccard(a: frozenset[tuple[str, ...]], b: frozenset[tuple[str, ...]]) -> float:
    """Shared over all."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


@dataclass(frozen=True)
class Template:
    """One wrapper, the sources that use it, and how a payload becomes a record."""

    family: str
    sources: tuple[str, ...]
    draw: Callable[[Writer], tuple[str, ...]]
    record: Callable[[tuple[str, ...], str], dict[str, Any]]  # payload, label
    labels: tuple[str, ...] = ("",)
    free: tuple[int, ...] = field(default=(0,))  # the payload's texts that an edit may change


def _messages(system: str, user: str, assistant: str) -> dict[str, Any]:
    turns = [("system", system), ("user", user), ("assistant", assistant)]
    return {"messages": [{"role": role, "content": text} for role, text in turns if text]}


def _templates() -> Iterator[Template]:
    """Every template; sources of one name share a layout."""
    for i, system in enumerate(ASSISTANTS):
        yield Template(
            "assistant",
            (f"assistant-{i}", "assistant-mixed") if i < 2 else (f"assistant-{i}",),
            lambda w: (w.text(4, 40), w.answer(w.random.randint(1, 3))),
            lambda p, label, system=system: _messages(system, p[0], p[1]),
            free=(0, 1),
        )
    for i, (before, after, labels) in enumerate(CLASSIFIERS):
        yield Template(
            "classify",
            (f"classify-{i}", f"classify-{i}b") if i == 0 else (f"classify-{i}",),
            lambda w: (w.text(4, 40),),
            lambda p, label, before=before, after=after: {
                "instruction": before + p[0] + after, "input": "", "output": label
            },
            labels,
        )  # fmt: skip
    for i, instruction in enumerate(EXTRACTORS):
        yield Template(
            "extract",
            (f"extract-{i}",),
            lambda w: (w.text(8, 40), w.slot("thing"), w.slot("city")),
            lambda p, label, instruction=instruction: {
                "instruction": instruction,
                "input": p[0],
                "output": json.dumps({"product": p[1], "city": p[2], "language": "en", "complete": True}),
            },
        )
    for i, (title, body) in enumerate(REPORTS):
        slots = re.findall(r"\{(\w+)\}", title + body)
        pieces = re.split(r"\{\w+\}", body)
        yield Template(
            "report",
            (f"report-{i}",),
            lambda w, slots=slots: tuple(w.text(4, 20) if s == "comment" else w.slot(s) for s in slots),
            lambda p, label, title=title, pieces=pieces: {
                "prompt": re.sub(r"\{\w+\}", p[0], title),
                "response": pieces[0] + "".join(a + b for a, b in zip(p[1:], pieces[1:], strict=True)),
            },
            free=tuple(i for i, slot in enumerate(slots) if slot == "comment"),
        )
    for i, (system, calls) in enumerate(TOOLS):
        for name, patterns, arguments in calls:
            yield Template(
                "tools",
                (f"tools-{i}",),
                lambda w, patterns=patterns, arguments=arguments: _request(w, patterns, arguments),
                lambda p, label, system=system, name=name, arguments=arguments: _messages(
                    system,
                    p[0],
                    json.dumps({"name": name, "arguments": dict(zip(arguments, p[1:], strict=True))}),
                ),
            )
    yield Template(
        "plain",
        ("plain-0", "plain-1"),
        lambda w: (w.text(6, 60), w.text(10, 120)),
        lambda p, label: {"instruction": p[0], "input": "", "output": p[1]},
        free=(0, 1),
    )


def _request(writer: Writer, patterns: tuple[str, ...], arguments: dict[str, str]) -> tuple[str, ...]:
    """What the user asks for and the values of the call."""
    values = {name: writer.slot(kind) for name, kind in arguments.items()}
    said = writer.fill(writer.random.choice(patterns))
    for name, value in values.items():
        said = said.replace(f"<{name}>", value)
    return (said, *values.values())


def edited(writer: Writer, payload: tuple[str, ...], free: tuple[int, ...], edit: str) -> tuple[str, ...]:
    """The payload with one of its free texts changed."""
    place = free[writer.random.randrange(len(free))]
    words = payload[place].split(" ")
    at = writer.random.randrange(len(words))
    if edit == "spacing":
        words[at] = writer.random.choice((" ", "\n", "\t")) + words[at] if at else words[at] + " "
    elif edit == "case":
        if writer.random.random() < 0.3:
            words = [word.lower() if writer.random.random() < 0.5 else word for word in words[:-1]] + [
                words[-1].upper()
            ]
        words[at] = words[at].upper() if words[at].islower() or not words[at].isupper() else words[at].lower()
    elif edit == "punctuation":
        how = writer.random.randrange(3)
        if how == 0:
            words[-1] = words[-1].rstrip(".?!")
        elif how == 1:
            words[-1] = words[-1].rstrip(".?!") + writer.random.choice(("!", "?", "...", ";", "?!"))
        else:
            words[at] = words[at].rstrip(".,") + ","
    elif edit == "word":
        how = writer.random.randrange(3)
        if how == 0:
            words[at] = writer.slot("thing").split(" ")[0]
        elif how == 1 and len(words) > 4:
            del words[at]
        else:
            words.insert(at, writer.random.choice(("really", "very", "just", "now", "please", "also")))
    return (*payload[:place], " ".join(words), *payload[place + 1 :])


def _copies(writer: Writer, template: Template, payload: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """A few duplicates of a payload, every two of them similar enough."""
    kept = [shingles(payload)]
    for _ in range(min(4, 1 + int(writer.random.expovariate(1.2)))):
        edit = writer.random.choice(EDITS)
        for _ in range(8):
            copy = edited(writer, payload, template.free, edit) if edit != "exact" else payload
            own = shingles(copy)
            if (copy != payload or edit == "exact") and all(jaccard(own, other) >= SAME for other in kept):
                kept.append(own)
                yield copy, edit
                break


def _negative(writer: Writer, template: Template, payload: tuple[str, ...]) -> tuple[str, ...]:
    """The payload with words replaced until it is another one; the slots that an edit may not change, too."""
    first = shingles(payload)
    texts = [text.split(" ") for text in payload]
    for _ in range(100):
        place = writer.random.randrange(len(texts))
        words = texts[place]
        words[writer.random.randrange(len(words))] = writer.slot("thing").split(" ")[0]
        made = tuple(" ".join(words) for words in texts)
        if jaccard(first, shingles(made)) < 0.65:
            return made
    return template.draw(writer)


def generate(
    rows: int = 20_000,
    seed: int = 1,
    families: tuple[str, ...] = FAMILIES,
    copied: float = 0.06,
    negatives: float = 1 / 12,
) -> Templated:
    """About `rows` rows in equal parts per family; a share `copied` of the payloads has duplicates."""
    writer = Writer(seed)
    by_family: dict[str, list[Template]] = defaultdict(list)
    for template in _templates():
        if template.family in families:
            by_family[template.family].append(template)
    made: list[Row] = []
    group = 0
    for family, templates in by_family.items():
        last: dict[int, list[tuple[str, ...]]] = defaultdict(list)
        first = len(made)
        while len(made) - first < rows // len(by_family):
            which = writer.random.randrange(len(templates))
            template = templates[which]
            negative = bool(last[which]) and writer.random.random() < negatives
            payload = template.draw(writer)
            if negative:
                payload = _negative(writer, template, writer.random.choice(last[which]))
            last[which] = [*last[which][-200:], payload]
            label = writer.random.choice(template.labels)
            versions = [(payload, "negative" if negative else "original")]
            if writer.random.random() < copied:
                versions += _copies(writer, template, payload)
            for text, edit in versions:
                source = writer.random.choice(template.sources)
                made.append(Row(template.record(text, label), family, source, text, group, edit))
            group += 1
    writer.random.shuffle(made)
    made.sort(key=lambda row: row.source)
    bad = {max(made[a].group, made[b].group) for a, b in too_alike(made)}
    kept = [row for row in made if row.group not in bad]
    number = {old: new for new, old in enumerate(dict.fromkeys(row.group for row in kept))}
    return Templated([replace(row, group=number[row.group]) for row in kept])


def too_alike(rows: list[Row], level: float = OTHER) -> list[tuple[int, int]]:
    """Places of two rows of different groups whose payloads reach `level`: an exact join by prefixes.

    Two sets with Jaccard >= t share one of their floor((1 - t) size) + 1 rarest shingles (Chaudhuri et al. 2006).
    """
    sets = [shingles(row.payload) for row in rows]
    share = Counter(shingle for own in sets for shingle in own)
    index: dict[tuple[str, ...], list[int]] = defaultdict(list)
    found = set()
    for place, own in enumerate(sets):
        rarest = sorted(own, key=lambda shingle: (share[shingle], shingle))
        tried = set()
        for shingle in rarest[: int((1 - level) * len(own) + 1e-9) + 1]:
            for other in index[shingle]:
                if other in tried or rows[other].group == rows[place].group:
                    continue
                tried.add(other)
                if jaccard(own, sets[other]) >= level:
                    found.add((other, place))
            index[shingle].append(place)
    return sorted(found)


def write(data: Templated, folder: Path) -> list[Path]:
    """One JSON Lines file per source; returns them in order."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = defaultdict(list)
    for row in data.rows:
        lines[row.source].append(json.dumps(row.record, ensure_ascii=False))
    paths = []
    for source, texts in lines.items():
        paths.append(folder / f"{source}.jsonl")
        paths[-1].write_text("\n".join(texts) + "\n", "utf-8")
    return paths


def main() -> None:
    """Write the files, and truth.csv with the group, family and edit of every row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    data = generate(options.rows, options.seed)
    for path in write(data, options.folder):
        print(path)
    lines = [f"{i},{row.group},{row.family},{row.source},{row.edit}\n" for i, row in enumerate(data.rows)]
    (options.folder / "truth.csv").write_text("row_id,group,family,source,edit\n" + "".join(lines), "utf-8")
    print(f"{len(data.rows):,} rows, {len(data.pairs()):,} pairs of duplicates")


if __name__ == "__main__":
    main()
