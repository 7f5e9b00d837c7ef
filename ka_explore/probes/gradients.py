"""How hard each term, and each teacher in it, pulls at the student's feature, and whether where the soft target does.

Gradients are weighted as in the loss, at the samples that were asked (see `ka_explore.run.gradients`).
"""

from typing import Any

import numpy as np

from ka_explore.errors import InputError
from ka_explore.probes.probe import probe
from ka_explore.probes.results import Matrix, Scalars
from ka_explore.run.snapshot import SOFT_TERMS, Snapshot

ALL = "all"
SOFT = tuple(f"gradient/{term}" for term in SOFT_TERMS)


@probe("gradient/*")
def gradient_size(snapshot: Snapshot) -> Matrix:
    """Size of the gradient at the student's feature: a row a term, a column a teacher's part of it, ``all`` the whole.

    The Frobenius norm over the samples asked, √Σ ‖g_i‖². The parts of a term need not add up to it: they may pull
    against each other. NaN where a term has no such part.
    """
    sizes = snapshot.group("gradient")
    norms, note = {name: norm(size) for name, size in sizes.items()}, f"weighted as in the loss; {asked(sizes)}"
    return by_term(snapshot, norms, unit="loss per unit of the feature", title="size of the gradients", note=note)


@probe(*SOFT)
def gradient_cosine(snapshot: Snapshot) -> Matrix:
    """Cosine of the gradients with the soft target's: a row a term, a column a teacher's part of it, ``all`` the whole.

    Σ ⟨g_i, s_i⟩ / √(Σ ‖g_i‖² · Σ ‖s_i‖²) over the samples asked: 1 pulls as the soft target does, 0 across it, −1
    against it. NaN where one of the two is zero. The soft target's own is 1 by definition.

    Raises InputError when the stage has no soft target.
    """
    sizes, inner = snapshot.group("gradient"), snapshot.group("along")
    soft = sizes[soft_target_of(snapshot, sizes)]
    cosines = {name: cosine(inner[name], size, soft) for name, size in sizes.items() if name in inner}
    title, note = "gradients against the soft target's", f"0 is across it, −1 against it; {asked(sizes)}"
    return by_term(snapshot, cosines, unit="cosine", title=title, note=note, centre=0.0)


@probe(*SOFT)
def gradient_ratio(snapshot: Snapshot) -> Scalars:
    """How many times the soft target's each term's gradient is, in size; NaN where the soft target's is zero.

    Raises InputError when the stage has no soft target.
    """
    sizes = snapshot.group("gradient")
    soft = norm(sizes[soft_target_of(snapshot, sizes)])
    terms = {name: norm(size) for name, size in sizes.items() if "/" not in name}
    ratios = {name: size / soft if soft > 0 else float("nan") for name, size in terms.items()}
    return Scalars(ratios, unit="times the soft target's", title="size of the gradients")


def soft_target_of(snapshot: Snapshot, sizes: dict[str, np.ndarray]) -> str:
    """The name of the soft target among the terms; raises InputError when there is none."""
    for name in (snapshot.soft_term,) if snapshot.soft_term else SOFT_TERMS:
        if name in sizes:
            return name
    terms = ", ".join(name for name in sizes if "/" not in name)
    what = f"this snapshot (stage {snapshot.stage!r}) has no gradient of a soft target ({', '.join(SOFT_TERMS)})"
    raise InputError(f"{what}: its terms are {terms}. gradient_size needs none.")


def norm(size: np.ndarray) -> float:
    """√Σ ‖g_i‖² over the samples that are finite; NaN of none."""
    size = size[np.isfinite(size)].astype(np.float64)
    return float(np.linalg.norm(size)) if len(size) else float("nan")


def cosine(inner: np.ndarray, size: np.ndarray, soft: np.ndarray) -> float:
    """Σ inner / (‖size‖ · ‖soft‖) over the samples where all three are finite; NaN where one is zero."""
    kept = np.isfinite(inner) & np.isfinite(size) & np.isfinite(soft)
    lengths = norm(size[kept]) * norm(soft[kept])
    return float(inner[kept].sum(dtype=np.float64) / lengths) if lengths > 0 else float("nan")


def asked(sizes: dict[str, np.ndarray]) -> str:
    """How many samples were asked, in words."""
    some = np.logical_or.reduce([np.isfinite(size) for size in sizes.values()])
    return f"{int(some.sum())} of {len(some)} samples asked"


def by_term(snapshot: Snapshot, values: dict[str, float], **words: Any) -> Matrix:
    """Values by ``term`` and ``term/teacher`` as a table; teachers in their order, then whoever else causes a part."""
    terms = tuple(dict.fromkeys(name.split("/")[0] for name in values))
    parts = dict.fromkeys(name.split("/")[1] for name in values if "/" in name)
    columns = (*(t for t in snapshot.teachers if t in parts), *(p for p in parts if p not in snapshot.knows))
    table = [[values.get(term, np.nan), *(values.get(f"{term}/{part}", np.nan) for part in columns)] for term in terms]
    return Matrix(np.array(table).reshape(len(terms), 1 + len(columns)), terms, (ALL, *columns), **words)
