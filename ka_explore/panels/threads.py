"""The two threads of a session that tell: one how it stands, one draws what panels show and does what they ask."""

import heapq
import itertools
import math
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from threadpoolctl import ThreadpoolController

from ka_explore.panels.status import Status, View

GLANCE = 1.0  # seconds
SHARE = 0.03  # of the time that views may compute while a run plays
RECORDED = {"rows", "snapshots"}  # what changes by itself while a run plays; all else somebody waits for


class StatusThread:
    """Tells listeners how a session stands: at once after a request, every so often while steps go by.

    Args:
        status: gives how it stands.
        interval: gives the seconds between two words at least, where nobody asked for anything.
        glance: called every second, to see what others than the session did to its runs.
        failed: told what a listener raised; it is told no more.
    """

    def __init__(
        self,
        status: Callable[[], Status],
        interval: Callable[[], float],
        glance: Callable[[], None],
        failed: Callable[[BaseException], None],
    ):
        self._status, self._interval, self._glance, self._failed = status, interval, glance, failed
        self._listeners: list[weakref.WeakMethod[Callable[[Status], None]]] = []
        self._stirred = threading.Event()
        self._urgent = self._closed = False
        self._thread = threading.Thread(target=self._work, name="ka_explore status", daemon=True)
        self._thread.start()

    def tell(self, listener: Callable[[Status], None]) -> None:
        """Call a method with every change, on this thread, for as long as its object lives."""
        self._listeners.append(weakref.WeakMethod(listener))
        self.notify()

    def forget(self, owner: object) -> None:
        """Tell the methods of an object no more."""
        self._listeners = [method for method in self._listeners if getattr(method(), "__self__", None) is not owner]

    def notify(self, *, urgent: bool = True) -> None:
        """Something may have changed; urgent where somebody waits for it."""
        self._urgent |= urgent
        self._stirred.set()

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._stirred.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=10)

    def _work(self) -> None:
        last: Status | None = None
        told = 0.0
        while not self._closed:
            if not self._stirred.wait(GLANCE):
                self._glance()
            self._stirred.clear()
            while not (self._urgent or self._closed) and (left := told + self._interval() - time.monotonic()) > 0:
                self._stirred.wait(left)
                self._stirred.clear()
            self._urgent = False
            now = self._status()
            if now != last and not self._closed:
                last, told = now, time.monotonic()
                for reference in list(self._listeners):
                    listener = reference()
                    try:
                        if listener is not None:
                            listener(now)
                    except Exception as error:
                        self._listeners.remove(reference)
                        self._failed(error)


class RenderThread:
    """Draws views anew when what they look at has changed, and does what panels ask, in the order asked.

    It keeps what is to be done later, too: a session needs no timers.

    Args:
        busy: whether a run plays; then drawing takes a small share of the time only.
        interval: gives the seconds between two drawings at least while a run plays.
        failed: told what a view or a job raised.
    """

    def __init__(
        self, busy: Callable[[], bool], interval: Callable[[], float], failed: Callable[[BaseException], None]
    ):
        self._busy, self._interval, self._failed = busy, interval, failed
        self._views: list[weakref.ref[Any]] = []
        # when it is due, the how many-th it is, and names of topics that changed or something to do
        self._inbox: list[tuple[float, int, frozenset[str] | Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._condition = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="ka_explore views", daemon=True)
        self._thread.start()

    def join(self, view: View) -> None:
        """Keep a view up to date for as long as somebody holds it."""
        self._views.append(weakref.ref(view))

    def forget(self, view: object) -> None:
        """Draw a view no more."""
        self._views = [reference for reference in self._views if reference() is not view]

    def changed(self, *topics: str) -> None:
        """Views that look at these topics are drawn anew, soon."""
        self._put(frozenset(topics), 0.0)

    def soon(self, job: Callable[[], object], after: float = 0.0) -> None:
        """Have something done, at once or after so many seconds."""
        self._put(job, after)

    def close(self) -> None:
        """End the thread."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=10)

    def _put(self, item: frozenset[str] | Callable[[], object], after: float) -> None:
        with self._condition:
            heapq.heappush(self._inbox, (time.monotonic() + after, next(self._numbers), item))
            self._condition.notify_all()

    def _take(self, until: float) -> frozenset[str] | Callable[[], object] | None:
        """What is due next; None where nothing is at that time, or the thread ends."""
        with self._condition:
            while not self._closed:
                now = time.monotonic()
                due = self._inbox[0][0] if self._inbox else math.inf
                if due <= now:
                    return heapq.heappop(self._inbox)[2]
                if until <= now:
                    return None
                left = min(due, until) - now
                self._condition.wait(None if math.isinf(left) else left)
        return None

    def _work(self) -> None:
        # numpy's own threads would fight with those of the training; torch's are left alone, they decide a run's bits.
        controller = ThreadpoolController().select(internal_api="openblas")
        changed: frozenset[str] = frozenset()
        rested = 0.0  # when there may be drawn again what a run that plays changes
        while not self._closed:
            now = time.monotonic()
            draws = bool(changed) and (now >= rested or bool(changed - RECORDED) or not self._busy())
            # All that was asked comes first; whether a run has come to rest is looked up every so often.
            item = self._take(0.0 if draws else min(rested, now + 0.2) if changed else math.inf)
            if isinstance(item, frozenset):
                changed |= item
            elif item is not None:
                self._guarded(item)
            elif draws:
                begun = time.thread_time()
                with controller.limit(limits=1):
                    self._draw(changed)
                spent, changed = time.thread_time() - begun, frozenset()
                rested = time.monotonic() + min(max(spent / SHARE, self._interval()), 10.0)
            item = None  # what it holds may go

    def _draw(self, changed: frozenset[str]) -> None:
        for reference in list(self._views):
            view = reference()
            if view is not None and view.topics & changed:
                self._guarded(partial(view.refresh, view.topics & changed))

    def _guarded(self, job: Callable[[], object]) -> None:
        try:
            job()
        except Exception as error:
            self._failed(error)
