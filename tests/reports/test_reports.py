"""The contract of every report, found by itself: what they offer, what they never show, what they survive."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import synthetic

from scanner.errors import SettingsError
from scanner.plugins import load, load_all, names
from scanner.reports import render, write
from scanner.reports._content import gather
from scanner.settings import TEXT_POLICIES
from scanner.store import RunFolder

REPORTS = names("scanner.reports")
MARKERS = ("zq7-alpha-marker", "zq7-beta-marker")


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Markers stand as private spans in two near copies, in a conflict, and unmarked in a third row."""
    made = synthetic.small(40)
    filler = " ".join(f"word{i}" for i in range(40))
    for row_id, extra in ((3, "old"), (4, "new")):
        made.texts[row_id] = (f"Who has {MARKERS[1]}?", "", f"It is {MARKERS[0]} {extra} {filler} {MARKERS[1]}")
        for marker in MARKERS:
            made.mark(row_id, marker)
    made.texts[5] = (f"Who has {MARKERS[1]}?", "", f"Nobody found {MARKERS[0]} here, said the rules. {filler}")
    made.pairs += [(3, 4, "minhash", "near", 0.9), (3, 5, "exact", "same_prompt", 1.0)]
    made.clusters.append([3, 4])
    return synthetic.write(made, tmp_path_factory.mktemp("marked") / "marked.scan")


@pytest.mark.parametrize("name", REPORTS)
def test_offers_the_same_few_names(name: str) -> None:
    module = load("scanner.reports", name)
    assert name == module.NAME
    assert module.EXTENSION
    assert module.__doc__


def test_extensions_are_distinct() -> None:
    extensions = [module.EXTENSION for module in load_all("scanner.reports").values()]
    assert len(set(extensions)) == len(extensions)


def test_unknown_report_names_the_known_ones(demo: RunFolder) -> None:
    with pytest.raises(SettingsError, match="Did you mean 'html'"):
        render(demo, "htm")


@pytest.mark.parametrize("name", REPORTS)
def test_same_run_same_bytes(demo: RunFolder, name: str) -> None:
    assert render(demo, name) == render(RunFolder(demo.path), name)


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("policy", ["masked", "none"])
def test_no_marker_is_shown(marked: RunFolder, name: str, policy: str) -> None:
    shown = render(marked, name, policy).decode()
    for marker in MARKERS:
        assert marker not in shown


def test_markers_would_be_shown_by_a_report_that_does_not_mask(marked: RunFolder) -> None:
    shown = render(marked, "html", "full").decode()
    assert all(marker in shown for marker in MARKERS)


@pytest.mark.parametrize("name", REPORTS)
def test_no_text_at_all(demo: RunFolder, name: str) -> None:
    shown = render(demo, name, "none").decode()
    segments = demo.segments().frame(["role", "text"])
    texts = [t for t in segments["text"].to_list() if len(t) > 25]
    assert not [text for text in texts if text[:25] in shown]


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("policy", TEXT_POLICIES)
def test_says_that_it_is_not_calibrated(demo: RunFolder, name: str, policy: str) -> None:
    shown = " ".join(render(demo, name, policy).decode().split())
    told = "predictions were not validated on this data" in shown or '"calibrated": false' in shown
    assert told, "a prediction stands without its caveat"


@pytest.mark.parametrize("name", REPORTS)
def test_purged_text(tmp_path: Path, name: str) -> None:
    made, _ = synthetic.from_demo()
    run = synthetic.write(made, tmp_path / "purged.scan")
    shutil.rmtree(run.private)
    shown = render(run, name).decode()
    assert name in ("terminal", "sarif") or "purged" in shown


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("case", ["no findings", "nothing supervised", "no rows", "no predictions worth a name"])
def test_survives_thin_runs(tmp_path: Path, name: str, case: str) -> None:
    made = synthetic.small()
    made.notes = {}
    made.whatif = False
    made.supervised = case != "nothing supervised"
    if case == "no rows":
        made.texts = {}
        made.skipped = [{"file": "demo.jsonl", "line": 1, "reason": "not a JSON object"}]
    if case == "no predictions worth a name":
        made.texts = {0: ("a", "", "b")}
    run = synthetic.write(made, tmp_path / "thin.scan")
    assert render(run, name)


def test_write_names_the_file_by_its_kind(demo: RunFolder) -> None:
    path = write(demo, "markdown")
    assert path == demo.path / "report.md"
    assert path.read_bytes() == render(demo, "markdown")


def test_rows_that_are_equal_once_masked_are_shown_once_with_their_number(tmp_path: Path) -> None:
    made = synthetic.small(40)
    filler = " ".join(f"word{i}" for i in range(40))
    for row_id in range(3, 33):
        value = f"mail{row_id}@roe-clinic.net"
        made.texts[row_id] = ("Whom do I ask?", "", f"Ask {value} about it. {filler}")
        made.mark(row_id, value)
    run = synthetic.write(made, tmp_path / "alike.scan")
    shown = {name: render(run, name).decode() for name in REPORTS}
    content = gather(run, "masked")
    (row,) = [row for row in content.top if row.alike]
    assert (row.alike, row.and_more) == (29, "and 29 more like it")
    assert 3 <= row.row_id < 33
    assert len(content.top) == 1
    for name in ("html", "markdown"):
        assert shown[name].count("and 29 more like it") == 1
    assert len(gather(run, "full").top) == len(gather(run, "none").top) == 30
