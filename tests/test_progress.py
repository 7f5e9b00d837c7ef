"""Where a progress bar is drawn."""

import json
import time

import pytest

from ka_explore.problem.progress import progress_bar, watched

LONGER_THAN_ITS_DELAY = 0.6


def draw(show: bool | None) -> None:
    with progress_bar(2, "counting", show=show) as bar:
        for _ in range(2):
            time.sleep(LONGER_THAN_ITS_DELAY)
            bar.update()


@pytest.mark.parametrize("show", [None, True, False])
def test_what_a_program_prints_stays_clean_where_a_kernels_modules_are_imported_but_none_runs(show, capsys):
    for name in ("IPython", "ipykernel"):
        pytest.importorskip(name, reason=f'needs {name}: pip install "ka-explore[lab]"')
    draw(show)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("counting" in err) == bool(show)


def test_in_a_kernel_it_is_a_widget():
    nbformat = pytest.importorskip("nbformat", reason='needs nbformat: pip install "ka-explore[lab]"')
    nbclient = pytest.importorskip("nbclient", reason='needs nbclient: pip install "ka-explore[lab]"')
    code = (
        "from ka_explore.problem.progress import progress_bar\n"
        "import time\n"
        "with progress_bar(2, 'counting') as bar:\n"
        f"    time.sleep({LONGER_THAN_ITS_DELAY})\n"
        "    bar.update(2)\n"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook).execute()
    (output,) = notebook.cells[0].outputs
    assert "application/vnd.jupyter.widget-view+json" in json.dumps(output)


def test_a_watcher_is_told_and_nothing_is_drawn(capsys):
    told = []
    with watched(lambda what, share: told.append((what, share))):
        draw(True)
    assert told == [("counting", 0.5), ("counting", 1.0), ("counting", 1.0)]
    assert capsys.readouterr() == ("", "")
