"""The house: who may import whom, what an import may weigh, and that every file says what it is."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import scanner
from scanner import plugins

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "scanner").rglob("*.py"))

FLOORS = {
    0: "objects errors settings plugins progress figures ranges rowsegments",
    1: "text kernels store rulebook checksums redaction jsontext embedding neighbourhoods fingerprints tokenising "
    "sampling evidence repeats models chat training rule rulefiles plausibility contextual display keyed signatures "
    "keeping turns templating families decontaminating contrast compiling background batching baseloss wording rates "
    "heat planting memory closeness wordmeans growing ordering running effects options goldfish commonlines hub "
    "fieldnames trust versions wordvectors recalls mapped pairing writing storedtext jsonediting shownnames "
    "invisible redacting",
    2: "formats layouts signals features outputs reports clustering contamination prediction planning explain "
    "rehearsal earlier comparing confirmation",
    3: "pipeline inputs ingest resuming stages relating predicting tables rehearsing applying estimating verifying "
    "against flatreading fieldranks matching confirming rehearsed calibrating trying projecting "
    "alongside retelling foretold drawing validating memorizing repredicting untuned rowlengths inplace deduplicating "
    "pretraining unread tuned passes strata outcome confirmed choosing judging segmenting recounting placing",
}
"""Words, tools, stages, and the order of things, by the first part of a module's name below `scanner`."""
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names.split()}
MENUS = ("formats", "layouts", "signals", "features", "outputs", "reports", "confirmation")

HEAVY = {
    "torch", "faiss", "numba", "transformers", "sentence_transformers", "polars", "pyarrow", "jinja2", "rich",
    "sklearn", "scipy", "datasketch", "tokenizers", "re2", "datasets", "pandas", "rapidfuzz",
}  # fmt: skip
MOST_LINES = 400


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """The part of the house: `formats` of scanner.formats.csv; "" for the package itself."""
    return ([*module.split("."), ""])[1]


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module below scanner) of every import, those inside functions too; no type-checking ones."""
    tree = ast.parse(path.read_text("utf-8"))
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "scanner")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            if node.module == "scanner":
                yield from ((node.lineno, f"scanner.{alias.name}") for alias in node.names)
            elif node.module and node.module.startswith("scanner."):
                yield node.lineno, node.module


def test_every_part_of_the_house_has_a_floor():
    parts = {part_of(module_of(path)) for path in FILES}
    assert parts - {""} == set(FLOOR_OF), "add the new part to FLOORS"


def test_the_picture_in_the_package_shows_every_part_on_its_floor():
    drawn: dict[int, set[str]] = {}
    floor = -1
    for line in (scanner.__doc__ or "").splitlines():
        floor = (
            int(found[1]) if (found := re.match(r"    floor (\d)  ", line)) else floor if line[:13].isspace() else -1
        )
        if floor >= 0:
            names = re.split(" {2,}", line[13:])[0].split()
            drawn.setdefault(floor, set()).update(name.rstrip("/") for name in names)
    assert drawn == {floor: set(names.split()) for floor, names in FLOORS.items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: module_of(path))
def test_floors_rest_on_lower_floors_and_stages_are_strangers(path):
    mine = part_of(module_of(path))
    if mine not in FLOOR_OF:  # the package's own face hands out what lies on any floor
        return
    wrong = []
    for line, module in imports_of(path):
        theirs = part_of(module)
        if theirs == mine or theirs not in FLOOR_OF:
            continue
        above = FLOOR_OF[theirs] > FLOOR_OF[mine]
        strangers = FLOOR_OF[theirs] == FLOOR_OF[mine] == 2
        if above or strangers:
            wrong.append(f"line {line}: {mine} (floor {FLOOR_OF[mine]}) imports {module} (floor {FLOOR_OF[theirs]})")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name in MENUS], ids=lambda path: module_of(path))
def test_choices_of_a_menu_do_not_know_one_another(path):
    """Only the parts whose names begin with an underscore are shared, and the folder's front door."""
    if path.name == "__init__.py":
        return
    folder = module_of(path).rsplit(".", 1)[0]
    others = {f"{folder}.{name}" for name in plugins.names(folder)} - {module_of(path)}
    wrong = [f"line {line}: {module}" for line, module in imports_of(path) if module in others]
    assert not wrong, "\n".join(wrong)


def test_kernels_know_only_kernels_and_the_threads_they_run_on():
    for path in (ROOT / "scanner" / "kernels").glob("*.py"):
        assert {part_of(module) for _, module in imports_of(path)} <= {"kernels", "running"}, path.name


def test_threads_are_started_in_one_place():
    """But where a library has to be set up on each thread: FAISS, which counts its own threads for each."""
    named = {module_of(path) for path in FILES if "ThreadPoolExecutor" in path.read_text("utf-8")}
    assert named == {"scanner.running", "scanner.signals.semantic", "scanner.contamination.neighbours"}


def test_no_tool_needs_itself():
    """Imports go round in no circle."""
    graph = {module_of(path): {module for _, module in imports_of(path)} for path in FILES}
    del graph["scanner"]
    known = set(graph)
    TopologicalSorter({name: needs & known - {name} for name, needs in graph.items()}).prepare()


def test_rules_are_data():
    assert {path.suffix for path in (ROOT / "rules").rglob("*.*") if "__pycache__" not in path.parts} <= {
        ".toml",
        ".py",
    }
    assert [path.name for path in (ROOT / "rules").rglob("*.py")] == ["__init__.py"]


def heavy_after(code: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter holds after some code."""
    report = "import json, sys; sys.stdout.write('\\n' + json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return HEAVY & set(json.loads(done.stdout.splitlines()[-1]))


HELP = """
import sys, cli
sys.argv = ["scan", "--help"]
try:
    cli.main()
except SystemExit:
    pass
"""


@pytest.mark.parametrize(
    "code",
    [
        "import cli, scanner, scanner.settings, scanner.objects, scanner.errors, scanner.plugins, scanner.progress",
        "from scanner import Settings, TrainingPlan; Settings(plan=TrainingPlan(epochs=1))",
        HELP,
        f"from scanner import plugins\nfor menu in {MENUS}: assert plugins.names('scanner.' + menu)",
    ],
    ids=["import", "settings", "help", "menus"],
)
def test_imports_are_light(code):
    assert heavy_after(code) == set()


@pytest.mark.parametrize("name", ["Settings", "TrainingPlan"])
def test_public_names_are_there(name):
    import scanner

    assert name in scanner.__all__
    assert getattr(scanner, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        scanner.nothing  # noqa: B018


def test_every_file_says_what_it_is():
    silent = [module_of(p) for p in [*FILES, ROOT / "cli.py"] if not ast.get_docstring(ast.parse(p.read_text("utf-8")))]
    assert not silent


def test_polars_takes_no_path_for_a_pattern():
    """It reads [..], * and ? in a name as a glob, and a run folder may be called data[red].scan."""
    readers = re.compile(r"(?:read|scan)_(?:parquet|ipc|csv|ndjson|parquet_schema)")
    loose = [
        f"{module_of(path)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and readers.fullmatch(node.func.attr)
        and "glob=False" not in ast.unparse(node) and ast.unparse(node.args[0]) != "file"  # an open one
    ]  # fmt: skip
    assert not loose, "give glob=False, or open the file"


def test_no_file_is_too_long_to_read():
    files = [*FILES, ROOT / "cli.py", *sorted((ROOT / "tests").rglob("*.py"))]
    long = {str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text("utf-8").splitlines())) > MOST_LINES}
    assert not long
