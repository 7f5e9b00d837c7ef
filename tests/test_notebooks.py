"""Every notebook runs from top to bottom, shrunk by replacements that must match."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
SHRINK = {
    "00_five_minutes.ipynb": {
        "toy.mnist()": "toy.digits()",
        "steps = 400": "steps = 30",
        "run.rewind(100)": "run.rewind(10)",
    }
}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_and_is_kept_without_output(path):
    notebook = nbformat.read(path, as_version=4)
    assert path.name in SHRINK, "say here how the notebook is made small for the test"
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in cells), "clear the outputs before it is committed"
    assert notebook.cells[0].cell_type == "markdown"
    assert "What you will learn" in notebook.cells[0].source
    assert "Predict" in notebook.cells[0].source
    for old, new in SHRINK[path.name].items():
        assert any(old in cell.source for cell in cells), f"{old!r} is no longer in the notebook"
        for cell in cells:
            cell.source = cell.source.replace(old, new)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    shown = [output for cell in cells for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in shown)
    assert not any(output.output_type == "error" for output in shown)
