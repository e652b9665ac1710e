"""The script that each side of a row is written in; translations of one text differ in it, its copies do not.

script.prompt  name of the script that most of the prompt's letters are in (text.SCRIPTS), "none" without letters
script.answer  the same of the answers

A script is no language: Latin holds English, Turkish and French alike. Kana stands for Japanese, with its Han letters.
"""

from __future__ import annotations

import polars as pl

from scanner.objects import UInt8
from scanner.text import SCRIPTS


def features(prompt: UInt8, answer: UInt8) -> pl.DataFrame:
    """One row per row read; columns as named above."""
    names = pl.Series(SCRIPTS, dtype=pl.String)
    return pl.DataFrame(
        {"script.prompt": names.gather(pl.Series(prompt)), "script.answer": names.gather(pl.Series(answer))}
    )
