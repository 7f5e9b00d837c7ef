"""Clouds of nets that lie apart, or together, because they were made so."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ka_explore.run.snapshot import Snapshot
from ka_explore.run.store import Store

CLASSES = 6
WIDTH = 24
TEACHERS = ("one", "two")
ABOUT = {
    "name": "run", "method": "common_feature", "device": "cpu", "precision": "float32", "fingerprints": {},
    "environment": {}, "problem": {"name": "toy", "options": {}}, "configs": [[0, {}]], "seed": 0,
    "checkpoint_every": 10, "snapshot_every": 10, "threads": None, "parent": None, "tasks": None,
}  # fmt: skip


def clouds(
    step: int = 0, *, gap: float = 0.0, loud: float = 0.35, samples: int = 90, seed: int = 0, teachers=TEACHERS
) -> Snapshot:
    """A snapshot of a student and teachers: six classes in loud directions, and the student away in a quiet one.

    ``gap`` is how far the student's mean lies from the teachers', in units of the spread within a net: from about 1 on
    no ball around the one cloud has a point of the other. The direction of the gap is one in which a net hardly varies.
    """
    random = np.random.default_rng([seed, step])
    truth = np.arange(samples) % CLASSES
    centres = np.zeros((CLASSES, WIDTH))
    centres[:, 1 : 1 + CLASSES] = loud * np.linalg.qr(np.random.default_rng(7).normal(size=(CLASSES, CLASSES)))[0]
    spread = np.sqrt(((centres - centres.mean(axis=0)) ** 2).sum(axis=1).mean())
    arrays = {}
    for net in ("student", *teachers):
        rows = centres[truth] + 0.02 * random.normal(size=(samples, WIDTH))
        rows[:, 0] = 2.0  # all rows point one way, so that bringing them to length 1 changes little
        rows[:, -1] += gap * spread * (net == "student")
        arrays[f"common/{net}"] = rows
    half = CLASSES // len(teachers)
    knows = {net: tuple(range(half * i, half * i + half)) for i, net in enumerate(teachers)}
    for net, columns in knows.items():
        arrays[f"logits/{net}"] = 5.0 * (truth[:, None] == np.array(columns)) + random.normal(size=(samples, half))
    arrays["scores"] = random.normal(size=(samples, CLASSES))
    classes = tuple(("class", f"class {i}") for i in range(CLASSES))
    return Snapshot(step, "joint", np.arange(samples), {"class": truth}, classes, knows, arrays)


def far_apart(parts: Sequence[np.ndarray]) -> float:
    """How far the first net's mean lies from that of the others, in units of the spread within a net."""
    first, *others = parts
    within = np.mean([((part - part.mean(axis=0)) ** 2).sum(axis=1).mean() for part in parts])
    apart = first.mean(axis=0) - np.mean([part.mean(axis=0) for part in others], axis=0)
    return float(np.linalg.norm(apart) / within**0.5)


def stored(folder: Path, snapshots: Sequence[Snapshot]) -> Store:
    """A run's folder with these snapshots, called as the folder is."""
    store = Store.create(folder, ABOUT | {"name": folder.name})
    for snapshot in snapshots:
        store.save_snapshot(snapshot)
    return store
