"""A run with everything that a report shows."""

from __future__ import annotations

import pytest
import synthetic

from scanner.store import RunFolder


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    made, _ = synthetic.from_demo()
    return synthetic.write(made, tmp_path_factory.mktemp("demo") / "demo.scan")
