"""What share of pairs is found in the space that is drawn, as the caption of a picture tells it; numpy only."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from ka_explore.errors import InputError
from ka_explore.probes.alignment import CHANCE, pairs_found
from ka_explore.run.snapshot import Snapshot


def found_in(snapshot: Snapshot, space: str) -> dict[str, Any]:
    """``pairs``, by teacher ``52.3 %``, and ``by_chance``, ``0.4 % (1 of 256)``; empty without student and teacher."""
    with suppress(InputError):
        found = pairs_found(snapshot, space, (1,))
        chance = found.levels[CHANCE]
        images = f" (1 of {1 / chance:.0f})" if np.isfinite(chance) else ""
        pairs = {net: percent(share) for net, share in found.values.items()}
        return {"pairs": pairs, "by_chance": percent(chance) + images}
    return {"pairs": {}, "by_chance": ""}


def pairs_in_words(frame: Mapping[str, Any]) -> str:
    """``digits 0-4: 60 % of pairs found, digits 5-9: 52.3 %, by chance 0.4 % (1 of 256)``, as ``words.js`` has it."""
    if not frame["pairs"]:
        return ""
    first, *others = (f"{net}: {share}" for net, share in frame["pairs"].items())
    return ", ".join([f"{first} of pairs found", *others, f"{CHANCE} {frame['by_chance']}"])


def percent(share: float) -> str:
    """A share as ``52.3 %``; a dash for none."""
    return f"{round(100 * share, 1):g} %" if np.isfinite(share) else "–"
