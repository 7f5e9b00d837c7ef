"""The session and its worker, without a browser: what is asked is done, the run is the run it would be alone."""

import random
import sys
import threading
import time

import numpy as np
import pytest
import torch

from ka_explore import Diverged, InputError, Run, toy
from ka_explore.panels.branch import Branch, name_of, plain_name
from ka_explore.panels.session import Session
from ka_explore.panels.worker import Worker
from ka_explore.problem.progress import progress_bar

OPTIONS = {"steps": 40, "batch_size": 16, "width": 4, "blocks": 1}


def rows_of(run, until=None):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.store.rows(0, until)]


def weights_of(run):
    return {name: value.clone() for name, value in run.method.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def until(condition, seconds=10.0):
    """Waits for it; whether it came."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


@pytest.fixture
def run(tiny_problem):
    return Run(tiny_problem(), checkpoint_every=10, snapshot_every=5, **OPTIONS)


@pytest.fixture
def session(run):
    made = Session([Branch(run)])
    yield made
    made.close()


# The worker


@pytest.fixture
def worker():
    said, failed = [], []
    made = Worker(lambda: said.append(time.monotonic()), failed.append)
    made.said, made.errors = said, failed
    yield made
    made.close()


def test_a_task_is_done_slice_by_slice_and_jobs_come_between(worker):
    done = []

    def task():
        for i in range(5):
            done.append(i)
            if i == 2:
                job = worker.do(lambda: done.append("job"))
                assert not job.done()
            yield 0.0

    worker.start(task).result(5)
    assert done == [0, 1, 2, "job", 3, 4]
    assert worker.idle


def test_another_task_takes_the_place_of_the_one_at_hand(worker):
    log = []

    def endless(name):
        try:
            while True:
                log.append(name)
                yield 0.001
        finally:
            log.append(f"{name} ends")

    first = worker.start(lambda: endless("first"))
    assert until(lambda: "first" in log)
    second = worker.start(lambda: endless("second"))
    assert until(lambda: "second" in log)
    assert first.done()
    assert log.index("first ends") < log.index("second")
    worker.stop()
    second.result(5)
    assert log[-1] == "second ends"
    assert worker.idle


def test_a_task_that_fails_tells_and_the_next_one_works(worker):
    def broken():
        yield 0.0
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        worker.start(broken).result(5)
    assert [str(error) for error in worker.errors] == ["no"]
    assert worker.do(lambda: 7).result(5) == 7
    with pytest.raises(KeyError):
        worker.do(lambda: {}["x"]).result(5)


def test_threads_take_turns_often_only_while_there_is_work(worker):
    before = sys.getswitchinterval()
    seen = []

    def task():
        seen.append(sys.getswitchinterval())
        yield 0.0

    worker.start(task).result(5)
    assert seen == [pytest.approx(0.001)]
    assert until(lambda: sys.getswitchinterval() == before)


def test_a_pause_between_slices_does_not_keep_a_stop_waiting(worker):
    def slow():
        while True:
            yield 60.0

    future = worker.start(slow)
    assert until(lambda: len(worker.said) >= 2)
    begun = time.monotonic()
    worker.stop()
    future.result(5)
    assert time.monotonic() - begun < 2


def test_a_closed_worker_cancels_what_is_asked():
    worker = Worker(lambda: None, lambda error: None)
    worker.close()
    assert worker.do(lambda: 1).cancelled()
    assert worker.start(lambda: iter(())).cancelled()


def test_long_work_inside_a_slice_is_told_and_ended_by_a_stop(worker):
    told = []
    worker._progress = lambda what, share: told.append((what, share))

    def task():
        with progress_bar(1000, "asking the teachers") as bar:
            for _ in range(1000):
                time.sleep(0.005)
                bar.update()
        yield 0.0

    future = worker.start(task)
    assert until(lambda: len(told) > 3)
    worker.stop()
    future.result(2)
    assert told[0] == ("asking the teachers", 0.001)
    assert len(told) < 500
    assert worker.errors == []
    assert worker.do(lambda: 1).result(5) == 1


# The session


def test_how_far_long_work_is_is_told_and_forgotten_when_it_is_over(session):
    seen = []

    def long():
        with progress_bar(2, "asking the teachers") as bar:
            bar.update()
            seen.append(session.status.progress)

    session.driver.do(long).result(5)
    assert seen == ["asking the teachers: 50%"]
    assert session.status.progress == ""


def test_what_is_asked_for_later_is_done_later_and_in_the_order_in_which_it_is_due(session):
    done = []
    session.soon(lambda: done.append("late"), after=0.2)
    session.soon(lambda: done.append("later"), after=0.3)
    session.soon(lambda: done.append("now"))
    assert until(lambda: len(done) == 3)
    assert done == ["now", "late", "later"]


def test_what_a_panel_is_asked_by_its_id_only_this_panel_answers(session):
    class Panel:
        answers = ("fly",)

        def __init__(self):
            self.heard = []

        def answer(self, message):
            self.heard.append(message["do"])

    one, other = Panel(), Panel()
    session.panels["one"], session.panels["other"] = one, other
    session.receive({"do": "fly", "panel": "one"})
    assert until(lambda: one.heard == ["fly"])
    assert other.heard == []
    session.receive({"do": "swim", "panel": "one"})
    assert "unknown request 'swim'" in session.status.error
    del one
    session.receive({"do": "fly", "panel": "gone"})
    assert "unknown request 'fly'" in session.status.error


def test_a_run_played_on_the_desk_is_the_run_alone(session, run, tiny_problem):
    alone = Run(tiny_problem(), checkpoint_every=10, snapshot_every=5, **OPTIONS).advance(None)
    session.play().result(30)
    assert run.step == 40
    assert rows_of(run) == rows_of(alone)
    assert same(weights_of(run), weights_of(alone))
    assert session.branch.rows == list(run.store.rows())
    assert session.status.step == 40
    assert session.status.doing == ""
    assert session.status.elapsed == pytest.approx(sum(row["seconds"] for row in run.history()))


def test_play_stops_at_the_step_the_stage_and_the_end():
    run = Run(toy.digits(), "layer_wise", checkpoint_every=10, steps=40, batch_size=16)
    session = Session([Branch(run)])
    try:
        session.play(3).result(30)
        assert run.step == 3
        ends = [end for end in run.boundaries if end > 3]
        session.play("stage").result(30)
        assert run.step == ends[0]
        session.play().result(30)
        assert run.done
    finally:
        session.close()


def test_a_pause_keeps_the_step_and_play_goes_on(session, run):
    session.driver.play_interval = 0.01
    future = session.play()
    assert until(lambda: run.step >= 3)
    session.pause()
    future.result(10)
    stood = run.step
    assert 3 <= stood < 40
    assert session.status.doing == ""
    time.sleep(0.1)
    assert run.step == stood
    session.driver.play_interval = 0.0
    session.play().result(30)
    assert run.step == 40


def test_going_back_gives_the_same_weights_and_forward_again_too(session, run):
    session.play(13).result(30)
    there = weights_of(run)
    session.play().result(30)
    end = weights_of(run)
    session.go_to(13).result(30)
    assert run.step == 13
    assert same(weights_of(run), there)
    assert run.recorded == 40
    session.go_to(40).result(30)
    assert same(weights_of(run), end)


def test_a_step_that_is_not_recorded_is_refused_in_words(session, run):
    session.play(5).result(30)
    with pytest.raises(InputError, match="step 30 is not recorded: 0 to 5 are"):
        session.go_to(30).result(10)
    assert "step 30 is not recorded" in session.status.error
    assert run.step == 5
    session.play(6).result(10)
    assert session.status.error == ""


def test_a_fork_has_the_past_and_plays_next(session, run):
    session.play(12).result(30)
    past = rows_of(run)
    fork = session.fork({"mmd_weight": 0.0}).result(30)
    assert session.active == fork.name == "mmd weight 0"
    assert session.shown == ("common_feature", "mmd weight 0")
    assert rows_of(fork) == past
    session.play().result(30)
    assert fork.step == 40
    assert run.step == 12
    again = session.fork({"mmd_weight": 0.0}, of="common_feature", at=4).result(30)
    assert again.name == "mmd weight 0 2"
    assert again.step == 4
    assert len(session.shown) <= 3


def test_a_fork_that_cannot_be_is_said_and_nothing_is_lost(session, run):
    session.play(8).result(30)
    with pytest.raises(InputError, match="mmd_wait"):
        session.fork({"mmd_wait": 0.0}).result(10)
    assert "mmd_wait" in session.status.error
    assert list(session.branches) == ["common_feature"]
    session.play().result(30)
    assert run.done


def test_what_diverges_is_shown_and_the_run_stands_before():
    options = {"steps": 60, "learning_rate": 9.9, "optimizer": "sgd", "schedule": "constant", "norm": "none"}
    run = Run(toy.digits(), **options)
    session = Session([Branch(run)])
    try:
        with pytest.raises(Diverged):
            session.play().result(30)
        assert "not finite" in session.status.error
        assert run.step == len(session.branch.rows) < 60
        assert session.status.doing == ""
    finally:
        session.close()


def test_messages_of_the_browser_do_the_same_from_any_thread(session, run):
    session.receive({"do": "step", "n": 4, "number": 11})
    assert until(lambda: run.step == 4 and not session.busy)
    thread = threading.Thread(target=session.receive, args=({"do": "step", "n": 2, "number": 12},))
    thread.start()
    thread.join()
    assert until(lambda: run.step == 6 and not session.busy)
    session.receive({"do": "goto", "step": 1, "number": 13})
    assert until(lambda: run.step == 1 and not session.busy)
    assert session.status.seen == 13
    session.receive({"do": "select", "samples": [5, 3, 3], "number": 14})
    assert until(lambda: session.selection.tolist() == [3, 5])
    session.receive({"do": "fly", "number": 15})
    assert "unknown request 'fly'" in session.status.error
    session.receive({"do": "goto", "number": 16})
    assert "KeyError" in session.status.error
    session.receive({"do": "dismiss", "number": 17})
    assert session.status.error == ""


def test_a_selection_is_of_the_probe_set(session):
    session.play(5).result(30)
    session.select(np.array([4, 1]))
    assert session.selection.tolist() == [1, 4]
    count = len(session.branch.snapshot(5).index)
    with pytest.raises(InputError, match=f"expected places in the probe set, 0 to {count - 1}"):
        session.select([count])
    with pytest.raises(InputError, match="places in the probe set"):
        session.select([-1])
    session.select([])
    assert session.selection.tolist() == []


def test_views_are_told_what_changed_and_listeners_how_it_stands(session, run):
    class View:
        topics = frozenset({"rows", "selection"})

        def __init__(self):
            self.seen, self.statuses = [], []

        def refresh(self, changed):
            self.seen.append(changed)

        def told(self, status):
            self.statuses.append(status.step)

    view = View()
    session.join(view)
    session.tell(view.told)
    session.play(6).result(30)
    assert until(lambda: view.statuses and view.statuses[-1] == 6)
    assert until(lambda: any("rows" in changed for changed in view.seen))
    assert not any("snapshots" in changed for changed in view.seen)
    session.select([1])
    assert until(lambda: any("selection" in changed for changed in view.seen))
    session.forget(view)
    count = len(view.seen)
    session.select([2])
    time.sleep(0.05)
    assert len(view.seen) == count


def test_a_view_that_fails_is_heard_and_does_not_end_the_others(session):
    class Broken:
        topics = frozenset({"selection"})

        def refresh(self, changed):
            raise RuntimeError("cannot draw")

    view = Broken()
    session.join(view)
    session.play(2).result(30)
    session.select([0])
    assert until(lambda: "cannot draw" in session.status.error)
    session.play(3).result(30)


def test_a_listener_that_fails_is_heard_once_and_does_not_silence_the_others(session, run):
    class Listener:
        def __init__(self):
            self.calls, self.steps = 0, []

        def broken(self, status):
            self.calls += 1
            raise RuntimeError("nobody there")

        def told(self, status):
            self.steps.append(status.step)

    listener = Listener()
    session.tell(listener.broken)
    session.tell(listener.told)
    assert until(lambda: "nobody there" in session.status.error)
    session.play(3).result(30)
    assert until(lambda: listener.steps and listener.steps[-1] == 3)
    assert listener.calls == 1


def test_a_folder_is_looked_at_without_opening_and_opened_to_play(run, tiny_problem):
    run.advance(10)
    run.save()
    session = Session([Branch(folder=run.folder)], tiny_problem())
    try:
        assert session.status.step == 10
        assert not session.status.open
        assert session.branch.snapshot(5).step == 5
        session.play(12).result(30)
        assert session.status.open
        assert session.branch.run.step == 12
    finally:
        session.close()


def test_a_folder_that_cannot_be_opened_says_why_and_is_still_shown(run):
    run.advance(10)
    session = Session([Branch(folder=run.folder)])
    try:
        with pytest.raises(InputError, match="pass it"):
            session.play().result(30)
        assert "pass it" in session.status.error
        assert session.branch.snapshot(5).step == 5
    finally:
        session.close()


def test_a_run_is_looked_at_where_it_stands_and_that_changes_nothing(session, run, tiny_problem):
    session.play(7).result(30)
    session.driver.settle()
    assert session.branch.live is not None
    assert session.branch.live.step == 7
    assert session.branch.steps_seen() == [0, 5, 7]
    assert run.store.snapshot_steps() == [0, 5]
    session.play(10).result(30)
    session.driver.settle()
    assert session.branch.steps_seen() == [0, 5, 10]
    alone = Run(tiny_problem(), checkpoint_every=10, snapshot_every=5, **OPTIONS).advance(10)
    assert same(weights_of(run), weights_of(alone))


def test_what_a_cell_does_to_the_run_itself_is_seen(session, run):
    seen = []

    class View:
        def told(self, status):
            seen.append(status.step)

    view = View()
    session.tell(view.told)
    run.advance(5)
    assert until(lambda: seen and seen[-1] == 5)
    assert until(lambda: len(session.branch.rows) == 5)
    session.driver.play_interval = 0.02
    session.play(15)
    run.advance(3)  # takes its turn between the steps of the worker
    assert until(lambda: not session.busy)
    assert rows_of(run) == rows_of(Run(run.problem, checkpoint_every=10, snapshot_every=5, **OPTIONS).advance(run.step))


def test_names_are_plain_and_free(session):
    assert plain_name("a/b:c\n") == "a b c"
    assert name_of({"mmd_weight": 0.0, "without": ("one", "two")}) == "mmd weight 0, without one, two"
    assert len(name_of({"bandwidths": tuple(range(100))})) <= 60
    assert session.free_name("common_feature") == "common_feature 2"


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_asked_a_replay_gives_the_recorded_rows(tiny_problem, seed):
    chance = random.Random(seed)
    run = Run(tiny_problem(), checkpoint_every=10, snapshot_every=5, **OPTIONS)
    session = Session([Branch(run)])
    try:
        for _ in range(40):
            what = chance.choice(["play", "pause", "step", "goto", "stage", "select", "fork", "show", "look"])
            message = {"do": what}
            if what == "step":
                message["n"] = chance.choice([1, 10])
            if what == "goto":
                message["step"] = chance.randint(0, len(session.branch.rows))
            if (
                what == "select" and session.branch.steps_seen()
            ):  # before there is anything to see it is refused, in words
                message["samples"] = chance.sample(range(60), 5)
            if what == "look":
                message["step"] = chance.uniform(0, 40)
            if what == "fork":
                if len(session.branches) < 4:
                    session.fork({"mmd_weight": chance.choice([0.0, 0.5])}, of=chance.choice(list(session.branches)))
                continue
            if what == "show":
                session.show(*chance.sample(list(session.branches), min(2, len(session.branches))))
                continue
            session.receive(message)
            time.sleep(chance.uniform(0, 0.05))
        session.pause()
        assert until(lambda: not session.busy)
        session.driver.do().result(30)
        assert session.status.error == ""
        for branch in session.branches.values():
            branch.run.rewind(0)
            branch.run.advance(branch.run.recorded)  # raises ReplayMismatch where a row differs
    finally:
        session.close()
