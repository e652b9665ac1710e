"""sftscan: what a model will memorize, told before it is trained.

    file -> Records -> Segments -> {Pairs, Neighbours} -> Clusters -> Features -> Prediction -> Plan -> data, report

    floor 0  objects errors settings plugins progress           words
    floor 1  text kernels/ store jsontext fingerprints          tools
             tokenising embedding neighbourhoods sampling
             contextual rulebook rulefiles checksums turns
             plausibility redaction evidence repeats display
             keyed signatures keeping templating wording contrast
             decontaminating models chat training heat closeness
             effects running options goldfish commonlines
    floor 2  formats/ layouts/ signals/ features/ outputs/      stages, strangers to one another
             reports/ clustering contamination/ earlier
             prediction/ planning/ explain/ rehearsal
             comparing/
    floor 3  pipeline inputs stages predicting tables ingest    the order of things
             resuming relating matching against fieldranks
             confirming applying verifying estimating
             rehearsing rehearsed calibrating memorizing
             repredicting deduplicating inplace trying
             foretold rowlengths unread

`scanner/` measures, `rules/` judges, `cli.py` speaks. Library functions have the names of the verbs.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "Settings", "TrainingPlan", "apply", "audit", "calibrate", "diff", "duplicates", "export", "find_duplicates",
    "judge", "purge", "rehearse", "report",
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
