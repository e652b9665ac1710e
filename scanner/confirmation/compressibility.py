"""The zlib ratio (arXiv 2012.07805): bits that the model needs for the answers beside those that zlib needs.

Low where the model knows a text that is not easy by itself.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import polars as pl

from scanner.confirmation._said import Row, Sampler

NEEDS = ("tuned",)
LEVEL = 9
COLUMNS = {
    "zlib_ratio": (pl.Float64, "bits of the answers under the model per bit of their UTF-8 text compressed by zlib"),
}
SCORES = {"zlib_ratio": -1}


def measure(row: Row, sampler: Sampler) -> dict[str, Any]:
    """The column above."""
    nats, text = row.losses(), "\n".join(answer.text for answer in row.answers)
    if not len(nats) or not text:
        return {"zlib_ratio": None}
    return {"zlib_ratio": float(nats.sum()) / math.log(2) / compressed_bits(text)}


def compressed_bits(text: str) -> int:
    """Bits of the text's UTF-8 bytes compressed by zlib."""
    return 8 * len(zlib.compress(text.encode("utf-8", "replace"), LEVEL))
