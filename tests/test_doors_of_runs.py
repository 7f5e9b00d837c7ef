"""Whatever is handed to a run, or to a function about runs: it works, or one of our errors says why not; all stays."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from strange import strange

from ka_explore import (
    METHODS,
    InputError,
    KaError,
    Problem,
    Run,
    Store,
    compare,
    diagnose,
    export_student,
    load_student,
)
from ka_explore.methods.config import checked, options_of
from ka_explore.report import write_report
from ka_explore.run.export import export_program

STRANGE = strange(2, 1, 8, 8)


@pytest.fixture(scope="module")
def problem(tiny_problem) -> Problem:
    return tiny_problem(images=16, shape=(1, 8, 8), test=8, probe=8)


@pytest.fixture
def run(problem, tmp_path, monkeypatch) -> Run:
    """A run of six steps that stands at its second of four recorded ones."""
    monkeypatch.chdir(tmp_path)
    run = Run(problem, "distillation", folder=tmp_path / "run", steps=6, batch_size=8, snapshot_every=2)
    return run.advance(4).seek(2)


def stand(run: Run) -> tuple[Any, ...]:
    """Where a run stands, to the bit."""
    weights = [value.sum().item() for value in run.method.state_dict().values()]
    return run.step, run.recorded, run.name, [row["loss"] for row in run.store.rows()], weights


def escaped(doors: dict[str, Callable[[Any], object]], run: Run) -> list[str]:
    """What became of each door and strange value that was no error of ours, or left the run elsewhere."""
    found, before = [], stand(run)
    for door, call in doors.items():
        for name, value in STRANGE.items():
            try:
                call(value)
            except KaError:
                if stand(run) != before:
                    found.append(f"{door} {name}: moved the run")
            except Exception as error:
                found.append(f"{door} {name}: {type(error).__name__}: {str(error)[:150]}")
            else:
                before = stand(run.seek(2))
    return found


# The arguments of Run, and what its own message would be, if any, is not looked at: only that there is one.
MADE_WITH = ("method", "name", "tasks", "seed", "folder", "form", "device", "threads", "precision")


@pytest.mark.parametrize("argument", [*MADE_WITH, "checkpoint_every", "snapshot_every", "problem"])
def test_whatever_a_run_is_made_with(problem, run, argument):
    usual = {"problem": problem, "method": "distillation", "steps": 2, "batch_size": 8}
    assert escaped({argument: lambda value: Run(**usual | {argument: value})}, run) == []


def test_whatever_an_option_of_any_method_is():
    found = []
    for method in METHODS:
        for option in options_of(METHODS[method].Config).values():
            for name, value in STRANGE.items():
                try:
                    got = checked(option, value)
                    assert (got is None and option.optional) or type(got) is option.kind
                except InputError:
                    continue
                except Exception as error:
                    found.append(f"{method}.{option.name} {name}: {type(error).__name__}: {str(error)[:150]}")
    assert found == []


def test_options_have_bounds_on_how_many_there_are_of_them(problem):
    for bandwidths in ([], [0.1] * 65, [0.1, "x"], [0.1, math.nan], ["0.1"], [[0.1]], 0.1, {0.1}, np.ones(3)):
        with pytest.raises(InputError, match="bandwidths"):
            Run(problem, bandwidths=bandwidths)
    config = METHODS["common_feature"].configure(None, {"bandwidths": [np.float32(0.5), 1]})
    assert config.bandwidths == (0.5, 1.0)
    assert all(type(value) is float for value in config.bandwidths)


def test_numbers_of_numpy_are_numbers(problem, tmp_path):
    run = Run(problem, "distillation", seed=np.int64(3), steps=np.int32(2), batch_size=8, learning_rate=np.float32(0.5),
              folder=tmp_path / "run", checkpoint_every=np.int8(1)).advance(np.int64(1))  # fmt: skip
    assert (run.seed, run.step, Run.open(tmp_path / "run", problem).config.learning_rate) == (3, 1, 0.5)


def test_whatever_a_run_is_asked(run):
    doors: dict[str, Callable[[Any], object]] = {
        "advance": run.advance,
        "advance(progress)": lambda value: run.advance(1, progress=value),
        "advance(until)": lambda value: run.advance(0, until=value),
        "seek": run.seek,
        "rewind": run.rewind,
        "fork": run.fork,
        "fork(at)": lambda value: run.fork(f"fork {id(value)}", at=value),
        "fork(folder)": lambda value: run.fork("fork", folder=value),
        "fork(steps)": lambda value: run.fork("steps", steps=value),
        "fork(without)": lambda value: run.fork("without", without=value),
        "predict": run.predict,
        "history": run.history,
    }
    assert escaped(doors, run) == []


def test_whatever_the_functions_about_runs_are_given(problem, run, tmp_path):
    export_student(run, tmp_path / "student")
    doors: dict[str, Callable[[Any], object]] = {
        "open": lambda value: Run.open(value, problem),
        "open(problem)": lambda value: Run.open(run.folder, value),
        "open(method)": lambda value: Run.open(run.folder, problem, method=value),
        "Store": Store,
        "load_snapshot": run.store.load_snapshot,
        "compare": compare,
        "compare([])": lambda value: compare([run, value]),
        "diagnose": diagnose,
        "load_student": load_student,
        "load_student(student)": lambda value: load_student(tmp_path / "student", value),
        "export_student": lambda value: export_student(value, tmp_path / "other"),
        "export_student(folder)": lambda value: export_student(run, value),
        "export_program": lambda value: export_program(value, tmp_path / "other.pt2"),
        "write_report": lambda value: write_report(value, tmp_path / "report.html"),
        "write_report([])": lambda value: write_report([value], tmp_path / "report.html"),
        "write_report(kind)": lambda value: write_report([run], tmp_path / "report.html", kind=value),
        "write_report(embedding)": lambda value: write_report([run], tmp_path / "report.html", embedding=value),
    }
    assert escaped(doors, run) == []


def test_a_run_in_the_place_of_a_list_of_runs_is_told_to_be_one(run):
    with pytest.raises(InputError, match="compare: runs must be a sequence, each a Run, got Run"):
        compare(run)
    with pytest.raises(InputError, match="expected a list of runs"):
        write_report(run, "report.html")


def test_the_folder_where_one_stands_is_a_folder(problem, run, monkeypatch):
    monkeypatch.chdir(run.folder)
    assert Run.open(".", problem).recorded == 4


def test_images_that_a_run_predicts(run):
    images = run.problem.test.images[:]
    for same in (images.double(), images.numpy(), images.tolist(), images[:, 0]):
        assert torch.equal(run.predict(same), run.predict(images))
    with pytest.raises(InputError, match=r"images are 3×8×8, expected 1×8×8 \(channel, height, width\)"):
        run.predict(images.repeat(1, 3, 1, 1))
    with pytest.raises(InputError, match="to 255, expected"):
        run.predict(255 * images)


def test_thousands_of_threads_are_refused_and_of_a_strangers_run_only_some_are_used(problem, run):
    with pytest.raises(InputError, match="threads"):
        Run(problem, "distillation", threads=4096)
    about = run.folder / "run.json"
    about.write_text(about.read_text().replace('"threads": null', '"threads": 4096'))
    opened = Run.open(run.folder, problem)
    assert "4096 threads" in opened.notes[0]
