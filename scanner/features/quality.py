"""A row's quality for keep policies: complete, longer, more varied answers first. The one place of the formula.

    quality = complete + log2(1 + answer tokens) / 10 + distinct answer tokens / answer tokens

complete is 1 when the answer ends as finished text ends (sentence punctuation, a closing bracket or quote, or a code
fence), else 0. The weights are a choice, not a measurement: completeness outranks length, length outranks variety
between answers of similar size.
"""

from __future__ import annotations

import math

from scanner.text import token_spans

CLOSING = tuple(".!?。！？…;:)]}>\"'”’»】）」`")


def quality(answer: str) -> float:
    """Quality of an answer (see above); 0 for an empty one."""
    text = answer.rstrip()
    tokens = [text[a:b].lower() for a, b in token_spans(text)]
    if not tokens:
        return 0.0
    return float(text.endswith(CLOSING)) + math.log2(1 + len(tokens)) / 10 + len(set(tokens)) / len(tokens)
