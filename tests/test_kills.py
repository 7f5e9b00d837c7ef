"""Killed at any moment, a run or a fork is there whole or not at all, and can be made again in its place."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ka_explore import InputError, Problem, Run, Store, StoreError

KILLED = 9


@pytest.fixture(scope="module")
def problem(tiny_problem) -> Problem:
    return tiny_problem(images=16, shape=(1, 8, 8), test=0, probe=8)


def make(problem: Problem, folder: Path) -> Run:
    return Run(problem, "distillation", folder=folder, steps=3, batch_size=8, checkpoint_every=1, snapshot_every=1)


def fork(run: Run, folder: Path) -> Run:
    return run.fork("fork", at=2, folder=folder, learning_rate=0.1)


def in_a_process_of_its_own(test: Callable[..., None]) -> Callable[..., None]:
    """The test, in a new process: a child of one whose threads have computed may wait for them for ever."""

    @functools.wraps(test)
    def alone(problem: Problem, tmp_path: Path) -> None:
        if os.environ.get("KA_EXPLORE_ALONE"):
            test(problem, tmp_path)
            return
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"{__file__}::{test.__name__}"]
        about = {**os.environ, "KA_EXPLORE_ALONE": "1", "OMP_NUM_THREADS": "1"}
        about.pop("PYTEST_ADDOPTS", None)  # such as a file for results, which is the other process's
        done = subprocess.run(command, env=about, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr

    return alone


def changes_something(event: str, told: tuple[Any, ...], below: Path) -> bool:
    """Whether an event of Python's auditing makes, moves, removes or opens for writing something below a folder."""
    if event == "open":
        path, _, flags = told
        return str(path).startswith(str(below)) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    if event in ("os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "os.truncate"):
        return any(str(part).startswith(str(below)) for part in told)
    return False


def killed_at(moment: int, work: Callable[[], object], below: Path) -> bool:
    """Do the work in a child process that dies before its so-manieth change of a file; whether it died."""
    child = os.fork()
    if child == 0:
        left = moment

        def watch(event: str, told: tuple[Any, ...]) -> None:
            nonlocal left
            if changes_something(event, told, below):
                left -= 1
                if left < 0:
                    os._exit(KILLED)

        try:
            sys.addaudithook(watch)
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


def parts(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".part") or path.name == ".making"]


def whole(folder: Path, problem: Problem) -> Run:
    """The run of a folder, at its end, by every step."""
    run = Run.open(folder, problem).advance(None)
    assert run.done
    assert run.notes == ()
    return run.seek(0).seek(3)


@pytest.mark.slow
@in_a_process_of_its_own
def test_a_run_killed_at_any_moment_of_its_making_and_first_steps(problem, tmp_path):
    expected = [row["loss"] for row in make(problem, tmp_path / "expected").advance(None).history()]
    moment, not_made = 0, 0
    while killed_at(moment, lambda: make(problem, folder).advance(2), folder := tmp_path / f"run {moment}"):
        if not (folder / "run.json").exists():
            with pytest.raises(InputError, match="there is no run"):
                Run.open(folder, problem)
            not_made += 1
            make(problem, folder)
        with pytest.raises(InputError, match="there is a run"):
            make(problem, folder)
        run = whole(folder, problem)
        assert [row["loss"] for row in run.history()] == expected
        assert parts(folder) == []
        moment += 1
    assert moment > 20
    assert not_made > 5


@pytest.mark.slow
@in_a_process_of_its_own
def test_a_fork_killed_at_any_moment_of_its_making(problem, tmp_path):
    run = make(problem, tmp_path / "run").advance(None)
    expected = [row["loss"] for row in fork(run, tmp_path / "expected").advance(None).history()]
    moment = 0
    while killed_at(moment, lambda: fork(run, folder), folder := tmp_path / f"fork {moment}"):
        if not (folder / "run.json").exists():
            with pytest.raises(InputError, match="there is no run"):
                Run.open(folder, problem)
            fork(run, folder)
        assert [row["loss"] for row in whole(folder, problem).history()] == expected
        assert parts(folder) == []
        moment += 1
    assert moment > 15


def test_a_folder_that_an_old_kill_left_without_a_checkpoint_opens_at_the_beginning(problem, tmp_path):
    make(problem, tmp_path / "run")
    (tmp_path / "run/checkpoints/000000.pt").unlink()
    run = Run.open(tmp_path / "run", problem)
    assert run.step == 0
    expected = make(problem, tmp_path / "other").advance(None)
    assert [row["loss"] for row in run.advance(None).history()] == [row["loss"] for row in expected.history()]
    assert run.seek(0).seek(2).checkpoints == (0, 1, 2, 3)


@pytest.mark.parametrize("wrong", [RuntimeError("sky"), KeyboardInterrupt(), MemoryError()])
def test_what_fails_while_it_is_made_leaves_what_was_there(problem, tmp_path, monkeypatch, wrong):
    run = make(problem, tmp_path / "run").advance(None)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")

    def fail(*_: object, **__: object) -> None:
        raise wrong

    monkeypatch.setattr(Run, "_save", fail)
    for folder in (tmp_path / "new", tmp_path / "mine"):
        for work in (lambda to: make(problem, to), lambda to: fork(run, to)):
            with pytest.raises(type(wrong)):
                work(folder)
    assert not (tmp_path / "new").exists()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_files_like_a_runs_that_nobody_is_known_to_have_left_are_not_touched(problem, tmp_path):
    (tmp_path / "mine/checkpoints").mkdir(parents=True)
    (tmp_path / "mine/checkpoints/best.pt").write_text("months of work")
    with pytest.raises(InputError, match=r"best\.pt.*Nothing is overwritten"):
        make(problem, tmp_path / "mine")
    assert (tmp_path / "mine/checkpoints/best.pt").read_text() == "months of work"


def test_two_who_make_a_run_in_one_place_do_not_meet(problem, tmp_path):
    about = make(problem, tmp_path / "run").store.about
    with Store.making(tmp_path / "new", about), pytest.raises(StoreError, match="another process"):
        make(problem, tmp_path / "new")
    assert Store(tmp_path / "new").rows_kept == 0


def test_a_link_in_place_of_what_is_changed_in_place_is_not_written_through(problem, tmp_path):
    for name in ("history.jsonl", ".lock"):
        folder, mine = tmp_path / name / "run", tmp_path / name / "mine"
        make(problem, folder).advance(1)
        mine.write_text("mine")
        (folder / name).unlink()
        (folder / name).symlink_to(mine)
        with pytest.raises(StoreError, match="is a link"):
            Run.open(folder, problem).advance(1)
        assert mine.read_text() == "mine"
