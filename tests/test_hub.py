"""Models by name: what lies here is taken, the hub is asked once, and nothing of the libraries' noise is shown."""

from __future__ import annotations

import logging
import sys

import huggingface_hub
import huggingface_hub.errors
import pytest

from scanner import embedding, hub
from scanner.errors import SettingsError

HTTP = sys.modules[huggingface_hub.errors.HTTPError.__module__.partition(".")[0]]
"""httpx or httpx2: what the installed version of the hub's library speaks with."""


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def answering(monkeypatch, known=(), error=None):
    """A hub that has these models; `error` for all others. Returns what it was asked."""
    asked = []

    def model_info(name, timeout):
        assert 0 < timeout <= 10
        asked.append(name)
        logging.getLogger("huggingface_hub").warning("Retrying in 8s")
        if name not in known:
            raise error
        return name

    monkeypatch.setattr(huggingface_hub, "model_info", model_info)
    return asked


def unreachable():
    return OSError("[Errno -2] Name or service not known")


def absent():
    request = HTTP.Request("GET", "https://hub.invalid")
    return huggingface_hub.errors.RepositoryNotFoundError("404", response=HTTP.Response(404, request=request))


def test_without_a_network_the_answer_comes_at_once_and_quietly(monkeypatch, capfd):
    asked = answering(monkeypatch, error=unreachable())
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"waited {seconds} s"))
    message = r"--embedder some/model: not loaded: .* hub cannot be reached from here \(OSError\); expected a folder .*"
    with pytest.raises(SettingsError, match=message + "or leave the option out"):
        embedding.load("some/model")
    assert asked == ["some/model"]  # once, not for each file of the model
    assert capfd.readouterr() == ("", "")


def test_a_model_that_the_hub_does_not_have(monkeypatch):
    asked = answering(monkeypatch, error=absent())
    message = r"--confirm-with no-such: not loaded \(RepositoryNotFoundError\): there is no such folder or hub model"
    with pytest.raises(SettingsError, match=message):
        hub.check("no-such", "--confirm-with")
    assert asked == ["sentence-transformers/no-such", "no-such"]


def test_a_model_that_the_hub_has_is_let_through(monkeypatch):
    answering(monkeypatch, known=["some/model", "bert"], error=absent())
    hub.check("some/model", "--embedder")
    hub.check("bert", "--embedder")
    assert not hub.is_at_hand("some/model", "--embedder")


@pytest.mark.parametrize("name", ["/no/such/folder", "a/b/c", "two words", "no//name", "x" * 200, "../no-such"])
def test_what_can_be_no_name_of_a_model_is_not_asked_for(monkeypatch, name):
    asked = answering(monkeypatch, error=unreachable())
    with pytest.raises(SettingsError, match=r"--embedder .*: not loaded: there is no such folder; expected a folder"):
        hub.check(name, "--embedder")
    assert asked == []


def test_what_lies_here_is_taken_without_asking(monkeypatch, tmp_path, empty_cache):
    asked = answering(monkeypatch, error=unreachable())
    hub.check("minilm", "--embedder")
    hub.check(str(tmp_path), "--embedder")
    snapshot = empty_cache / "models--sentence-transformers--small" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "modules.json").write_text("[]")
    refs = empty_cache / "models--sentence-transformers--small" / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    hub.check("small", "--embedder")
    hub.check("sentence-transformers/small", "--embedder")
    assert asked == []
    with pytest.raises(
        SettingsError, match=r"the cache lacks it or some of its files, and the Hugging Face hub cannot be"
    ):
        embedding.load("sentence-transformers/small")
    assert asked == ["sentence-transformers/small"]


def test_levels_of_the_libraries_are_as_before():
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    with hub.quietly():
        assert logger.level == logging.CRITICAL
    assert logger.level == before
