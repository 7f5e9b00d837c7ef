"""The probes by name: functions from a snapshot to a result; numpy, no torch, so they work on a saved folder."""

import warnings

from ka_explore.probes.agreement import accuracy, agreement, agreement_by_class, confusion, confusion_with
from ka_explore.probes.calibration import calibration_error, entropies, reliability
from ka_explore.probes.embedding import pca
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


PROBES = Table(
    {
        # the common space
        "pca": pca,
        "mmd": mmd,
        "mmd_curve": mmd_curve,
        "median_distance": median_distance,
        "cka": cka,
        "effective_rank": effective_rank,
        "dead_channels": dead_channels,
        "spectrum": spectrum,
        "principal_angles": principal_angles,
        # what comes back
        "reconstruction_error": reconstruction_error,
        "error_by_class": error_by_class,
        "error_by_channel": error_by_channel,
        "worst_channels": worst_channels,
        "worst_reconstructed": worst_reconstructed,
        "bridges": bridges,
        # the answers
        "accuracy": accuracy,
        "agreement": agreement,
        "agreement_by_class": agreement_by_class,
        "confusion": confusion,
        "confusion_with": confusion_with,
        "reliability": reliability,
        "calibration_error": calibration_error,
        "entropies": entropies,
        # whose image it is
        "responsibility": responsibility,
        "selection": selection,
        "selection_share": selection_share,
        # what moves the student
        "gradient_size": gradient_size,
        "gradient_cosine": gradient_cosine,
        "gradient_ratio": gradient_ratio,
    }
)
