"""Whether all of the student learns: parts that do not move, and a pool that has next to nothing to learn from."""

from collections.abc import Iterator, Sequence

from ka_explore.diagnosis.evidence import CannotCheck, Evidence, judged
from ka_explore.diagnosis.findings import Finding


def student_not_moving(evidence: Evidence) -> Iterator[Finding]:
    """Whether all parts of the net that is taught have left their first weights; and which came frozen."""
    seen = (evidence.examination or {}).get("student", {}).get("moved")
    if not seen or seen["until"] > len(evidence.rows):
        raise CannotCheck("the weights were not looked at after a step: diagnose the opened run, Run.open(folder).")
    rates = [float(row["rate"]) for row in evidence.rows]
    if not max(rates, default=0.0) > 0:
        raise CannotCheck("the learning rate is 0.")
    numbers = {"after steps": float(seen["until"]), "parts with weights": float(seen["parts"])}
    of_parts = len(seen["still"]) / max(seen["parts"], 1)
    yield judged(
        "student_not_moving",
        max(of_parts, seen["share"]),
        evidence=numbers | {"share of its parameters": seen["share"], "parts that have not moved": some(seen["still"])},
        parts=some(seen["still"]),
    )
    yield judged(
        "norms_unfed",
        len(seen["unfed"]) / max(seen["norms"], 1),
        evidence={"batch norms that never saw a batch": some(seen["unfed"])},
        parts=some(seen["unfed"]),
    )
    yield judged(
        "student_frozen",
        seen["frozen_share"],
        evidence={"parts that came frozen": some(seen["frozen"])},
        parts=some(seen["frozen"]),
        at_most="warning" if seen["frozen_share"] < 1 else "note",  # a copy of a teacher comes frozen as a whole
    )


def few_distinct_images(evidence: Evidence) -> Iterator[Finding]:
    """Whether the pool's images differ, or are copies of a few."""
    seen = evidence.examination or {}
    if seen.get("distinct") is None or seen["images"] < 8:
        raise CannotCheck("the pool's images were not compared: diagnose the opened run, Run.open(folder), once.")
    distinct, images = float(seen["distinct"]), float(seen["images"])
    yield judged(
        "few_distinct_images",
        distinct / images,
        evidence={"images looked at": images, "different images among them": distinct},
        images=seen["images"],
        distinct=seen["distinct"],
    )


def some(names: Sequence[str], most: int = 4) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "none"
