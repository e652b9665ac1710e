"""The trainers' batches, slow and obvious: loops over rows, and nothing cleverer than a sort."""

from __future__ import annotations

import numpy as np

from scanner.settings import TrainingPlan

Step = list[list[int]]  # micro-batches of rows


def best_fit(sizes: list[int], room: int) -> list[list[int]]:
    """Sequences of rows: each, longest first, into the fullest sequence with room for it."""
    sequences: list[list[int]] = []
    left: list[int] = []
    for row in sorted(range(len(sizes)), key=lambda i: -min(sizes[i], room)):
        size = min(sizes[row], room)
        fits = [i for i in range(len(sequences)) if left[i] >= size and left[i] > 0]
        if not fits:
            sequences.append([])
            left.append(room)
            fits = [len(sequences) - 1]
        into = min(fits, key=lambda i: left[i])
        sequences[into].append(row)
        left[into] -= size
    return sequences


def wrapped(sizes: list[int], room: int) -> list[list[int]]:
    """Sequences of rows by the place where each begins on one long tape."""
    tape: dict[int, list[int]] = {}
    begin = 0
    for row, size in enumerate(sizes):
        tape.setdefault(begin // room, []).append(row)
        begin += size
    return list(tape.values())


def sequences(p: TrainingPlan, sizes: list[int], room: int) -> list[list[int]]:
    pack = best_fit if p.batching == "packed" else wrapped
    found = []
    for first in range(0, len(sizes), 1000):
        found += [[first + i for i in part] for part in pack(sizes[first : first + 1000], room)]
    return found


def units(p: TrainingPlan, sizes: list[int], rng: np.random.Generator, room: int) -> list[list[int]]:
    """What is put into steps, in order: single rows, or packed sequences."""
    if p.batching in ("packed", "wrapped"):
        packs = sequences(p, sizes, min(room, p.batch_tokens or room))
        return [sorted(packs[i]) for i in rng.permutation(len(packs))]
    rows = rng.permutation(len(sizes)).tolist()
    if p.batching == "length-grouped":
        together = p.batch_size if p.batch_tokens is None else round(p.batch_tokens / np.mean(sizes))
        together = max(1, together // p.devices)
        mega = max(1, min(len(rows) // (together * 4), 50)) * together
        parts = [sorted(rows[i : i + mega], key=lambda r: -sizes[r]) for i in range(0, len(rows), mega)]
        longest = max(range(len(parts)), key=lambda i: sizes[parts[i][0]])
        parts[0][0], parts[longest][0] = parts[longest][0], parts[0][0]
        rows = [r for part in parts for r in part]
    return [[r] for r in rows]


def epoch(p: TrainingPlan, sizes: list[int], rng: np.random.Generator, room: int = 2048) -> list[Step]:
    """The steps of one epoch, each a list of micro-batches."""
    steps: list[list[list[int]]] = []  # of units
    filled = True
    all_units = units(p, sizes, rng, room)
    if p.batch_tokens is not None and p.batching not in ("packed", "wrapped"):
        begin, number = 0, -1
        for unit in all_units:
            if begin // p.batch_tokens != number:
                number = begin // p.batch_tokens
                steps.append([])
            steps[-1].append(unit)
            begin += sizes[unit[0]]
        filled = begin >= (number + 1) * p.batch_tokens
    else:
        per_step = p.batch_size if p.batch_tokens is None else max(1, round(p.batch_tokens / room))
        steps = [all_units[i : i + per_step] for i in range(0, len(all_units), per_step)]
        filled = len(steps[-1]) == per_step
    if p.drop_last != "none" and not filled:
        last = steps.pop()
        if p.drop_last == "micro-batch" and p.micro_batch is not None:
            together = p.micro_batch * p.devices
            kept = last[: len(last) // together * together]
            steps += [kept] if kept else []
    micro = p.micro_batch or max((len(step) for step in steps), default=1)
    return [
        [[r for unit in step[i : i + micro] for r in unit] for i in range(0, len(step), micro)] for step in steps
    ]  # fmt: skip


def token_weight(p: TrainingPlan, step: Step, part: list[int], row: int, supervised: list[int]) -> float:
    """What one supervised token of a row weighs in the loss of its step."""
    if p.loss_average == "token":
        return 1 / max(1, sum(supervised[r] for micro in step for r in micro))
    if p.loss_average == "row":
        return 1 / max(1, sum(supervised[r] > 0 for micro in step for r in micro) * supervised[row])
    return 1 / max(1, len(step) * sum(supervised[r] for r in part))
