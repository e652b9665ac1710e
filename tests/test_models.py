"""Models are loaded from local folders only, and what does not suit is told."""

from __future__ import annotations

import json

import pytest

from scanner import models
from scanner.errors import ModelError


def test_a_saved_model_comes_back(tmp_path):
    import torch

    made = models.tiny(["some words to learn from, and some more"] * 5, seed=1, context=32)
    made.model.save_pretrained(tmp_path / "m")
    made.tokenizer.save_pretrained(tmp_path / "m")
    again = models.load(tmp_path / "m")
    assert (again.parameters, again.context) == (made.parameters, 32)
    assert models.load(tmp_path / "m", max_length=16).context == 16
    ids = torch.tensor([[5, 6, 7]], device=made.device)
    assert torch.equal(made.model.eval()(ids).logits, again.model.eval()(ids).logits)
    assert again.tokenizer.chat_template == models.TINY_TEMPLATE


def test_the_same_seed_gives_the_same_model():
    import torch

    a, b = (models.tiny(["a few words"], seed=3, context=16).model for _ in range(2))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_folders_that_hold_no_model_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json there; give a local folder"):
        models.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nonsense"}))
    with pytest.raises(ModelError, match="not loadable as a causal language model"):
        models.load(tmp_path)
