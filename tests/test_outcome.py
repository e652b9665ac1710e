"""What a confirmation says of its figures."""

from __future__ import annotations

import numpy as np
import pytest

from scanner import outcome


def test_the_interval_of_an_auroc_covers_it_and_copies_count_once():
    rng = np.random.default_rng(0)
    score, truth = np.concatenate((rng.normal(0.5, 1, 60), rng.normal(0, 1, 120))), np.arange(180) < 60
    one = outcome.interval(score, truth, np.ones(180), np.arange(180))
    assert one["low"] < one["auroc"] < one["high"]
    wins = [(a > b) + 0.5 * (a == b) for a in score[truth] for b in score[~truth]]
    assert one["auroc"] == pytest.approx(np.mean(wins))
    each = np.repeat(np.arange(180), np.where(truth, 4, 1))
    copies = outcome.interval(score[each], truth[each], np.ones(len(each)), each)
    assert copies["auroc"] == pytest.approx(one["auroc"])
    assert copies["high"] - copies["low"] == pytest.approx(one["high"] - one["low"], rel=0.2)
