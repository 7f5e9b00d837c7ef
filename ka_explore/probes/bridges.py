"""The transfer bridges: what is left of each teacher's features after them."""

import numpy as np

from ka_explore.probes.probe import probe
from ka_explore.probes.results import Matrix
from ka_explore.probes.samples import average, finite, left_out
from ka_explore.run.snapshot import Snapshot


@probe("bridge/*")
def bridges(snapshot: Snapshot) -> Matrix:
    """What is left of a bridge's source after it, a source (row) and block (column), relative to its variance.

    1 is "no better than the mean"; method C (Shen, ICCV 2019). NaN where a source has no bridge at a block.
    """
    group = snapshot.group("bridge")
    left = {tuple(name.split("/", 1)): average(values) for name, values in group.items()}
    sources = tuple(dict.fromkeys(source for source, _ in left))
    blocks = tuple(dict.fromkeys(block for _, block in left))
    return Matrix(
        np.array([[left.get((source, block), np.nan) for block in blocks] for source in sources]),
        sources,
        blocks,
        unit="share of the source's variance",
        title="what transfer bridges leave",
        note=left_out(finite(*group.values())),
    )
