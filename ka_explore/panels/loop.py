"""A thread that does one thing after the other: each when it is due, in the order asked."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable

Job = Callable[[], object]


class Loop:
    """Does what it is given, on a thread of its own, which begins with the first thing and goes with the process.

    Args:
        name: of the thread.
        failed: told what a job raised.
        ended: called on the thread when it is closed; what was not done by then is left out.
    """

    def __init__(self, name: str, failed: Callable[[BaseException], None], ended: Job = lambda: None):
        self._name, self._failed, self._ended = name, failed, ended
        self._jobs: list[tuple[float, int, Job]] = []  # a heap: when it is due, the how many-th it is, what to do
        self._numbers = itertools.count()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self.closed = False

    def put(self, job: Job, after: float = 0.0) -> bool:
        """Have something done, at once or after so many seconds; False where the thread has ended."""
        with self._condition:
            if self.closed:
                return False
            heapq.heappush(self._jobs, (time.monotonic() + after, next(self._numbers), job))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"ka_explore {self._name}", daemon=True)
                self._thread.start()
            self._condition.notify()
            return True

    def close(self) -> None:
        """End the thread after the job at hand."""
        with self._condition:
            self.closed = True
            self._condition.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=30)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except Exception as error:
                self._failed(error)
            del job  # what it holds may go while nothing is due
        self._jobs.clear()
        self._ended()

    def _next(self) -> Job | None:
        with self._condition:
            while not self.closed:
                left = self._jobs[0][0] - time.monotonic() if self._jobs else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._jobs)[2]
                self._condition.wait(left)
        return None
