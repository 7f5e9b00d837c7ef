"""The one thread that drives the runs of a workbench: a task in slices, and short jobs between two slices.

Whoever asks gets an answer at once, from any thread; what was asked is done when the slice at hand is over. Slices
are short, so a pause never waits for long.
"""

import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from functools import partial
from typing import Any

from ka_explore.panels.threads import Job, Loop
from ka_explore.problem.progress import Watcher, watched

Task = Generator[float, None, None]
"""Every ``yield`` ends a slice; what it gives is how many seconds may pass before the next one."""


class Paused(BaseException):
    """Raised inside a slice to end it where it can be ended: the task was asked to stop."""


class Worker:
    """A thread that works on one task at a time and does short jobs between its slices."""

    def __init__(
        self,
        changed: Callable[[], None],  # called on the thread after every slice and job, and when a task has ended
        failed: Callable[[BaseException], None],  # called on the thread with what a task raised
        progress: Watcher = lambda _what, _share: None,  # told what long work inside a slice does and how far it is
    ):
        self._changed, self._failed, self._progress = changed, failed, progress
        self._lock = threading.Lock()
        self._loop = Loop("worker", failed, self._finish)
        self._jobs: set[Future[Any]] = set()  # that wait
        self._next: tuple[Callable[[], Task], Future[None]] | None = None
        self._task: tuple[Task, Future[None]] | None = None
        self._stop = self._inside = False  # the task at hand is to end; inside a slice
        self._turn = 0  # of the task, that was asked for last

    def start(self, task: Callable[[], Task]) -> "Future[None]":
        """Begin a task once the slice at hand is over; it takes the place of the one at hand, or of one that waits.

        Returns what is done when the task has ended, by itself or by another that took its place, and raises what the
        task raised.
        """
        future: Future[None] = Future()
        self._replace((task, future))
        return future

    def stop(self) -> None:
        """End the task at hand after this slice, and the one that waits."""
        self._replace(None)

    def do(self, job: Callable[[], Any] = lambda: None) -> "Future[Any]":
        """Do a job after the slice at hand; the task then goes on."""
        future: Future[Any] = Future()
        self._jobs.add(future)
        if not self._loop.put(partial(self._work, partial(self._do, job, future))):
            future.cancel()
        return future

    @property
    def idle(self) -> bool:
        """Whether there is no task, at hand or waiting."""
        return self._task is None and self._next is None

    def close(self) -> None:
        """End the task and the thread; jobs that wait are cancelled."""
        self.stop()
        self._loop.close()

    def _replace(self, task: "tuple[Callable[[], Task], Future[None]] | None") -> None:
        """Have this task, or none, begin in place of what is at hand or waits."""
        with self._lock:
            if self._next is not None:
                self._next[1].cancel()
            self._next, self._stop = task, task is not None or self._task is not None
            if self._stop and not self._ask() and task is not None:
                self._next = None
                task[1].cancel()

    def _ask(self, after: float = 0.0) -> bool:
        """Ask for a turn of the task; only the last that was asked for counts."""
        self._turn += 1
        return self._loop.put(partial(self._work, partial(self._go_on, self._turn)), after)

    # On the thread; each gives what tells who waits.

    def _work(self, job: Callable[[], Job | None]) -> None:
        SwitchInterval.quick(self, True)
        with watched(self._tell):
            settle = job()
        self._changed()
        if settle is not None:
            settle()  # last, so that who waits finds everything told
        SwitchInterval.quick(self, self._task is not None)

    def _do(self, job: Callable[[], Any], future: "Future[Any]") -> Job | None:
        self._jobs.discard(future)
        if not future.set_running_or_notify_cancel():
            return None
        try:
            return partial(future.set_result, job())
        except BaseException as error:
            return partial(future.set_exception, error)

    def _go_on(self, turn: int) -> Job | None:
        """The next slice of the task, or the end of it and the begin of another."""
        settle, pause = None, 0.0
        with self._lock:
            if turn != self._turn:
                return None
            ends, begins = self._stop, self._next
            self._stop, self._next = False, None
        if self._task is not None:
            settle, pause = self._slice(*self._task, end=ends)
        if begins is not None and begins[1].set_running_or_notify_cancel():
            self._task = begins[0](), begins[1]
        with self._lock:
            if self._task is not None and not self._stop:
                self._ask(pause)
        return settle

    def _slice(self, task: Task, future: "Future[None]", *, end: bool) -> tuple[Job | None, float]:
        """One slice of the task at hand and the seconds until the next, or its end."""
        settle = partial(future.set_result, None)
        self._inside = not end
        try:
            if not end:
                return None, next(task)
            task.close()
        except (StopIteration, Paused):
            pass
        except BaseException as error:
            self._failed(error)
            settle = settle if end else partial(future.set_exception, error)
        finally:
            self._inside = False
        self._task = None
        return settle, 0.0

    def _tell(self, what: str, share: float) -> None:
        """Tell how far a slice is; where the task was asked to stop, end the slice there."""
        self._progress(what, share)
        if self._inside and (self._stop or self._loop.closed):
            raise Paused

    def _finish(self) -> None:
        if self._task is not None and (settle := self._slice(*self._task, end=True)[0]) is not None:
            settle()
        for future in list(self._jobs):
            future.cancel()
        SwitchInterval.quick(self, False)


class SwitchInterval:
    """How often Python's threads take turns: every millisecond while any worker works, else as it was.

    A step asks for its turn dozens of times; beside a cell that computes in Python it would wait 5 ms each time.
    """

    lock = threading.Lock()
    working: "set[Worker]" = set()
    before = 0.0

    @classmethod
    def quick(cls, worker: Worker, quick: bool) -> None:
        """Say whether a worker works."""
        with cls.lock:
            worked = bool(cls.working)
            (cls.working.add if quick else cls.working.discard)(worker)
            if quick and not worked:
                cls.before = sys.getswitchinterval()
                sys.setswitchinterval(0.001)
            elif worked and not cls.working:
                sys.setswitchinterval(cls.before)
