"""What every file in scanner/outputs promises, run over whatever lies there."""

import pytest

from scanner import formats, outputs, plugins
from scanner.errors import OutputError
from scanner.objects import Edits
from scanner.outputs import Part

NAMES = plugins.names("scanner.outputs")


def parts_of(*paths, edits=None):
    """The parts of some files, without changes unless given."""
    return [Part(s, formats.load(s.format), edits or Edits()) for s in formats.discover([str(p) for p in paths])]


@pytest.mark.parametrize("name", NAMES)
def test_offers_the_same_few_things(name):
    module = outputs.load(name)
    assert name == module.NAME
    assert module.DESCRIPTION
    assert callable(module.targets)
    assert callable(module.write)


@pytest.mark.parametrize("name", NAMES)
def test_never_writes_over_its_input(name, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"prompt": "p", "response": "r"}\n')
    with pytest.raises(OutputError, match="is the audited file itself"):
        outputs.load(name).targets(parts_of(path), path)
    assert path.read_bytes() == b'{"prompt": "p", "response": "r"}\n'
