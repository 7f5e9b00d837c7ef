"""Runs and sessions that panels are tested at."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ka_explore import Run
from ka_explore.panels.branch import Branch
from ka_explore.panels.session import Session
from ka_explore.run.store import Store

STEPS = 12


@pytest.fixture(scope="module")
def problem(tiny_problem) -> Any:
    return tiny_problem(images=30, shape=(1, 8, 8), names=["one, the first", "two"])


@pytest.fixture
def make_run(problem, tmp_path) -> Callable[..., Run]:
    """A run in a folder that stays, or in a temporary one, advanced to a step."""

    def made(name: str = "base", *, to: int = 6, kept: bool = True, method: str = "common_feature", **options) -> Run:
        folder = tmp_path / "runs" / name if kept else None
        told = {"steps": STEPS, "batch_size": 8, "checkpoint_every": 4, "snapshot_every": 6} | options
        return Run(problem, method, name=name, folder=folder, **told).advance(to, progress=False)

    return made


@pytest.fixture
def desk_of(problem) -> Iterator[Callable[..., Session]]:
    """Sessions that are closed at the end."""
    made: list[Session] = []

    def session(*runs: Run | Path) -> Session:
        parts = [Branch(run) if isinstance(run, Run) else Branch(folder=run) for run in runs]
        made.append(Session(parts, problem))
        return made[-1]

    yield session
    for each in made:
        each.close()


def wait(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """The value of a condition once it holds."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.01)
    return found


def rows(run: Run | Branch | Path) -> list[dict[str, Any]]:
    """All recorded rows without how long they took."""
    store = Store(run) if isinstance(run, Path) else run.store
    return [{k: v for k, v in row.items() if k != "seconds"} for row in Store(store.folder).rows()]


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
