"""The shape of the code itself: who imports whom, and how long a file may be."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
MOST_LINES = 400


def test_no_circle_of_modules():
    """Imports inside functions count, too: two modules that need each other are one module, or three."""
    graph = grimp.build_graph("jaxaccomp", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert "jaxaccomp.models.lstm" in imports["jaxaccomp.models.musicvae"], "the graph sees imports"
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail("these modules import each other in a circle: " + " <- ".join(error.args[1]))


def test_no_file_is_longer_than_a_sitting():
    files = [path for folder in ("jaxaccomp", "tests", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    long = {name: count for name, count in lengths.items() if count > MOST_LINES}
    assert not long, f"files of more than {MOST_LINES} lines: {long}"
