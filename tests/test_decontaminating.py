"""What matches with evaluation items come to."""

from __future__ import annotations

import polars as pl

from scanner import decontaminating


def test_an_item_counts_once_by_the_most_that_a_row_holds_of_it():
    found = [(0, "1", "both", "exact"), (1, "1", "question", "ngram"), (2, "2", "question", "near"),
             (3, "2", "answer", "ngram"), (4, "3", "question", "semantic"), (5, "1", "question", "semantic"),
    ]  # fmt: skip
    matches = pl.DataFrame(found, schema=["row_id", "item", "part", "how"], orient="row").with_columns(
        kind=pl.lit("evaluation"), source=pl.lit("b")
    )
    summed = decontaminating.per_benchmark(matches, [{"name": "b", "items": 9, "not_searched": 0}])["b"]
    assert summed["by_part"] == {"both": 1, "question": 1, "answer": 0}
    assert summed["by_how"] == {"exact": 1, "ngram": 1, "near": 0, "semantic": 1}
    assert (summed["matched"], summed["semantic_only"]) == (2, 1)
