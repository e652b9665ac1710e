"""What training needs is told before it is missing, and checkpointing changes memory, not gradients."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from scanner import memory, models
from scanner.chat import Example
from scanner.errors import ModelError


@pytest.fixture
def small():
    return models.tiny(["some words to learn from"] * 3, seed=0, context=256, width=64, layers=4)


def example(tokens: int) -> Example:
    return Example(np.arange(tokens) % 50 + 5, np.ones(tokens, np.bool_), ())


def test_the_need_grows_with_rows_and_layers_and_what_is_learned(small):
    one = memory.need(small, 100, 100, False)
    assert memory.need(small, 100, 400, False).of_row == pytest.approx(4 * one.of_row, rel=0.01)
    assert memory.need(small, 200, 200, False).of_row >= 2 * one.of_row * 0.99
    assert one.fixed == 3 * 4 * small.parameters + memory.OTHER_BYTES
    deeper = models.tiny(["some words to learn from"] * 3, seed=0, context=256, width=64, layers=8)
    assert memory.need(deeper, 100, 100, False).of_row > 1.5 * one.of_row
    for p in small.model.parameters():
        p.requires_grad = False
    small.model.lm_head.weight.requires_grad = True
    assert memory.need(small, 100, 100, False).fixed < one.fixed


def test_what_the_longest_row_keeps_is_drawn_on_from_short_ones(small):
    (short, long), (small_row, large_row) = memory.PROBED_TOKENS, (memory._saved(small, n, False) for n in (32, 64))
    square = max(0.0, (large_row / long - small_row / short) / (long - short))
    line = small_row / short - square * short
    assert line * 200 + square * 200**2 == pytest.approx(memory._saved(small, 200, False), rel=0.1)


def test_rows_that_do_not_fit_are_computed_twice_or_refused(small):
    rows = [example(250)]
    plain = memory.need(small, 250, 1000, False)
    assert not memory.made_to_fit(small, rows, 1000, False, None)
    assert not memory.made_to_fit(small, rows, 1000, False, plain.total)
    assert not is_checkpointed(small)
    with pytest.raises(
        ModelError, match=r"rows of up to 250 tokens needs about 0\.3 GB more memory on cpu, where 0\.1"
    ):
        memory.made_to_fit(small, rows, 1000, False, 100_000_000)


def test_checkpointing_is_turned_on_where_it_helps(small):
    rows = [example(250)]
    assert memory.made_to_fit(small, rows, 1000, False, memory.need(small, 250, 1000, False).total - 1)
    assert is_checkpointed(small)


def is_checkpointed(model: models.LanguageModel) -> bool:
    return any(getattr(part, "gradient_checkpointing", False) for part in model.model.modules())


def test_checkpointing_changes_no_gradient(small):
    from scanner.training import step

    found = []
    for checkpointed in (False, True):
        if checkpointed:
            assert memory.made_to_fit(small, [example(60)], 60, False, memory.need(small, 60, 60, False).total - 1)
        step(small, torch.optim.SGD(small.model.parameters(), lr=0.0), [example(60)], "token", False)
        found.append([p.grad.clone() for p in small.model.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*found, strict=True))


def test_free_memory_is_the_least_that_the_system_names(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 16 kB\nMemAvailable:    2048 kB\n")
    assert memory._available(tmp_path / "meminfo") == 2048 << 10
    assert memory._available(tmp_path / "none") is None
    for name, text in (("memory.max", "1000"), ("memory.current", "700"), ("memory.stat", "anon 1\ninactive_file 50")):
        (tmp_path / name).write_text(text + "\n")
    assert memory._of_group(tmp_path) == [350]
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._of_group(tmp_path) == []
    assert memory._of_group(tmp_path / "none") == []
    if sys.platform == "linux":
        assert 0 < memory.free_bytes("cpu") < 1 << 50


def test_the_allocator_is_put_back_as_it_was(monkeypatch):
    calls: list[tuple[int, ...]] = []
    monkeypatch.setattr(memory, "_mallopt", lambda: (lambda *a: calls.append(a), lambda *a: calls.append(a)))
    with pytest.raises(KeyboardInterrupt), memory.kept():
        raise KeyboardInterrupt
    assert calls == [(-4, 0), (-1, (1 << 31) - 1), (-4, 1 << 16), (-1, 128 << 10), (0,)]
    monkeypatch.setattr(memory, "_mallopt", lambda: (None, None))
    with memory.kept():
        pass
