"""A folder is a menu."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scanner import plugins
from scanner.errors import SettingsError


@pytest.fixture
def menu(tmp_path, monkeypatch):
    folder = tmp_path / "menu_of_dishes"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "soup.py").write_text("NAME = 'soup'\n")
    (folder / "salad.py").write_text("raise AssertionError('imported')\n")
    (folder / "_kitchen.py").write_text("raise AssertionError('imported')\n")
    (folder / "notes.txt").write_text("no choice")
    monkeypatch.syspath_prepend(tmp_path)
    yield "menu_of_dishes"
    for name in [n for n in sys.modules if n.startswith("menu_of_dishes")]:
        del sys.modules[name]


def test_names_lists_the_files_and_imports_none(menu):
    assert plugins.names(menu) == ("salad", "soup")
    assert "menu_of_dishes.salad" not in sys.modules


def test_load_imports_the_chosen_one(menu):
    assert plugins.load(menu, "soup").NAME == "soup"


def test_what_was_loaded_is_not_looked_for_again(menu, tmp_path):
    soup = plugins.load(menu, "soup")
    (tmp_path / menu / "soup.py").unlink()
    assert plugins.load(menu, "soup") is soup


def test_a_private_part_is_no_choice(menu, monkeypatch):
    with pytest.raises(SettingsError, match="known are salad, soup"):
        plugins.load(menu, "_kitchen")
    monkeypatch.setitem(sys.modules, f"{menu}._kitchen", sys)
    with pytest.raises(SettingsError, match="known are salad, soup"):
        plugins.load(menu, "_kitchen")


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(
        SettingsError, match=r"there is no format 'jsnol'; known are .*jsonl.*\. Did you mean 'jsonl'\?"
    ):
        plugins.load("scanner.formats", "jsnol")
    with pytest.raises(SettingsError, match=r"there is no layout 'zzz'; known are [^?]*$"):
        plugins.load("scanner.layouts", "zzz")


@pytest.mark.parametrize("package", ["scanner.nothing", "scanner.text"])
def test_what_is_no_folder_is_refused(package):
    with pytest.raises(SettingsError, match="is not a plugin folder"):
        plugins.names(package)


def test_load_all_imports_everything_of_a_folder():
    found = plugins.load_all("scanner.layouts")
    assert set(found) == set(plugins.names("scanner.layouts"))
    assert all(name == module.NAME for name, module in found.items())


def test_a_new_file_is_a_new_choice(tmp_path):
    """In a fresh interpreter: dropping a file in is all it takes."""
    (tmp_path / "dishes").mkdir()
    (tmp_path / "dishes" / "stew.py").write_text("NAME = 'stew'\n")
    (tmp_path / "dishes" / "__init__.py").write_text("")
    code = "from scanner import plugins; print(plugins.names('dishes'), plugins.load('dishes', 'stew').NAME)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "('stew',) stew"
