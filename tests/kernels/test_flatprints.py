"""Records read and fingerprinted in one go against the two kernels one after the other."""

from __future__ import annotations

import json

import numpy as np
import pytest

from scanner import flatreading
from scanner.fingerprints import Fingerprinter
from scanner.kernels import flatjson
from scanner.objects import Segment

SHAPE = flatreading.FlatShape(
    ("id", "input", "output"), (flatjson.SCALAR, flatjson.TEXT, flatjson.TEXT),
    (Segment(("input",), "user", 0, False, "input"), Segment(("output",), "assistant", 1, True, "output")),
    (False, True, True),
)  # fmt: skip


def records(count: int, seed: int = 1) -> list[bytes]:
    """JSON objects of a number and two texts, some long, some empty, some not ASCII, some with escapes."""
    rng = np.random.default_rng(seed)
    words = ["one", "Two", "drei,", "vier-5", "é", "中文", 'a "quote"', "tab\there", "x" * 70]

    def text() -> str:
        return " ".join(rng.choice(words, rng.choice([0, 1, 4, 30, 900], p=[0.2, 0.2, 0.3, 0.28, 0.02])))

    return [json.dumps({"input": text(), "id": i, "output": text()}).encode() for i in range(count)]


def lines(raws: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """buffer, start and end of the records."""
    end = np.cumsum([len(raw) + 1 for raw in raws]) - 1
    return np.frombuffer(b"\n".join(raws), np.uint8), end - [len(raw) for raw in raws], end


def in_one_go(raws: list[bytes], step: int) -> tuple[int, np.ndarray, dict[str, np.ndarray]]:
    printer, digest = Fingerprinter(3, 16, 1), np.zeros((len(raws), 2), np.uint64)
    place = printer.reserve(len(raws))
    fields = *lines(raws), *SHAPE.tables, *SHAPE.canonical
    read = printer.fill_flat(place, fields, *SHAPE.roles, step, digest)
    return read, digest, place.arrays


def one_after_the_other(raws: list[bytes]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    printer, digest = Fingerprinter(3, 16, 1), np.zeros((len(raws), 2), np.uint64)
    place = printer.reserve(len(raws))
    buffer, start, end = lines(raws)
    row_id = np.arange(len(raws))
    read = flatreading.decode(buffer, row_id, start, end, SHAPE, flatreading.Room(), digest)
    printer.fill(place, read.batch())
    return digest, place.arrays


@pytest.mark.parametrize("step", [1, 3_000, 1 << 15, 1 << 30])
def test_it_gives_what_the_two_give(step):
    raws = records(700)
    read, digest, found = in_one_go(raws, step)
    wanted, prints = one_after_the_other(raws)
    assert read == len(raws)
    assert np.array_equal(digest, wanted)
    for name, values in prints.items():
        assert np.array_equal(found[name], values), name


@pytest.mark.parametrize("place", [0, 5, 255, 256, 299])
@pytest.mark.parametrize("broken", [b'{"input": "no output", "id": 1}', b'{"input": "\\ud800", "id": 1, "output": ""}'])
def test_it_stops_at_a_record_for_the_parser(place, broken):
    raws = records(300)
    raws[place] = broken
    assert in_one_go(raws, 3_000)[0] == place
