"""Estimates from samples of the data itself, with an audit whose cost is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scanner import estimating
from scanner.errors import InputError
from scanner.settings import Settings


@pytest.fixture
def audit(monkeypatch):
    """An audit that takes 3 seconds to load once and a hundredth of a second per row, on a clock of its own."""
    monkeypatch.setattr(estimating, "SAMPLES", (100, 1000))
    state = {"loaded": False, "now": 0.0}
    monkeypatch.setattr(estimating.time, "perf_counter", lambda: state["now"])

    def run(datasets: list[str], settings: Settings, out: Path) -> None:
        rows = len(Path(datasets[0]).read_bytes().splitlines())
        state["now"] += (0 if state["loaded"] else 3) + rows * 0.01
        state["loaded"] = True
        out.mkdir()
        (out / "table").write_bytes(b"x" * 50 * rows)

    return run


def write(path: Path, count: int) -> str:
    path.write_text("".join(json.dumps({"instruction": f"q {i}", "output": f"a {i}"}) + "\n" for i in range(count)))
    return str(path)


def test_time_and_disk_grow_with_the_rows(tmp_path, audit):
    found = estimating.estimate([write(tmp_path / "d.jsonl", 20_000)], Settings(), audit)
    assert found.records == 20_000
    assert found.exact_count
    assert found.seconds == pytest.approx(3 + 20_000 * 0.01)
    assert found.disk_bytes == 50 * 20_000
    assert "20,000 records" in found.in_words()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.jsonl"]


def test_several_small_files_are_added_up(tmp_path, audit):
    names = [write(tmp_path / f"{i}.jsonl", 30) for i in range(3)]
    assert estimating.estimate(names, Settings(), audit).records == 90


def test_nothing_to_read_is_said(tmp_path, audit):
    (tmp_path / "bad.jsonl").write_text("{broken\n")
    with pytest.raises(InputError, match=r"bad\.jsonl: no record could be read"):
        estimating.estimate([str(tmp_path / "bad.jsonl")], Settings(), audit)
