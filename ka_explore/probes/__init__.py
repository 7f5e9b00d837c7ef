"""The probes by name: functions from a snapshot to a result; numpy, no torch, so they work on a saved folder."""

import warnings
from typing import Any

from ka_explore.probes.agreement import accuracy, agreement, agreement_by_class, confusion, confusion_with
from ka_explore.probes.alignment import class_neighbours, gap, pairs_found
from ka_explore.probes.calibration import calibration_error, entropies, reliability
from ka_explore.probes.embedding import class_axes, pca
from ka_explore.probes.gradients import gradient_cosine, gradient_ratio, gradient_size
from ka_explore.probes.probe import Probe
from ka_explore.probes.reconstruction import (
    bridges,
    error_by_channel,
    error_by_class,
    reconstruction_error,
    worst_channels,
    worst_reconstructed,
)
from ka_explore.probes.results import Result
from ka_explore.probes.selection import responsibility, selection, selection_share
from ka_explore.probes.similarity import cka, median_distance, mmd, mmd_curve
from ka_explore.probes.spectrum import dead_channels, effective_rank, principal_angles, spectrum

OLD_NAMES = {"claims": "responsibility"}  # of version 0.1


class Table(dict[str, Probe[..., Result]]):
    """Probes by name; an old name finds the new one's, with a warning."""

    def __missing__(self, name: str) -> Probe[..., Result]:
        if name not in OLD_NAMES:
            raise KeyError(name)
        warnings.warn(f"the probe {name} is {OLD_NAMES[name]} since version 0.2.", FutureWarning, stacklevel=2)
        return self[OLD_NAMES[name]]

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in OLD_NAMES


GROUPS: dict[str, tuple[Probe[..., Any], ...]] = {
    "the common space": (pca, class_axes, pairs_found, class_neighbours, gap, mmd, mmd_curve, median_distance, cka),
    "its directions": (effective_rank, dead_channels, spectrum, principal_angles),
    "what comes back": (reconstruction_error, error_by_class, error_by_channel, worst_channels, worst_reconstructed),
    "what bridges leave": (bridges,),
    "the answers": (accuracy, agreement, agreement_by_class, confusion, confusion_with),
    "how sure they are": (reliability, calibration_error, entropies),
    "whose image it is": (responsibility, selection, selection_share),
    "what moves the student": (gradient_size, gradient_cosine, gradient_ratio),
}
PROBES = Table({probe.function.__name__: probe for group in GROUPS.values() for probe in group})
