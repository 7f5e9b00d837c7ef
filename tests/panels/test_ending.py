"""What ends, and what is left of it: a process while a run plays, a workbench that is shown no more."""

import gc
import operator
import subprocess
import sys
import threading
import weakref
from functools import partial

import pytest

from ka_explore import InputError, Run

pytest.importorskip("anywidget", reason="needs the extra lab: pip install 'ka-explore[lab]'")
from IPython.core.interactiveshell import InteractiveShell
from ipywidgets.widgets.widget import _instances
from traitlets.config import Config

from ka_explore.panels import workbench
from ka_explore.panels.workbench import OPEN

OPTIONS = {"steps": 5000, "batch_size": 8, "width": 4, "blocks": 1, "snapshot_every": 1000, "checkpoint_every": 1000}

# Children of one process that has imported everything: each plays, and ends in the way that it is given.
PLAYS = """
import os, sys, time
import numpy as np, torch
from torch import nn
from ka_explore import Pool, Problem, Run, Student, Teacher
from ka_explore.panels import workbench

def net(classes):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))

torch.set_num_threads(1)
teachers = [Teacher(labels[0], net(2), layers=["0"], labels=labels) for labels in (["a", "b"], ["c", "d"])]
images = np.random.default_rng(0).random((24, 1, 8, 8), np.float32)
problem = Problem(teachers, Pool(images), lambda labels: Student.chain({"body": net(4)[0]}, {"class": net(4)[1:]}))
Run(problem, width=4, blocks=1)  # what of torch is imported when first used
for number, how in enumerate(sys.argv[1:]):
    if not (child := os.fork()):
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()

os.dup2(os.open(f"{number}.txt", os.O_CREAT | os.O_WRONLY), 2)
bench = workbench(Run(problem, batch_size=8, width=4, blocks=1, steps=100_000, snapshot_every=2), show=["player"])
if how == "of a fork":
    bench.fork("other", mmd_weight=0.0)
bench.play()
while bench.run.step < 3:
    time.sleep(0.01)
if how == "exit":
    sys.exit(3)
if how == "error":
    raise ValueError("of the script")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs os.fork")
def test_a_script_that_ends_while_a_run_plays_ends_as_if_none_did(tmp_path):
    """Slow: a process that imports torch, and the end of six of its children."""
    codes = {"end": 0, "exit": 3, "error": 1, "of a fork": 0}
    ways = [*codes, "end", "exit"]
    command = [sys.executable, "-c", PLAYS, *ways]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    assert [int(code) for code in done.stdout.split()] == [codes[way] for way in ways]
    for number, way in enumerate(ways):
        said = (tmp_path / f"{number}.txt").read_text()
        assert said.count("Traceback") == (way == "error"), said
        assert said.endswith("ValueError: of the script\n") if way == "error" else not said


# The workbench


@pytest.fixture
def make_run(tiny_problem):
    """A maker of runs of one problem."""
    problem = tiny_problem(images=30, shape=(1, 8, 8))
    return lambda name="base", **options: Run(problem, name=name, **OPTIONS | options)


@pytest.fixture
def shell(monkeypatch, tmp_path):
    """An IPython without a page; at its end nothing is displayed any more."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    made = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    yield made
    for bench in list(OPEN):
        bench.close()
    made.restore_sys_module_state()
    InteractiveShell.clear_instance()


def run_cell(shell, code, cell_id=None, *, wrong=False, **names):
    """Run a cell as a kernel does; what goes wrong in it is raised, unless it is wanted."""
    shell.push(names)
    result = shell.run_cell(code, store_history=True, cell_id=cell_id)
    if not wrong:
        result.raise_error()


def there():
    """How many threads and widgets there are, once what nobody holds is gone."""
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "ka_explore end":
            thread.join(10)
    gc.collect()
    names = sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("ka_explore"))
    return names, len(_instances)


CELLS = {
    "the same run, displayed": "workbench(run)",
    "the same run, held": "bench = workbench(run)",
    "the same folder": "workbench(run.folder)",
    "a new run, displayed": "run = make_run()\nworkbench(run)",
    "a new run, held and displayed": "bench = workbench(make_run())\nbench",
    "a new run, held": "bench = workbench(make_run())",
    "a new run, held by nobody": "workbench(make_run()).play()",
    "a new run that plays": "bench = workbench(make_run())\nbench.play()\nbench",
}
QUICK = ("a new run, displayed", "a new run that plays")


@pytest.mark.parametrize(
    ("cell", "cell_id"),
    [
        ("a new run, displayed", "this"),
        ("a new run that plays", "this"),
        *(pytest.param(cell, "this", marks=pytest.mark.slow) for cell in CELLS if cell not in QUICK),
        pytest.param("a new run, displayed", None, marks=pytest.mark.slow),
        pytest.param("the same folder", None, marks=pytest.mark.slow),
    ],
)
def test_a_cell_that_is_run_again_leaves_one_workbench(shell, make_run, cell, cell_id):
    """Threads, widgets and runs; `Out` keeps all that was displayed."""
    runs, counts = [], []

    def made():
        run = make_run()
        runs.append(weakref.ref(run))
        return run

    show = ["player", "history"] if cell == "a new run, displayed" else ["player"]
    names = {"workbench": partial(workbench, show=show), "run": make_run(), "make_run": made}
    run_cell(shell, "", **names)
    for _ in range(3):
        run_cell(shell, CELLS[cell], cell_id)
        counts.append(there())
    assert len({widgets for _, widgets in counts}) == 1
    assert all(len(set(names)) == len(names) for names, _ in counts), "two threads of one kind"
    assert len(OPEN) == ("nobody" not in cell)
    alive = [run() for run in runs if run() is not None]
    assert len(alive) == len(OPEN) * bool(runs)
    if "plays" in cell:
        (bench,) = OPEN
        assert bench.run is alive[0]
        assert bench._session.driver.doing


def test_a_cell_that_is_run_again_with_the_same_workbench_keeps_it(shell, make_run):
    run_cell(shell, "bench = workbench(run)", workbench=partial(workbench, show=["player"]), run=make_run())
    for cell in ("one", "one", "two", "one"):
        run_cell(shell, "bench", cell)
    (bench,) = OPEN
    run_cell(shell, "print()", "one")
    assert list(OPEN) == [bench], "it still stands in the other cell"
    run_cell(shell, "print()", "three")
    assert list(OPEN) == [bench]
    run_cell(shell, "raise ValueError", "two", wrong=True)
    assert not OPEN
    assert "its cell was run again without it" in repr(bench)


def test_what_is_displayed_between_two_cells_is_ended_by_none(shell, make_run):
    run_cell(shell, "bench = workbench(run)", "one", workbench=partial(workbench, show=["player"]), run=make_run())
    bench = shell.user_ns["bench"]
    bench._ipython_display_()
    for cell in ("one", "two", "two", "one"):
        run_cell(shell, "del bench" if cell == "one" else "", cell, bench=1)
    assert list(OPEN) == [bench]


def test_a_new_workbench_of_a_run_goes_on_where_the_old_one_was(make_run, capsys):
    nothing, run = there(), make_run().advance(3, progress=False)
    old = workbench(run, show=["player", "branches"])
    old._ipython_display_()
    fork = old.fork("other", mmd_weight=0.0)
    old.select([2])
    session, before = old._session, there()
    session.play()
    capsys.readouterr()
    with workbench(run, show=["player", "points"]) as new:
        assert new._session is session
        assert session.busy
        assert capsys.readouterr().out.count("This workbench has ended: another workbench shows its run now.") == 1
        assert new.runs == {"base": run, "other": fork}
        assert new.selection.tolist() == [2]
        new.panels["points"].settle()
        assert not session.error
        assert there() == before
    assert not OPEN
    assert there() == nothing
    old.close()


@pytest.mark.parametrize("ask", ["run", "runs", "play", "pause", "selection", "diagnose", "view", "advance"])
def test_a_workbench_that_has_ended_says_so(make_run, ask, capsys):
    bench = workbench(make_run(), show=["player"])
    bench.close()
    with pytest.raises(InputError, match=r"has ended: it was closed. workbench\(run\), or its cell"):
        operator.methodcaller(ask, *["pca"] * (ask == "view"))(bench)
    bench._ipython_display_()
    assert "This workbench has ended" in capsys.readouterr().out
    bench.close()
    assert bench.panels == {}


def test_whoever_shows_any_of_its_runs_ends_a_workbench(make_run, tiny_problem):
    one, two, three = (make_run(name) for name in "abc")
    first, other = workbench(one, two, show=["player"]), workbench(three, show=["player"])
    fork = other.fork("fork", mmd_weight=0.0)
    second = workbench(two, show=["player"])
    assert set(OPEN) == {other, second}
    assert list(second.runs) == ["b"]
    third = workbench(fork, show=["player"])
    assert set(OPEN) == {second, third}
    fourth = workbench(two.folder, show=["player"])
    assert fourth._session is second._session if second in OPEN else fourth.runs == {"b": two}
    problem = tiny_problem(images=30, shape=(1, 8, 8))
    fifth = workbench(two.folder, show=["player"], problem=problem)
    assert fifth._session.problem is problem
    assert set(OPEN) == {third, fifth}
    for bench in (first, second, third, fourth, fifth):
        bench.close()


def test_an_error_in_a_with_ends_the_workbench_and_is_raised(make_run):
    before = there()
    with pytest.raises(InputError, match="is not recorded"), workbench(make_run(), show=["player"]) as bench:
        bench.rewind(7)
    assert not OPEN
    assert there() == before
