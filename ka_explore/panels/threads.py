"""Threads that do one thing after the other; two of a session tell how it stands, and draw what panels show."""

import atexit
import heapq
import itertools
import math
import threading
import time
import weakref
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from threadpoolctl import ThreadpoolController

from ka_explore.panels.status import Status, View

GLANCE = 1.0  # seconds
SHARE = 0.03  # of the time that views may compute while a run plays
RECORDED = {"rows", "snapshots"}  # what changes by itself while a run plays; all else somebody waits for

Job = Callable[[], object]


class Loop:
    """Does what it is given, on a thread of its own, which begins with the first thing.

    What was not done when it is closed is left out; ``ended`` is then called on the thread. It is closed at the end of
    the process: a thread that goes on while the interpreter is taken down can abort it.
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
                atexit.register(self.close, None)  # last registered is first called: before run folders are removed
            self._condition.notify()
            return True

    def close(self, timeout: float | None = 30) -> None:
        """End the thread after the job at hand, and wait for that for so many seconds, or as long as it takes."""
        atexit.unregister(self.close)
        with self._condition:
            self.closed = True
            self._condition.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

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


class StatusThread(Loop):
    """Tells listeners how a session stands: at once after a request, every so often while steps go by."""

    def __init__(
        self,
        status: Callable[[], Status],
        interval: Callable[[], float],  # seconds between two words at least, where nobody asked for anything
        glance: Callable[[], None],  # called every second, to see what others than the session did to its runs
        failed: Callable[[BaseException], None],  # told what a listener raised; it is told no more
    ):
        super().__init__("status", failed)
        self._status, self._interval, self._glance = status, interval, glance
        self._listeners: list[weakref.WeakMethod[Callable[[Status], None]]] = []
        self._last: Status | None = None
        self._told, self._due = 0.0, math.inf  # when it was told last, and is next
        self.put(self._look, GLANCE)

    def tell(self, listener: Callable[[Status], None]) -> None:
        """Call a method with every change, on this thread, for as long as its object lives."""
        self._listeners.append(weakref.WeakMethod(listener))
        self._last = None  # it wants to know at once
        self.notify()

    def forget(self, owner: object) -> None:
        """Tell the methods of an object no more."""
        self._listeners = [method for method in self._listeners if getattr(method(), "__self__", None) is not owner]

    def notify(self, *, urgent: bool = True) -> None:
        """Something may have changed; urgent where somebody waits for it."""
        now = time.monotonic()
        due = now if urgent else max(self._told + self._interval(), now)
        if due < self._due:
            self._due = due
            self.put(self._tell, due - now)

    def _look(self) -> None:
        self._glance()
        self.notify(urgent=False)
        self.put(self._look, GLANCE)

    def _tell(self) -> None:
        self._due = math.inf
        if (now := self._status()) == self._last:
            return
        self._last, self._told = now, time.monotonic()
        for reference in list(self._listeners):
            listener = reference()
            try:
                if listener is not None:
                    listener(now)
            except Exception as error:
                self._listeners.remove(reference)
                self._failed(error)


class RenderThread(Loop):
    """Draws views anew when what they look at has changed, and does what panels ask, in the order asked."""

    def __init__(
        self,
        busy: Callable[[], bool],  # whether a run plays; then drawing takes a small share of the time only
        interval: Callable[[], float],  # seconds between two drawings at least while a run plays
        failed: Callable[[BaseException], None],  # told what a view or a job raised
    ):
        super().__init__("views", failed)
        self._busy, self._interval = busy, interval
        self._views: list[weakref.ref[Any]] = []
        self._topics: frozenset[str] = frozenset()  # what changed since
        self._asked = False  # to draw
        self._rested = 0.0  # when there may be drawn again what a run that plays changes

    def join(self, view: View) -> None:
        """Keep a view up to date for as long as somebody holds it."""
        self._views.append(weakref.ref(view))

    def forget(self, view: object) -> None:
        """Draw a view no more."""
        self._views = [reference for reference in self._views if reference() is not view]

    def changed(self, *topics: str) -> None:
        """Views that look at these topics are drawn anew, soon."""
        self.put(partial(self._note, frozenset(topics)))

    def _note(self, topics: frozenset[str]) -> None:
        """Draw when all that waits is done: it may change more."""
        self._topics |= topics
        if not self._asked or topics - RECORDED:
            self._asked = True
            self.put(self._draw)

    def _draw(self) -> None:
        changed, left = self._topics, self._rested - time.monotonic()
        if not changed:
            return
        if left > 0 and self._busy() and not changed - RECORDED:
            self.put(self._draw, min(left, 0.2))  # the run may come to rest
            return
        self._topics, self._asked = frozenset(), False
        begun = time.thread_time()
        with self._pools.limit(limits=1):
            for reference in list(self._views):
                view = reference()
                if view is not None and view.topics & changed:
                    try:
                        view.refresh(view.topics & changed)
                    except Exception as error:
                        self._failed(error)
        spent = time.thread_time() - begun
        self._rested = time.monotonic() + min(max(spent / SHARE, self._interval()), 10.0)

    @cached_property
    def _pools(self) -> Any:
        """Numpy's own threads, which would fight with those of the training; torch's decide a run's bits."""
        return ThreadpoolController().select(internal_api="openblas")
