"""How well each teacher's feature comes back from the common space."""

from ka_explore.results import Distribution
from ka_explore.snapshot import Snapshot


def reconstruction_error(snapshot: Snapshot) -> Distribution:
    """Reconstruction error a sample and teacher, relative to the feature's variance: 1 is "no better than the mean".

    Raises InputError when the stage emits no ``error/…``.
    """
    return Distribution(
        snapshot.group("error"),
        unit="share of the feature's variance",
        title=f"reconstruction error, step {snapshot.step}",
    )
