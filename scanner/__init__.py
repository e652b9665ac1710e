"""sftscan: what a model will memorize, told before it is trained.

    file -> Records -> Segments -> {Pairs, Neighbours} -> Clusters -> Features -> Prediction -> Plan -> data, report

    floor 0  objects errors settings plugins progress figures ranges         words
             rowsegments
    floor 1  text kernels/ store rulebook checksums redaction jsontext       tools
             embedding neighbourhoods fingerprints tokenising sampling
             evidence repeats models chat training rule rulefiles plausibility
             contextual display keyed signatures keeping turns templating
             decontaminating contrast compiling background batching
             baseloss wording heat planting memory closeness wordmeans growing
             ordering running effects options goldfish commonlines hub
             fieldnames trust versions wordvectors recalls mapped pairing
             writing storedtext jsonediting shownnames families rates invisible
             redacting
    floor 2  formats/ layouts/ signals/ features/ outputs/ reports/          stages, strangers to one another
             clustering contamination/ prediction/ planning/ explain/
             rehearsal earlier comparing/ confirmation/
    floor 3  pipeline inputs ingest resuming stages relating predicting      the order of things
             tables rehearsing applying placing estimating verifying against
             flatreading fieldranks matching confirming rehearsed
             calibrating trying projecting alongside retelling foretold
             drawing validating memorizing repredicting untuned rowlengths
             inplace deduplicating unread tuned passes strata outcome confirmed
             choosing judging segmenting recounting pretraining

`scanner/` measures, `rules/` judges, `cli.py` speaks. Library functions have the names of the verbs.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "Settings", "TrainingPlan", "apply", "audit", "calibrate", "confirm", "diff", "duplicates", "export",
    "find_duplicates", "judge", "purge", "rehearse", "report",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Public names, imported when first used: `import scanner` stays light."""
    if name in ("Settings", "TrainingPlan"):
        from scanner import settings

        return getattr(settings, name)
    if name in ("duplicates", "find_duplicates"):
        from scanner import deduplicating

        return getattr(deduplicating, name)
    if name == "diff":
        from scanner import comparing

        return comparing.diff
    if name in __all__:
        from scanner import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'scanner' has no attribute {name!r}")
