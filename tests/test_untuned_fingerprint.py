"""A base is known by what its folder holds: read whole where files are small, by samples of large ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from scanner import untuned


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "mine"
    path.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (path / name).write_text("{}")
    (path / "model.safetensors").write_bytes(np.random.default_rng(0).bytes(5000))
    return path


def test_of_large_files_samples_are_read(folder, monkeypatch):
    whole = untuned.fingerprint(folder)
    monkeypatch.setattr(untuned, "READ_WHOLE", 100)
    monkeypatch.setattr(untuned, "SAMPLE_BYTES", 100)
    untuned._mark.cache_clear()
    sampled = untuned.fingerprint(folder)
    assert sampled != whole
    assert sampled == untuned.fingerprint(folder)
    untuned._mark.cache_clear()


def test_a_changed_folder_is_read_again(folder, tmp_path):
    copy = tmp_path / "changed"
    shutil.copytree(folder, copy)
    before = untuned.fingerprint(copy)
    assert before == untuned.fingerprint(folder)  # wherever it lies
    (copy / "note.txt").write_text("new")
    assert untuned.fingerprint(copy) != before
