"""The slow, obvious twin of kernels/templates.py: dictionaries of words instead of tables of hashes."""

from __future__ import annotations

import math
from collections import Counter

from scanner.kernels.template_counts import CONTEXT, TAIL
from scanner.kernels.templates import COMMON, COMMON_LINE, EDIT, LINE, PIECE
from scanner.templating import FIXED_SHARE, LEAST_ROWS, LEAST_SHARE, RARE_ROWS, RARE_SHARE
from scanner.text import normalise

END = "</end>"
PAYLOAD, FIXED, EDITED = "payload", "fixed", "edited"


def contexts(role: str, text: str):
    """(context with its role, what follows) of every token and of the end; before the beginning stands the role."""
    words = normalise(text).split()
    words = [f"<{role}>"] * CONTEXT + [*words, END] if words else []
    return [((role, *words[i - CONTEXT : i]), words[i]) for i in range(CONTEXT, len(words))]


def tails(role: str, text: str):
    """The last TAIL tokens, each with those after it."""
    words = normalise(text).split()
    return [((role, END, *words[i + 1 :]), words[i]) for i in range(len(words) - 1, max(0, len(words) - TAIL) - 1, -1)]


class Twin:
    """What the distinct rows of one source, lists of (role, text), say about contexts."""

    def __init__(self, rows: list[list[tuple[str, str]]]):
        distinct = list({tuple((r, normalise(t)) for r, t in row): row for row in rows}.values())
        held, both = Counter(), Counter()
        for row in distinct:
            found = {pair for role, text in row for pair in contexts(role, text) + tails(role, text)}
            both.update(found)
            held.update({context for context, _ in found})
        least = max(LEAST_ROWS, math.ceil(LEAST_SHARE * len(distinct)))
        self.share = {c: int(n / len(distinct) * 1e6) for c, n in held.items() if n >= least}
        self.main, self.rare = {}, set()
        for (context, word), count in both.items():
            if context in self.share and count >= FIXED_SHARE * held[context]:
                self.main[context] = word
        for (context, word), count in both.items():
            least = max(RARE_ROWS, RARE_SHARE * held[context])
            if self.main.get(context, word) != word and count >= least:
                self.rare.add((context, word))

    def kinds(self, role: str, text: str) -> list[str]:
        """payload, fixed or edited for every token."""
        pairs = contexts(role, text)
        if not pairs:
            return []
        words = [word for _, word in pairs[:-1]]
        first = [self._judge(context, word) for context, word in pairs]
        n = len(words)
        if "fixed" not in first[:n]:
            return [PAYLOAD] * n
        level = [self.share[c] if kind == "fixed" else 0 for (c, _), kind in zip(pairs, first, strict=True)]
        if first[n] == "fixed":
            level[n - 1] = max(level[n - 1], level[n])
        kinds = first[:n]
        for i in range(1, n + 1):  # the context of fixed text is fixed text
            if first[i] == "fixed" and (i == n or first[i - 1] != "fixed"):
                for j in range(max(0, i - CONTEXT), i):
                    if first[j] in ("unknown", "edit"):
                        kinds[j] = "fixed"
        kinds = self._edits(kinds)
        out = self._lines(kinds, level)
        if FIXED in out:
            for back, (context, word) in enumerate(tails(role, text), 1):
                if out[-back] != PAYLOAD or self.main.get(context) != word:
                    break
                out[-back] = FIXED
        return out

    def _judge(self, context, word) -> str:
        if context not in self.share:
            return "unknown"
        if self.main.get(context) == word:
            return "fixed"
        return "slot" if context not in self.main or (context, word) in self.rare else "edit"

    def _edits(self, kinds: list[str]) -> list[str]:
        out, i, n = list(kinds), 0, len(kinds)
        while i < n:
            if kinds[i] == "edit" and i and out[i - 1] in ("fixed", EDITED):
                j = i
                while j < n and kinds[j] not in ("fixed", "slot") and j - i <= EDIT:
                    j += 1
                inside = j - i <= EDIT and (j == n or kinds[j] == "fixed")
                out[i:j] = [EDITED if inside else PAYLOAD] * (j - i)
                i = j
            else:
                out[i] = PAYLOAD if kinds[i] == "edit" else kinds[i]
                i += 1
        return out

    def _lines(self, kinds: list[str], level: list[int]) -> list[str]:
        stretches, i, n = [], 0, len(kinds)
        while i < n:
            j = i
            while j < n and kinds[j] in ("fixed", EDITED):
                j += 1
            edits = sum(kinds[k] == EDITED and kinds[k - 1] == "fixed" for k in range(i, j))
            if edits * LINE > j - i:
                kinds[i:j] = [PAYLOAD if kind == EDITED else kind for kind in kinds[i:j]]
                continue
            if j > i:
                stretches.append((i, j, max(level[i:j])))
            i = j + 1
        lines = [held for i, j, held in stretches if j - i >= LINE or (j - i >= COMMON_LINE and held >= COMMON)]
        out = [PAYLOAD] * n
        for i, j, held in stretches:
            if lines and (j - i >= LINE or (j - i >= PIECE and 2 * held >= min(lines))):
                out[i:j] = [FIXED if kind == "fixed" else EDITED for kind in kinds[i:j]]
        return out
