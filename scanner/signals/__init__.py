"""Segments to pairs and neighbours: each file finds one kind of likeness, and says how surely.

exact     equal records, and equal training text
minhash   near duplicates: banded MinHash proposes, exact Jaccard and containment dispose
span      repeated passages inside and across rows, and the rows that share a long one
sides     rows that share one side only: conflicts and boilerplate, as stars, never a reason to drop
semantic  neighbours by embedding, for review only
"""

from scanner.signals._groups import blocks_of, group_by

__all__ = ["blocks_of", "group_by"]
