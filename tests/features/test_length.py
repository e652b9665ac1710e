"""How long each row is."""

from __future__ import annotations

from scanner.features import length


def test_tokens_of_all_segments_and_of_the_learned_ones(segments_of):
    frame = length.features(
        segments_of([("one two?", "three"), ("", ""), "all of it", ("中文", "答", "be brief")]).prints()
    )
    assert frame.to_dict(as_series=False) == {
        "length.tokens": [4, 0, 3, 5],
        "length.supervised_tokens": [1, 0, 3, 1],
    }
