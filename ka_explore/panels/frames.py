"""Frames of a film: what they are, how many there are, how they are kept in memory and packed for the browser."""

from collections import OrderedDict
from collections.abc import Container, Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from ka_explore.panels.branch import Branch

Frame = Mapping[str, Any]
"""Arrays by name, and what else there is to say in JSON."""

Address = tuple[Branch, int, Hashable]
"""Of a frame: its branch, its step, and its key."""


def split(frame: Frame) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What of a frame is JSON, with the names, kinds and shapes of its arrays as ``arrays``; and the arrays."""
    arrays = {name: value for name, value in frame.items() if isinstance(value, np.ndarray)}
    kinds = ["f4" if a.dtype.kind == "f" else "u1" if a.dtype == np.uint8 else "i4" for a in arrays.values()]
    laid = [[name, kind, array.shape] for (name, array), kind in zip(arrays.items(), kinds, strict=True)]
    about = {name: value for name, value in frame.items() if name not in arrays}
    return about | {"arrays": laid}, [arrays[name].astype(f"<{kind}", copy=False) for name, kind, _ in laid]


def packed(header: str, arrays: Iterable[np.ndarray]) -> bytes:
    """The length of a header, the header, and arrays, each from a multiple of four bytes on; ``film.js`` unpacks it."""
    parts = [header.encode(), *(array.tobytes() for array in arrays)]
    parts[0] += b" " * (-len(parts[0]) % 4)
    return len(parts[0]).to_bytes(4, "little") + b"".join(part + bytes(-len(part) % 4) for part in parts)


class Kept:
    """Frames by branch, step and key, those that were asked for last, of so many bytes at most."""

    def __init__(self, most: int):
        self._most, self._bytes = most, 0
        self._frames: OrderedDict[Address, Frame] = OrderedDict()

    def __contains__(self, at: object) -> bool:
        return at in self._frames

    def get(self, at: Address) -> Frame | None:
        """A frame, if it is there."""
        if at in self._frames:
            self._frames.move_to_end(at)
        return self._frames.get(at)

    def put(self, at: Address, frame: Frame) -> None:
        """Take a frame in; those that were not asked for the longest go."""
        self._frames[at] = frame
        self._bytes += size_of(frame)
        while self._bytes > self._most and len(self._frames) > 1:
            self._bytes -= size_of(self._frames.popitem(last=False)[1])

    def only(self, branches: Container[Branch]) -> None:
        """Let go of the frames of other branches."""
        before, self._frames, self._bytes = self._frames, OrderedDict(), 0
        for at, frame in before.items():
            if at[0] in branches:
                self.put(at, frame)


def size_of(frame: Frame) -> int:
    """Bytes of a frame's arrays, and some for what else it says."""
    return 500 + sum(value.nbytes for value in frame.values() if isinstance(value, np.ndarray))


def thinned(branch: Branch, most: int) -> tuple[list[int], int]:
    """The steps that should have a frame, and that these are every so many-th snapshot.

    So many at most, as every second one goes as often as it takes; and the last, and where the run stands.
    """
    stored, every = branch.store.snapshot_steps(), 1
    while -(-len(stored) // every) > most:
        every *= 2
    live = branch.live
    return sorted({*stored[::every], *stored[-1:], *([live.step] if live is not None else [])}), every
