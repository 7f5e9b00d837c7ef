"""Every notebook runs from top to bottom, shrunk by replacements that must match, and judges its exercise rightly."""

from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
SHRINK = {
    "00_five_minutes": {
        "toy.mnist()": "toy.digits()",
        "steps = 400": "steps = 30",
        "at=50": "at=10",
        "rewind(100)": "rewind(10)",
    },
    "01_the_loop_by_hand": {"toy.mnist()": "toy.digits()", "seed, steps = 0, 100": "seed, steps = 0, 12"},
    "02_common_feature": {'toy.mnist("few_images")': "toy.digits()", "steps = 120": "steps = 30"},
    "03_layer_wise": {
        'name="direct", snapshot_every=25': 'name="direct", steps=60, snapshot_every=2',
        "snapshot_every=0": "snapshot_every=0, steps=40",
        "range(3)": "range(2)",
    },
    "04_adaptive": {"steps = 480": "steps = 24"},
    "05_what_if": {
        "toy.mnist()": "toy.digits()",
        "steps = 300": "steps = 30",
        "switches = (200, 100, 0)": "switches = (20, 10, 0)",
        "at=100": "at=10",
    },
    "06_debug_an_alignment": {
        "steps=150": "steps=60",
        '"mended").advance(None)': '"mended").advance(60)',
        **{
            f'name="{name}", **options': f'name="{name}", **options | {{"steps": 60}}'
            for name in ("first", "second", "third")
        },
    },
}

# By notebook: the line with dots that its exercise asks to replace, a right answer and a wrong one.
EXERCISES = {
    "00_five_minutes": (
        "gained = ...",
        'gained = table["within", "digits 0-4"]["base"] - table["within", "digits 0-4"]["teachers side by side"]',
        "gained = 99.0",
    ),
    "01_the_loop_by_hand": (
        "by_definition = ...",
        "kernel = lambda a, b: torch.exp(-torch.cdist(a, b).square() / (2 * sigma**2)).mean()\n"
        "by_definition = kernel(one, one) + kernel(other, other) - 2 * kernel(one, other)",
        "by_definition = torch.cdist(one, other).mean()",
    ),
    "02_common_feature": ("floor = ...", "floor = 2 / images", "floor = 1 / images"),
    "03_layer_wise": ("folded = ...", 'folded = torch.einsum("ij,jckl->ickl", A, W)', "folded = W"),
    "04_adaptive": (
        "agreement = ...",
        "agreement = ((unsure.argmin(dim=1) == 0) == negative).float().mean()",
        "agreement = 0.5",
    ),
    "05_what_if": ("copy = ...", 'copy = run.fork("copy", at=switches[0]).advance(None)', "copy = run"),
    "06_debug_an_alignment": (
        'guess = {"first": ..., "second": ..., "third": ...}',
        'guess = {"first": "wrong_preprocessing", "second": "labels_permuted", "third": "dominating_term"}',
        'guess = {"first": "collapsed", "second": "collapsed", "third": "collapsed"}',
    ),
}
PATHS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_says_what_it_is_for_and_is_kept_without_output(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code), "clear the outputs before it is committed"
    assert notebook.cells[0].cell_type == "markdown"
    assert "What you will learn" in notebook.cells[0].source
    assert "Predict" in notebook.cells[0].source
    assert "Try next" in notebook.cells[-1].source
    for before, after in pairwise(notebook.cells):
        assert not before.cell_type == after.cell_type == "markdown", "text in one cell"
    for one, two, three in zip(notebook.cells, notebook.cells[1:], notebook.cells[2:], strict=False):
        assert not one.cell_type == two.cell_type == three.cell_type == "code", f"say something before {three.source}"


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_runs(path):
    """Slow: a kernel that imports everything, a workbench with pictures, and the runs of a lesson, if shortened."""
    notebook = nbformat.read(path, as_version=4)
    assert path.stem in SHRINK, "say here how the notebook is made small for the test"
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for old, new in SHRINK[path.stem].items():
        assert any(old in cell.source for cell in cells), f"{old!r} is no longer in the notebook"
        for cell in cells:
            cell.source = cell.source.replace(old, new)
    right, wrong = answered(notebook, path.stem)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    outputs = [output for cell in cells for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    for cell in (cell for cell in cells if "draw" in cell.source and "import" not in cell.source):
        assert any("image/png" in output.get("data", {}) for output in cell.outputs), f"no picture: {cell.source}"
    assert not any(output.output_type == "error" for output in outputs)
    assert "right" in said(right).lower()
    assert "not that one" in said(wrong) or "AssertionError" in said(wrong)
    assert "right" not in said(wrong).lower()


def answered(notebook, name):
    """The exercise twice more, below itself: with a right answer and with a wrong one."""
    dots, good, bad = EXERCISES[name]
    place, asked = next((i, cell) for i, cell in enumerate(notebook.cells) if dots in cell.source)
    right, wrong = deepcopy(asked), deepcopy(asked)
    right.source, wrong.source = asked.source.replace(dots, good), asked.source.replace(dots, bad)
    right.id, wrong.id = "right-answer", "wrong-answer"
    wrong.metadata["tags"] = ["raises-exception"]
    notebook.cells[place + 1 : place + 1] = [wrong, right]
    return right, wrong


def said(cell):
    """What a cell printed, or the exception it ended with."""
    return "".join(output.get("text", "") + output.get("ename", "") for output in cell.outputs)
