"""How much of each row is template."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import polars as pl

from scanner.features import templates

NOBODY = pl.DataFrame(schema={"position": pl.Int64, "template": pl.Int32})


def test_shares_of_the_row_of_its_prompt_and_of_its_answers(segments_of):
    prints = segments_of([("a b", "c"), ("d", "")]).prints()
    marked = SimpleNamespace(
        fixed=np.array([[4, 1, 0], [0, 0, 0]], np.int32), tokens=np.array([[5, 2, 3], [0, 1, 0]], np.int32)
    )
    frame = templates.features(prints, marked, pl.DataFrame({"position": [0], "template": [7]}))
    assert frame["templates.share"].to_list() == [0.5, 0]
    assert frame["templates.prompt_share"].to_list() == [0.5, 0]
    assert frame["templates.answer_share"][0] == 0
    assert math.isnan(frame["templates.answer_share"][1])
    assert frame["templates.id"].to_list() == [7, None]


def test_without_templates_every_share_is_none_of_it_and_of_nothing_nan(segments_of):
    prints = segments_of([("a b", "c"), ("d", ""), ("", "")]).prints()
    frame = templates.features(prints, None, NOBODY)
    assert frame["templates.share"].fill_nan(None).to_list() == [0, 0, None]
    assert frame["templates.answer_share"].fill_nan(None).to_list() == [0, None, None]
    assert frame["templates.id"].to_list() == [None] * 3
