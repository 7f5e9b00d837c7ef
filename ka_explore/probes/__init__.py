"""The probes by name: functions from a snapshot to a result; numpy, no torch, so they work on a saved folder."""

from collections.abc import Callable

from ka_explore.probes.agreement import accuracy, agreement
from ka_explore.probes.embedding import pca
from ka_explore.probes.reconstruction import reconstruction_error
from ka_explore.probes.selection import claims, selection
from ka_explore.results import Result
from ka_explore.snapshot import Snapshot

PROBES: dict[str, Callable[[Snapshot], Result]] = {
    "pca": pca,
    "reconstruction_error": reconstruction_error,
    "accuracy": accuracy,
    "agreement": agreement,
    "claims": claims,
    "selection": selection,
}
