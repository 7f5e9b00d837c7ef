"""The one thread that drives the runs of a workbench: a task in slices, and short jobs between two slices.

Whoever asks gets an answer at once, from any thread; what was asked is done when the slice at hand is over. Slices
are short, so a pause never waits for long.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any

from ka_explore.problem.progress import Watcher, watched

Task = Generator[float, None, None]
"""Every ``yield`` ends a slice; what it gives is how many seconds may pass before the next one."""


class Paused(BaseException):
    """Raised inside a slice to end it where it can be ended: the task was asked to stop."""


class Worker:
    """A thread that works on one task at a time and does short jobs between its slices.

    The thread starts with the first thing asked and goes with the process; `close` ends it.

    Args:
        changed: called on the thread after every slice and job, and when a task has ended.
        failed: called on the thread with what a task raised.
        progress: told what long work inside a slice does and how far it is, 0 to 1 (`ka_explore.problem.progress`).
    """

    def __init__(
        self,
        changed: Callable[[], None],
        failed: Callable[[BaseException], None],
        progress: Watcher = lambda _what, _share: None,
    ):
        self._changed, self._failed, self._progress = changed, failed, progress
        self._condition = threading.Condition()
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._next: tuple[Callable[[], Task], Future[None]] | None = None
        self._task: tuple[Task, Future[None]] | None = None
        self._stop = False  # the task at hand is to end
        self._closed = self._inside = False  # inside a slice
        self._thread: threading.Thread | None = None

    def start(self, task: Callable[[], Task]) -> "Future[None]":
        """Begin a task once the slice at hand is over; it takes the place of the one at hand, or of one that waits.

        Returns what is done when the task has ended, by itself or by another that took its place, and raises what the
        task raised.
        """
        future: Future[None] = Future()
        with self._condition:
            self._forget_next()
            if self._closed:
                future.cancel()
                return future
            self._next, self._stop = (task, future), True
            self._wake()
        return future

    def stop(self) -> None:
        """End the task at hand after this slice, and the one that waits."""
        with self._condition:
            self._forget_next()
            self._stop = self._task is not None
            self._wake()

    def do(self, job: Callable[[], Any]) -> "Future[Any]":
        """Do a job after the slice at hand; the task then goes on."""
        future: Future[Any] = Future()
        with self._condition:
            if self._closed:
                future.cancel()
                return future
            self._jobs.append((job, future))
            self._wake()
        return future

    @property
    def idle(self) -> bool:
        """Whether there is no task, at hand or waiting."""
        return self._task is None and self._next is None

    def close(self) -> None:
        """End the task and the thread; jobs that wait are cancelled."""
        with self._condition:
            self._forget_next()
            self._closed = True
            self._condition.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=30)

    def _forget_next(self) -> None:
        if self._next is not None:
            self._next[1].cancel()
            self._next = None

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watched, name="ka_explore worker", daemon=True)
            self._thread.start()
        self._condition.notify_all()

    def _watched(self) -> None:
        with watched(self._tell):
            self._work()

    def _tell(self, what: str, share: float) -> None:
        """Tell how far a slice is; where the task was asked to stop, end the slice there."""
        self._progress(what, share)
        if self._task is not None and self._inside and (self._stop or self._next is not None or self._closed):
            raise Paused

    def _work(self) -> None:
        with SwitchInterval() as self._turns:
            self._work_on()

    def _work_on(self) -> None:
        due = 0.0  # when the next slice may begin
        while True:
            with self._condition:
                while not (self._closed or self._stop or self._next or self._jobs):
                    left = None if self._task is None else due - time.monotonic()
                    if left is not None and left <= 0:
                        break
                    self._turns.quick = self._task is not None
                    self._condition.wait(left)
                if self._closed:
                    break
                ends, self._stop = self._stop or self._next is not None, False
                job = None if ends or not self._jobs else self._jobs.popleft()
            self._turns.quick = True
            settle = nothing
            if ends:
                settle = self._end()
                self._begin()
                due = 0.0
            elif job is not None:
                settle = self._do(*job)
            elif self._task is not None:
                pause, settle = self._slice()
                due = time.monotonic() + pause
            self._changed()
            settle()  # last, so that who waits finds everything told
        self._end()()
        for _, future in self._jobs:
            future.cancel()

    def _slice(self) -> tuple[float, Callable[[], None]]:
        """One slice of the task at hand: seconds until the next, and what tells who waits."""
        assert self._task is not None
        task, future = self._task
        self._inside = True
        try:
            return next(task), nothing
        except (StopIteration, Paused):
            self._task = None
            return 0.0, lambda: future.set_result(None)
        except BaseException as error:
            self._task = None
            self._failed(error)
            return 0.0, failing(future, error)
        finally:
            self._inside = False

    def _begin(self) -> None:
        with self._condition:
            if self._next is None:
                return
            task, future = self._next
            self._next = None
            if future.set_running_or_notify_cancel():
                self._task = task(), future

    def _end(self) -> Callable[[], None]:
        if self._task is None:
            return nothing
        task, future = self._task
        try:
            task.close()
        except BaseException as error:
            self._failed(error)
        self._task = None
        return lambda: future.set_result(None)

    def _do(self, job: Callable[[], Any], future: "Future[Any]") -> Callable[[], None]:
        if not future.set_running_or_notify_cancel():
            return nothing
        try:
            result = job()
        except BaseException as error:
            return failing(future, error)
        return lambda: future.set_result(result)


class SwitchInterval:
    """How often Python's threads take turns: every millisecond while any worker works, else as it was.

    A step asks for its turn dozens of times; beside a cell that computes in Python it would wait 5 ms each time.
    """

    lock = threading.Lock()
    working = 0
    before = 0.0

    def __init__(self) -> None:
        self._quick = False

    def __enter__(self) -> "SwitchInterval":
        return self

    def __exit__(self, *_: object) -> None:
        self.quick = False

    @property
    def quick(self) -> bool:
        """Whether this worker works."""
        return self._quick

    @quick.setter
    def quick(self, quick: bool) -> None:
        if quick == self._quick:
            return
        self._quick = quick
        with SwitchInterval.lock:
            if quick and SwitchInterval.working == 0:
                SwitchInterval.before = sys.getswitchinterval()
                sys.setswitchinterval(0.001)
            SwitchInterval.working += 1 if quick else -1
            if SwitchInterval.working == 0:
                sys.setswitchinterval(SwitchInterval.before)


def nothing() -> None:
    """Nobody waits."""


def failing(future: "Future[Any]", error: BaseException) -> Callable[[], None]:
    """Tells who waits what went wrong."""
    return lambda: future.set_exception(error)
