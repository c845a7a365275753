"""The example notebook runs from top to bottom, and shows what it says it shows."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "docs" / "guides" / "notebook.ipynb"


def test_the_notebook_is_stored_without_outputs():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert all(cell.get("outputs", []) == [] for cell in cells)
    assert NOTEBOOK.stat().st_size < 20_000


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in data for data in shown) == 1
    html = [data["text/html"] for data in shown if "text/html" in data]
    assert sum("<audio controls" in text for text in html) == 1
    assert sum("<iframe sandbox" in text for text in html) == 2
    assert any("million parameters" in data.get("text/plain", "") for data in shown)
    assert (tmp_path / "korobeiniki-with-band.mid").exists()
