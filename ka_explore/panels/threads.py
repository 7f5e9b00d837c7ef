"""The two threads of a session that tell: one how it stands, one draws what panels show and answers what they ask."""

import queue
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from threadpoolctl import ThreadpoolController

from ka_explore.panels.status import Status, View

GLANCE = 1.0  # seconds
SHARE = 0.03  # of the time that views may compute while a run plays


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
    """Draws views anew when what they look at has changed, and answers what panels are asked, in the order asked.

    Args:
        busy: whether a run plays; then drawing takes a small share of the time only.
        interval: gives the seconds between two drawings at least while a run plays.
        failed: told what a view or an answer raised.
    """

    def __init__(
        self, busy: Callable[[], bool], interval: Callable[[], float], failed: Callable[[BaseException], None]
    ):
        self._busy, self._interval, self._failed = busy, interval, failed
        self._views: list[weakref.ref[Any]] = []
        # names of topics that changed, something to answer, or None to look up
        self._inbox: queue.SimpleQueue[frozenset[str] | tuple[Callable[[Mapping[str, Any]], object], Any] | None]
        self._inbox = queue.SimpleQueue()
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
        self._inbox.put(frozenset(topics))

    def ask(self, answer: Callable[[Mapping[str, Any]], object], message: Mapping[str, Any]) -> None:
        """Have something answered, soon."""
        self._inbox.put((answer, message))

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._inbox.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=10)

    def _work(self) -> None:
        # numpy's own threads would fight with those of the training; torch's are left alone, they decide a run's bits.
        controller = ThreadpoolController().select(internal_api="openblas")
        while not self._closed:
            changed = self._taken(self._inbox.get())
            begun = time.thread_time()
            with controller.limit(limits=1):
                self._draw(frozenset(changed))
            if changed and self._busy():
                self._rest((time.thread_time() - begun) / SHARE)

    def _taken(self, item: Any) -> set[str]:
        """All that has come: answers are given, topics gathered."""
        changed: set[str] = set()
        while not self._closed:
            if isinstance(item, frozenset):
                changed |= item
            elif item is not None:
                self._answer(*item)
            try:
                item = self._inbox.get(block=False)
            except queue.Empty:
                break
        return changed

    def _rest(self, seconds: float) -> None:
        """Wait before the next drawing while a run plays; what users do in between is answered and drawn at once."""
        until = time.monotonic() + min(max(seconds, self._interval()), 10.0)
        later: set[str] = set()
        while self._busy() and not self._closed and (left := until - time.monotonic()) > 0:
            try:
                item = self._inbox.get(timeout=min(left, 0.2))
            except queue.Empty:
                continue
            if isinstance(item, frozenset):
                later |= item
                if item - {"rows", "snapshots"}:
                    break
            elif item is not None:
                self._answer(*item)
        if later:
            self._inbox.put(frozenset(later))

    def _answer(self, answer: Callable[[Mapping[str, Any]], object], message: Mapping[str, Any]) -> None:
        try:
            answer(message)
        except Exception as error:
            self._failed(error)

    def _draw(self, changed: frozenset[str]) -> None:
        for reference in list(self._views):
            view = reference()
            if view is not None and view.topics & changed:
                try:
                    view.refresh(view.topics & changed)
                except Exception as error:
                    self._failed(error)
