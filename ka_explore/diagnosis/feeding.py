"""Whether a teacher gets images as it was trained on them: its batch norms and its answers under other feeding."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ka_explore.diagnosis.evidence import Evidence, Examined, judged
from ka_explore.diagnosis.findings import Finding
from ka_explore.diagnosis.numbers import number
from ka_explore.diagnosis.thresholds import THRESHOLDS
from ka_explore.probes.results import Scalars

TURNS: Mapping[str, tuple[str, tuple[Any, ...]]] = {
    "transposed": ("transpose", (2, 3)),
    "upside down": ("flip", (2,)),
    "mirrored": ("flip", (3,)),
    "turned by 180°": ("flip", (2, 3)),
    "turned by 90°": ("rot90", (1, (2, 3))),
    "turned by 270°": ("rot90", (3, (2, 3))),
}
"""Ways to turn images over: an operation of tensors and its arguments."""

SIZES = ("half the size", "double the size", "the pool's own size")
ALL_VALUES = "all values"  # how the names of what has the pool's own values begin
MOVED = ("moved", "cut evenly")  # how the names of what moves images begin
OFF = 0.05  # divergence from which a batch norm is not at home
NEAR = 0.005  # below which differences are nobody's
RELIEVES = 1.5  # times nearer to training from which a feeding is said to suit better
MORE_TOLD = 2.0  # times as much told count in full; the rest says little where next to nothing was told
LEAST_TOLD = (
    THRESHOLDS["says_nothing"].note or 0.0
)  # by the best of other feedings: a net that tells less has another fault

REBUILD = """teacher = Teacher(
    {name!r}, old.module, layers=old.layers, blocks=old.blocks, labels=old.labels, task=old.task, read=old.read,
    preprocess={preprocess},
)  # old: problem.teacher({name!r}); then dataclasses.replace(problem, teachers=[…])"""


@dataclass(frozen=True)
class Sign:
    """One sign of wrong feeding: which threshold, the value, the feeding that suits better, and how much it proves."""

    threshold: str
    value: float
    best: str
    at_most: Literal["warning", "note"] = "warning"

    @property
    def sure(self) -> bool:
        """Whether it is worth a warning."""
        return self.at_most == "warning" and THRESHOLDS[self.threshold].grade(self.value) == "warning"


def wrong_preprocessing(evidence: Evidence) -> Iterator[Finding]:
    """Whether a teacher gets images as it was trained on them: its batch norms and its answers under other feeding."""
    examined = evidence.examined()
    for name, seen in examined.items():
        signs = signs_of(seen)
        if number(seen["given"]["first"]) >= OFF:  # else it begins within the net, see `weights.mixed_weights`
            signs.append(Sign("feeding_alone", beside(name, examined), ""))
        sure = [sign for sign in signs if sign.sure]
        # a size is named rather than what else changes with it
        first = next((s for s in sure if s.threshold == "feeding_size"), None)
        chosen = next(iter([*([first] if first and sure[0].best in SIZES else []), *sure, *signs]), None)
        if chosen:
            yield feeding_finding(name, seen, chosen)


def signs_of(seen: Examined) -> list[Sign]:
    """All signs of wrong feeding that there are of a teacher, the most telling first."""
    given, turned = seen["given"], seen.get("turned", {})
    found = [cut_unevenly(seen), values_lost(seen), norms_off(seen), size_off(seen)]
    found.append(labels_off(given, seen["alternatives"]))
    if "as given" in turned:
        found += [turned_off(turned), labels_off(turned["as given"], turned)]
    return [sign for sign in (*found, answers_off(seen)) if sign]


def beside(name: str, examined: Mapping[str, Examined]) -> float:
    """How many times farther a teacher's batch norms are from training than those of the teachers beside it.

    0 where there is no other with batch norms, or where labels are known and it is right as often as the others: then
    it is only from farther away.
    """
    given = {teacher: seen["given"] for teacher, seen in examined.items() if seen["given"]["mismatch"] is not None}
    others = [seen for teacher, seen in given.items() if teacher != name]
    if name not in given or not others:
        return 0.0
    mine, best = given[name], max((number(seen["right"]) for seen in others if seen["right"] is not None), default=1.0)
    if mine["right"] is not None and THRESHOLDS["wrong_answers"].grade(mine["right"] / max(best, 1e-9)) == "fine":
        return 0.0
    return float(mine["mismatch"] / max(np.median([seen["mismatch"] for seen in others]), NEAR))


def cut_unevenly(seen: Examined) -> Sign | None:
    """More of the images is cut off at one side than at the other; for sure where batch norms or answers mind."""
    cut, turned = seen.get("cut", {}), seen.get("turned", {})
    uneven = max((abs(cut[a] - cut[b]) for a, b in (("top", "bottom"), ("left", "right")) if a in cut), default=0.0)
    if not uneven:
        return None
    gains = {name: suits(turned["as given"], way) for name, way in turned.items() if name.startswith(MOVED)}
    best = max(gains, key=lambda k: gains[k], default="")
    minds = (
        gains.get(best, 0.0) > 1.1
        or THRESHOLDS["wrong_preprocessing"].grade(number(seen["given"]["mismatch"])) != "fine"
    )
    return Sign("feeding_cut", uneven, best if gains.get(best, 0.0) > 1 else "", "warning" if minds else "note")


def values_lost(seen: Examined) -> Sign | None:
    """Values were cut off or rounded before they reach the net; for sure where all of the pool's suit it better."""
    given, others, left = seen["given"], seen["alternatives"], number(seen["fed"].get("levels", 1.0))
    gains = {name: suits(given, way) for name, way in others.items() if name.startswith(ALL_VALUES)}
    best = max(gains, key=lambda k: gains[k], default="")
    sure = gains.get(best, 0.0) >= RELIEVES
    return Sign("feeding_values", left, best if sure else "", "warning" if sure else "note") if left < 1 else None


def suits(given: Examined, other: Examined) -> float:
    """How much nearer to training its batch norms are, times how much more is told; for a net without, that squared."""
    told = number(other["information"]) / max(number(given["information"]), 1e-3)
    if given["mismatch"] is None:
        return told**2
    return told * max(number(given["mismatch"]), 1e-9) / max(number(other["mismatch"]), 1e-9)


def turned_off(turned: Mapping[str, Examined]) -> Sign | None:
    """Its batch norms are nearer to training and its answers tell more if the images are turned over or moved."""
    told = {name: number(way["information"]) for name, way in turned.items()}
    gains = {name: suits(turned["as given"], way) for name, way in turned.items() if told[name] > LEAST_TOLD}
    best = max(gains, key=lambda k: gains[k], default="as given")
    return Sign("feeding_turned", gains[best], best) if best != "as given" else None


def norms_off(seen: Examined) -> Sign | None:
    """The inputs of its batch norms are far from training, and another feeding brings them near; None without any."""
    given, others = seen["given"], seen["alternatives"]
    if given["mismatch"] is None:
        return None
    value = number(given["mismatch"])
    known = {k: number(a["mismatch"]) for k, a in others.items() if a["mismatch"] is not None}
    best = min(known, key=lambda k: known[k], default="")
    relief = value / max(known.get(best, np.inf), 1e-9)
    nearer = relief >= RELIEVES
    if best and number(others[best]["information"]) > LEAST_TOLD:  # answers that tell more prove it, too
        more = number(others[best]["information"]) / max(number(given["information"]), 1e-3)
        relief *= min(max(more, 1.0), MORE_TOLD)
    told = max(number(a["information"]) for a in [given, *others.values()])
    sure = relief >= THRESHOLDS["feeding_relief"].warning or value >= THRESHOLDS["feeding_unlike"].warning
    # a net that says nothing however it is fed has another fault
    sure = sure and told >= 2 * THRESHOLDS["says_nothing"].warning
    return Sign("wrong_preprocessing", value, best if nearer else "", "warning" if sure else "note")


def size_off(seen: Examined) -> Sign | None:
    """At another size its answers tell more, and its batch norms, if it has any, are nearer to training."""
    given, others, found = seen["given"], seen["alternatives"], []
    for size, other in ((size, others[size]) for size in SIZES if size in others):
        gain = number(other["spread"]) / max(number(given["spread"]), 1e-3)
        gain = max(gain, 0.8 * number(other["information"]) / max(number(given["information"]), 1e-3))
        if given["mismatch"] is None or number(other["mismatch"]) * 1.5 <= number(given["mismatch"]):
            found.append(Sign("feeding_size", gain, size))
    return max(found, key=lambda sign: sign.value, default=None)


def labels_off(given: Examined, others: Mapping[str, Examined]) -> Sign | None:
    """Another feeding, no stranger to its batch norms, tells the labels of its own images much better."""
    count = given.get("own", 0)
    if given["right"] is None or count < 20:
        return None
    gains = {
        name: number(other["right"]) - number(given["right"])
        for name, other in others.items()
        if given["mismatch"] is None or number(other["mismatch"]) <= number(given["mismatch"])
    }
    best = max(gains, key=lambda k: gains[k], default="")
    by_chance = 4 * float(np.sqrt(0.25 / count))  # of so many ways one gains two deviations by chance
    if not best or gains[best] < by_chance:
        return None
    return Sign("feeding_right", gains[best], best)


def answers_off(seen: Examined) -> Sign | None:
    """For a net without batch norms: another feeding makes its answers tell much more."""
    given, others = seen["given"], seen["alternatives"]
    if given["mismatch"] is not None or not others:
        return None
    told = {k: number(a["spread"]) for k, a in others.items()}
    best = max(told, key=lambda k: told[k])
    more = number(others[best]["information"]) >= number(given["information"]) + 0.1
    gain = told[best] / max(number(given["spread"]), 1e-3)
    return Sign("feeding_told", gain, best, "warning" if more else "note")


def feeding_finding(name: str, seen: Examined, sign: Sign) -> Finding:
    """The finding of a sign, with what other feedings do."""
    given, others, best = seen["given"], {**seen.get("turned", {}), **seen["alternatives"]}, sign.best
    unseen = [f"{share:.0%} at the {side}" for side, share in seen.get("cut", {}).items() if share]
    turn, (operation, arguments) = "Preprocess(size=…, mean=…, std=…)", TURNS.get(best, ("", ()))
    if operation:
        turn = f"lambda images: old.preprocess(images.{operation}({', '.join(map(repr, arguments))}))"
    numbers: dict[str, float | str] = {
        "told by its answers (share of log K)": number(given["information"]),
        "images fed: mean": " ".join(f"{v:.3g}" for v in seen["fed"]["mean"][:4]),
        "images fed: standard deviation": " ".join(f"{v:.3g}" for v in seen["fed"]["std"][:4]),
        "images fed: shape": "×".join(map(str, seen["fed"]["shape"])),
    }
    if best in others:
        then = others[best]
        numbers |= {"best of the other feedings": best, "batch norms then": number(then["mismatch"])}
        numbers |= {"told then": number(then["information"])}
        if then["right"] is not None:
            numbers |= {"right on its own images": number(given["right"]), "right then": number(then["right"])}
    with_norms = given["mismatch"] is not None
    ways = {"given in the run": given, **others}
    figure = Scalars(
        {k: number(a["mismatch"] if with_norms else a["spread"]) for k, a in ways.items()},
        unit="divergence from training" if with_norms else "share of log K",
        title=f"{name}: how other feedings suit it",
    )
    return judged(
        sign.threshold,
        sign.value,
        name,
        numbers,
        result=figure,
        at_most=sign.at_most,
        better=f"; {best} suits it better" if best else "",
        tried=f" (tried here with success: {best})" if best else "",
        rebuild=REBUILD.format(name=name, preprocess=turn),
        unseen=" and ".join(unseen),
    )
