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
from functools import partial
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
            self._thread = threading.Thread(target=self._work, name="ka_explore worker", daemon=True)
            self._thread.start()
        self._condition.notify_all()

    def _tell(self, what: str, share: float) -> None:
        """Tell how far a slice is; where the task was asked to stop, end the slice there."""
        self._progress(what, share)
        if self._task is not None and self._inside and (self._stop or self._next is not None or self._closed):
            raise Paused

    def _work(self) -> None:
        due = 0.0  # when the next slice may begin
        with watched(self._tell), SwitchInterval() as switching:
            while True:
                with self._condition:
                    while not (self._closed or self._stop or self._next or self._jobs):
                        left = None if self._task is None else due - time.monotonic()
                        if left is not None and left <= 0:
                            break
                        switching.quick(self._task is not None)
                        self._condition.wait(left)
                    if self._closed:
                        break
                    ends, self._stop = self._stop or self._next is not None, False
                    job = None if ends or not self._jobs else self._jobs.popleft()
                switching.quick(True)
                settle: Callable[[], object] | None = None
                if ends:
                    settle, due = self._end(), 0.0
                    self._begin()
                elif job is not None:
                    settle = self._do(*job)
                elif self._task is not None:
                    pause, settle = self._slice(*self._task)
                    due = time.monotonic() + pause
                self._changed()
                if settle is not None:
                    settle()  # last, so that who waits finds everything told
        if (settle := self._end()) is not None:
            settle()
        for _, future in self._jobs:
            future.cancel()

    def _slice(self, task: Task, future: "Future[None]") -> tuple[float, Callable[[], object] | None]:
        """One slice of the task at hand: seconds until the next, and what tells who waits if it was the last."""
        self._inside = True
        try:
            return next(task), None
        except (StopIteration, Paused):
            self._task = None
            return 0.0, partial(future.set_result, None)
        except BaseException as error:
            self._task = None
            self._failed(error)
            return 0.0, partial(future.set_exception, error)
        finally:
            self._inside = False

    def _begin(self) -> None:
        with self._condition:
            if self._next is not None:
                task, future = self._next
                self._next = None
                if future.set_running_or_notify_cancel():
                    self._task = task(), future

    def _end(self) -> Callable[[], object] | None:
        if self._task is None:
            return None
        task, future = self._task
        try:
            task.close()
        except BaseException as error:
            self._failed(error)
        self._task = None
        return partial(future.set_result, None)

    def _do(self, job: Callable[[], Any], future: "Future[Any]") -> Callable[[], object] | None:
        if not future.set_running_or_notify_cancel():
            return None
        try:
            return partial(future.set_result, job())
        except BaseException as error:
            return partial(future.set_exception, error)


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
        self.quick(False)

    def quick(self, quick: bool) -> None:
        """Say whether this worker works."""
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
