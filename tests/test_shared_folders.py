"""One run's folder in several hands: whoever writes goes on from what the others recorded, and nothing is lost."""

import json
import shutil
import typing
from unittest import mock

import pytest

from ka_explore import Run, StoreError, diagnose

OPTIONS = {"steps": 12, "batch_size": 8, "width": 4, "blocks": 1, "checkpoint_every": 3, "snapshot_every": 6}


@pytest.fixture(scope="module")
def problem(tiny_problem):
    return tiny_problem(images=24, shape=(1, 8, 8), test=0, probe=12)


def rows_in(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def without_seconds(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.parametrize("turns", [[("one", 2), ("two", 7), ("one", 3)], [("two", 5), ("one", 1), ("two", 2)] * 2])
def test_two_who_take_turns_lose_no_row(turns, problem, tmp_path):
    alone = Run(problem, folder=tmp_path / "alone", **OPTIONS).advance(None)
    runs = {"one": Run(problem, folder=tmp_path / "run", **OPTIONS), "two": Run.open(tmp_path / "run", problem)}
    furthest = 0
    for name, count in turns:
        run = runs[name].advance(count)
        furthest = max(furthest, run.step)
        assert run.recorded == len(rows_in(run.folder)) == furthest, "what the other recorded is known, and kept"
        assert not run.notes
    assert runs["one"].advance(None).fork("fork").step == 12
    assert without_seconds(rows_in(tmp_path / "run")) == without_seconds(alone.history())
    assert Run.open(tmp_path / "run", problem).step == 12


GONE = {
    "the folder": shutil.rmtree,
    "the history": lambda folder: (folder / "history.jsonl").unlink(),
    "some rows": lambda folder: (folder / "history.jsonl").write_bytes((folder / "history.jsonl").read_bytes()[:700]),
}
USES = {
    "advance": lambda run: run.advance(1),
    "save": lambda run: run.save(),
    "seek": lambda run: run.seek(4),
    "history": lambda run: run.history(),
    "diagnose": diagnose,
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("what", GONE)
def test_rows_that_are_gone_are_told_and_nothing_is_written_in_their_place(what, use, problem, tmp_path):
    run = Run(problem, folder=tmp_path / "run", **OPTIONS).advance(8)
    GONE[what](run.folder)
    left = sorted(path.name for path in tmp_path.rglob("*") if path.name != ".lock")
    with pytest.raises(StoreError, match=str(run.folder)):
        USES[use](run)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.name != ".lock") == left


def test_a_run_with_hundreds_of_changes_of_options_opens_soon(problem, tmp_path):
    """Options are read of a class once: a chain of forks grew slower with each."""
    run = Run(problem, folder=tmp_path / "run", **OPTIONS)
    about = json.loads((run.folder / "run.json").read_text())
    about["configs"] = [[step, about["configs"][0][1]] for step in range(500)]
    (run.folder / "run.json").write_text(json.dumps(about))
    with mock.patch("typing.get_type_hints", wraps=typing.get_type_hints) as read:
        assert Run.open(run.folder, problem).step == 0
    assert read.call_count < 50
