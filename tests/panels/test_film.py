"""A panel that somebody else writes: frames are made once, kept within bounds, and sent as needed."""

import json
import time
from collections.abc import Iterator

import numpy as np
import pytest

from ka_explore import Run
from ka_explore.panels.branch import Branch
from ka_explore.panels.film import FEW, FilmPanel
from ka_explore.panels.frames import Kept, packed, split, thinned
from ka_explore.panels.session import Session
from tests.panels.conftest import Screen, unpacked


class Lengths(FilmPanel):
    """How long the student's features in the common space are."""

    _esm = "export default { render() {} };"
    pause = 0.0  # seconds that a frame takes

    def __init__(self, session: Session):
        self.made: list[int] = []
        self.unit = "length"
        super().__init__(session)

    def key(self) -> str:
        return self.unit

    def about(self) -> dict:
        return {"unit": self.unit, "count": np.int64(3)}

    def frame(self, branch: Branch, step: int) -> dict | None:
        time.sleep(self.pause)
        snapshot = branch.snapshot(step)
        self.made.append(step)
        if snapshot is None:
            return None
        return {"lengths": np.linalg.norm(snapshot.arrays["common/student"], axis=1), "stage": snapshot.stage}

    def asked(self, message: dict) -> None:
        self.unit = message["unit"]


@pytest.fixture(scope="module")
def run(tiny_problem) -> Run:
    return Run(tiny_problem(), steps=30, snapshot_every=2, batch_size=16).advance(24, progress=False)


@pytest.fixture
def session(run) -> Iterator[Session]:
    session = Session([Branch(run)])
    yield session
    error = session.error
    session.close()
    assert error == ""


def test_every_snapshot_has_a_frame_that_is_made_once(session):
    panel = Lengths(session)
    panel.settle()
    screen = Screen(panel)
    assert screen.about == {"unit": "length", "count": 3}
    assert screen.steps() == [list(range(0, 25, 2))]
    for step, frame in screen.frames().items():
        expected = np.linalg.norm(session.branch.snapshot(step).arrays["common/student"], axis=1)
        np.testing.assert_array_equal(frame["lengths"], np.float32(expected))
        assert frame["stage"] == ("joint" if step <= 15 else "follow")
    session.changed("snapshots", "viewed_step")
    panel.settle()
    assert sorted(panel.made) == list(range(0, 25, 2))
    assert screen.sent == 1, "nothing is new"


def test_the_step_that_is_looked_at_and_the_newest_come_first(session):
    session.look_at(7.0)
    panel = Lengths(session)
    panel.settle()
    assert panel.made[:2] == [6, 24]


def test_frames_of_another_key_are_made_and_sent_anew_and_the_old_ones_kept(session):
    panel = Lengths(session)
    panel.settle()
    screen = Screen(panel)
    panel.request(unit="metres")
    panel.settle()
    assert screen.about["unit"] == "metres"
    assert len(panel.made) == 2 * 13
    panel.request(unit="length")
    panel.settle()
    assert len(panel.made) == 2 * 13
    assert screen.steps() == [list(range(0, 25, 2))]
    assert not screen.lost


def test_while_a_run_plays_the_newest_frame_alone_is_made_and_sent(session, monkeypatch):
    monkeypatch.setattr(Session, "busy", True)
    panel = Lengths(session)
    panel.settle()
    assert panel.made == [24]
    screen, before = Screen(panel), panel.film
    session.branch.run.advance(2, progress=False)
    session.changed("snapshots")
    panel.settle()
    assert panel.made == [24, 26]
    assert screen.steps() == [[24, 26]]
    assert panel.film == before
    panel._costs["length"] = 1.0
    session.branch.run.advance(2, progress=False)
    session.changed("snapshots")
    panel.settle()
    assert panel.made == [24, 26], "a dear frame was made beside the training"
    monkeypatch.setattr(Session, "busy", False)
    session.changed("snapshots")
    panel.settle()
    assert screen.steps() == [list(range(0, 29, 2))]
    assert not screen.lost


def test_dear_frames_are_made_in_pieces_and_other_requests_come_between(session, monkeypatch):
    monkeypatch.setattr(Lengths, "pause", 0.06)
    panel, answered = Lengths(session), []
    session.answer("hear", lambda _: answered.append(len(panel.made)))
    session.receive({"do": "hear"})
    panel.settle()
    assert answered[0] < 8


def test_a_panel_that_is_closed_is_asked_no_more(session):
    panel = Lengths(session)
    panel.settle()
    panel.close()
    assert panel.verb not in session.verbs


def test_what_is_packed_is_unpacked():
    frame = {
        "floats": np.arange(6.0).reshape(2, 3), "whole": np.array([-1, 2**20]), "yes": np.array([True, False]),
        "bytes": np.frombuffer(b"12345", np.uint8), "words": "ä", "none": None, "no": np.zeros((0, 4)),
    }  # fmt: skip
    layout, arrays = split(frame)
    header = json.dumps({"about": 0, "branches": [], "layouts": [layout]})
    found = unpacked(packed(header, arrays))["about"]
    for name, value in frame.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[name], value)
        else:
            assert found[name] == value


def test_frames_are_kept_within_so_many_bytes(run):
    branch, other = Branch(run), Branch(run)
    kept = Kept(5000)
    for step in range(10):
        kept.put((branch, step, None), {"array": np.zeros(125)})  # 1 000 bytes and 500 for the rest
        kept.get((branch, 0, None))
    assert [step for step in range(10) if (branch, step, None) in kept] == [0, 8, 9]
    kept.put((other, 0, None), {})
    kept.only({other})
    assert kept.get((branch, 9, None)) is None
    assert kept.get((other, 0, None)) == {}


def test_of_very_many_snapshots_every_second_has_a_frame(run):
    assert thinned(Branch(run), 200)[1] == 1
    steps, every = thinned(Branch(run), 5)
    assert every == 4
    assert len(steps) <= FEW + 2
    assert steps[0] == 0
