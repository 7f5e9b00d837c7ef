"""Runs and sessions that panels are tested at."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
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


class Screen:
    """What a page knows of a panel's film, read as ``film.js`` reads it: `about`, and `branches` with their `frames`.

    Frames that the panel sends by themselves from now on are laid into it; whether a page would ask for all of them
    because it missed some is `lost`.
    """

    def __init__(self, panel: Any):
        self.panel, self.number, self.sent, self.lost = panel, 0, 0, False
        self.take(unpacked(panel.get_state()["film"]))
        panel.observe(lambda change: self.take(unpacked(change["new"])), "film")
        before = panel.send

        def send(content: dict[str, Any], buffers: Any = None) -> None:
            if content["kind"] == "film":
                self.take(unpacked(buffers[0]))
            before(content, buffers)

        panel.send = send

    def take(self, came: dict[str, Any]) -> None:
        """Take in a whole film, or frames that came by themselves."""
        self.sent += 1
        self.lost |= not came["whole"] and came["number"] != self.number + 1
        self.number = came["number"]
        if came["whole"]:
            self.about, self.branches = came["about"], came["branches"]
            return
        self.about |= came["about"]
        for mine, branch in zip(self.branches, came["branches"], strict=True):
            frames = {frame["step"]: frame for frame in mine["frames"]}
            for frame in branch["frames"]:
                frames[frame["step"]] = frames.get(frame["step"], {}) | frame
            mine |= branch
            mine["frames"] = [frame for step, frame in sorted(frames.items()) if step in branch["steps"]]

    def frames(self, branch: int = 0) -> dict[int, dict[str, Any]]:
        """The frames of a branch by step."""
        return {frame["step"]: frame for frame in self.branches[branch]["frames"]}

    def steps(self) -> list[list[int]]:
        """The steps that have a frame, by branch."""
        return [[frame["step"] for frame in branch["frames"]] for branch in self.branches]


def unpacked(data: bytes) -> dict[str, Any]:
    """A film as `ka_explore.panels.film` packs it."""
    size = int.from_bytes(data[:4], "little")
    header, at = json.loads(data[4 : 4 + size]), 4 + size

    def frame_of(layout: int) -> dict[str, Any]:
        nonlocal at
        frame = dict(header["layouts"][layout])
        for name, kind, shape in frame.pop("arrays"):
            dtype = np.dtype(f"<{kind}" if kind != "u1" else kind)
            count = int(np.prod(shape))
            frame[name] = np.frombuffer(data, dtype, count, at).reshape(shape)
            at += -(-count * dtype.itemsize // 4) * 4
        return frame

    header["about"] = frame_of(header["about"])
    for branch in header["branches"]:
        branch["frames"] = [{"step": step, **frame_of(layout)} for step, layout in branch["frames"]]
    assert at == len(data)
    return header
