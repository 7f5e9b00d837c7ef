"""Why a run cannot take a step, in words: it became infinite, or it was another step the first time."""

from collections.abc import Mapping, Sequence
from typing import Any

from ka_explore.errors import Diverged, ReplayMismatch


def diverged(name: str, row: Mapping[str, Any], bad: Sequence[str]) -> Diverged:
    """The error of a step whose terms or gradient were not finite."""
    parts = ", ".join(f"{term}={value:g}" for term, value in row["terms"].items())
    return Diverged(
        f"step {row['step']} of run {name!r}: {', '.join(bad)} not finite ({parts}). The run stands at step "
        f"{row['step'] - 1}, everything is kept. Fork it from an earlier step with a smaller learning_rate "
        f"(now {row['rate']:g}) or a smaller weight of that term.",
        step=row["step"],
        terms=tuple(bad),
    )


def is_replay(known: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether a replayed row is the recorded one, to the bit; what older versions did not record is not compared."""
    return all(known.get(name) == value for name, value in row.items() if name in known or name != "weights")


def replay_mismatch(
    name: str, known: Mapping[str, Any], row: Mapping[str, Any], *, same_machine: bool, checkpoint: int
) -> ReplayMismatch:
    """The error of a replayed row that is not the recorded one; the record is kept, whatever the cause."""
    why = (
        "The record is kept; please report this as a bug."
        if same_machine
        else "It was recorded on another machine or version, where sums may round differently. The record is kept; "
        f"to go on with this machine's numbers, fork at a checkpoint: run.fork('here', at={checkpoint})."
    )
    return ReplayMismatch(
        f"step {row['step']} of run {name!r} was replayed and gave {dict(row)}, recorded is {dict(known)}. {why}"
    )
