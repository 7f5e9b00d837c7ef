"""Laws of turns: threads that share a run, or a family of runs, leave it as if they had come one after the other."""

import json
import threading
import time
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file

from ka_explore import InputError, Problem, Run, export_student, toy
from ka_explore.run.lock import FairLock


@pytest.fixture(scope="module")
def problem() -> Problem:
    return toy.digits(unlabelled=200)


def small(problem: Problem, method: str = "common_feature", **options) -> Run:
    return Run(problem, method, **{"steps": 24, "checkpoint_every": 7, "width": 8, "blocks": 1} | options)


def state(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.method.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


def rows(run: Run) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.history()]


def at_once(*works: Callable[[], object]) -> None:
    """Do these in a thread each, begun together; what one of them raises is raised here."""
    errors: list[BaseException] = []
    together = threading.Barrier(len(works))

    def guarded(work: Callable[[], object]) -> None:
        together.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def test_two_threads_advance_a_run_by_whole_calls(problem):
    alone = small(problem).advance(20)
    run = small(problem)
    at_once(*[lambda: [run.advance(1) for _ in range(10)]] * 2)
    assert run.step == 20
    assert rows(run) == rows(alone)
    assert equal(state(run), state(alone))


def test_two_threads_never_pass_the_end(problem):
    run = small(problem, steps=9)
    at_once(lambda: run.advance(None), lambda: run.advance(5), lambda: run.advance(7))
    assert run.step == run.recorded == 9


def test_looking_from_another_thread_sees_whole_steps_and_changes_nothing(problem):
    alone = small(problem, snapshot_every=1).advance(None)
    run = small(problem, snapshot_every=0)
    seen = []

    def look() -> None:
        while not run.done:
            seen.append(run.snapshot())
            assert run.predict(problem.pool.images[:3]).shape[0] == 3
            steps = [row["step"] for row in run.history()]
            assert steps == list(range(1, len(steps) + 1))

    at_once(lambda: [run.advance(1) for _ in range(24)], look)
    assert rows(run) == rows(alone)
    assert equal(state(run), state(alone))
    assert len({snapshot.step for snapshot in seen}) > 3
    for snapshot in seen:
        known = alone.store.load_snapshot(snapshot.step)
        for name in ("scores", "common/student", "feature/student/features"):
            assert (snapshot.arrays[name] == known.arrays[name]).all()


def test_an_exported_student_is_one_of_a_whole_step(problem, tmp_path):
    run = small(problem, snapshot_every=0)
    with run.turn():
        waits = threading.Thread(target=export_student, args=(run, tmp_path))
        waits.start()
        run.advance(5)
        waits.join(0.2)
        assert waits.is_alive()
        assert not (tmp_path / "student.json").exists()
        expected = {name: value.clone() for name, value in run.method.student.state_dict().items()}
    waits.join(20)
    run.advance(1)
    assert json.loads((tmp_path / "student.json").read_text())["steps"] == 5
    assert equal(load_file(tmp_path / "student.safetensors"), expected)


def test_nobody_who_waits_is_overtaken():
    turns, order = FairLock(), []

    def wait() -> None:
        with turns:
            order.append("who waited")

    for _ in range(20):
        with turns:
            waiting = threading.Thread(target=wait)
            waiting.start()
            time.sleep(0.005)
        with turns:  # at once again, as a training loop does
            order.append("who had it")
        waiting.join(timeout=10)
    assert order == ["who waited", "who had it"] * 20


@pytest.mark.slow
def test_forks_of_one_family_advance_in_threads_as_one_after_the_other(problem):
    options = {"targets": "consistent", "snapshot_every": 5}
    base = small(problem, **options).advance(6)
    alone = [base.fork(f"alone {i}", mmd_weight=i).advance(None) for i in range(2)]
    again = small(problem, **options).advance(6)
    again._teacher_outputs._caches.clear()
    again._teacher_outputs._targets.clear()
    again._teacher_outputs._probe = {}
    forks = [again.fork(f"fork {i}", mmd_weight=i) for i in range(2)]
    at_once(*[lambda fork=fork: fork.advance(None) for fork in forks])
    for one, other in zip(alone, forks, strict=True):
        assert rows(one) == rows(other)
        assert equal(state(one), state(other))


def test_teachers_that_runs_share_are_asked_in_threads(problem):
    images = problem.pool.images[:40]
    expected = {t.name: t(images) for t in problem.teachers}
    found = []

    def ask() -> None:
        for _ in range(20):
            found.extend((teacher.name, teacher(images)) for teacher in problem.teachers)

    at_once(ask, ask)
    for name, outputs in found:
        assert torch.equal(outputs.logits, expected[name].logits)
        assert all(torch.equal(f, expected[name].features[layer]) for layer, f in outputs.features.items())


@pytest.mark.slow
def test_a_fork_and_a_rewind_wait_for_the_call_at_hand(problem):
    alone = small(problem).advance(None)
    run = small(problem)
    forks = []

    def meddle() -> None:
        for i in range(4):
            forks.append(run.fork(f"fork {i}"))
            run.rewind(run.recorded // 2)
            run.save()

    at_once(lambda: [run.advance(2) for _ in range(12)], meddle)
    assert rows(run.advance(None)) == rows(alone)
    assert equal(state(run), state(alone))
    for fork in forks:
        assert equal(state(fork.advance(None)), state(alone))


def test_where_a_run_stands_is_read_without_waiting(problem):
    run = small(problem).advance(3)
    read = []
    with run.turn():
        thread = threading.Thread(
            target=lambda: (
                read.append((run.step, run.steps, run.done, run.recorded, run.stage.name, run.config.steps))
                or read.append(run.history())
            )
        )
        thread.start()
        thread.join(timeout=10)
        assert not thread.is_alive()
        waits = threading.Thread(target=run.advance)
        waits.start()
        waits.join(timeout=0.2)
        assert waits.is_alive()
        assert run.advance(1).step == 4  # whoever has the turn goes on
    waits.join(timeout=30)
    assert run.step == 5
    assert read[0] == (3, 24, False, 3, "joint", 24)
    assert [row["step"] for row in read[1]] == [1, 2, 3]


def test_an_error_gives_the_turn_back(problem):
    run = small(problem).advance(2)
    with pytest.raises(InputError):
        run.rewind(99)
    with pytest.raises(InputError):
        run.fork("x", at=50)
    at_once(lambda: run.advance(2))
    assert run.step == 4


def test_a_run_ends_its_call_within_a_step_when_it_is_told(problem):
    run = small(problem)
    run.advance(None, until=lambda: run.step == 5)
    assert run.step == 5
    assert rows(run.advance(None, until=lambda: False)) == rows(small(problem).advance(None))


def test_turns_are_entered_again_and_exclude_the_others():
    turns, order, threads = FairLock(), [], []

    def come(name: int) -> None:
        with turns:
            order.append(name)

    with turns, turns:
        for name in range(5):
            threads.append(threading.Thread(target=come, args=(name,)))
            threads[-1].start()
            time.sleep(0.02)
        with turns:
            assert order == []
    for thread in threads:
        thread.join(timeout=10)
    assert sorted(order) == list(range(5))
