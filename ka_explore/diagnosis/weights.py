"""Whether a teacher's weights are those it was trained to: parts that were never loaded, parts of another net."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ka_explore.diagnosis.evidence import Evidence, Examined, judged
from ka_explore.diagnosis.feeding import OFF, beside, signs_of
from ka_explore.diagnosis.findings import Finding
from ka_explore.diagnosis.numbers import number
from ka_explore.diagnosis.thresholds import THRESHOLDS
from ka_explore.probes.results import Scalars

Norms = Sequence[Mapping[str, Any]]  # see `ka_explore.diagnosis.examine.norms_of`

LEAST = 64  # weights of a layer below which nothing is said of how they were drawn
SURE = 200  # from which no trained layer keeps all within the bounds of its start, as a few dozen may
MANY = 1000  # for other starts, as a trained layer may look like one of them by chance
SORTED = 20_000  # of a larger layer so many are held against a distribution
CHANCE = 1.95  # distance of a sample from its own distribution that one in a thousand exceeds (Kolmogorov, Smirnov)

SIGNS_OF_LIFE = {"says_nothing": "information", "wrong_preprocessing": "mismatch"}  # thresholds and what they judge
FAR = 0.25  # the same for one after others that are: foreign images, too, bring late layers to half of that
SORTED_OUT = 20  # times nearer in another order: channels were shuffled, however the images are fed
HOME = 0.01  # divergence below which small samples are not told apart


def weights_not_loaded(evidence: Evidence) -> Iterator[Finding]:
    """Whether parts of a teacher are as they were made: random weights, batch norms that never saw a batch."""
    for name, seen in evidence.examined().items():
        parts: Mapping[str, Mapping[str, Any]] = seen.get("fresh", {})
        poor = something_is_off(seen)
        counted = {part: str(fresh["how"]) for part, fresh in parts.items() if fresh["sure"] or poor}
        named = [repr(part) for part in list(counted)[:3]] + [f"{len(counted) - 3} more"] * (len(counted) > 3)
        yield judged(
            "weights_not_loaded",
            float(len(counted)),
            name,
            {"share of its parameters": number(seen.get("fresh_share")), **dict(list(counted.items())[:5])},
            parts=" and ".join(filter(None, (", ".join(named[:-1]), *named[-1:]))),
            look="looks" if len(counted) == 1 else "look",
        )


def something_is_off(seen: Examined) -> bool:
    """Whether a teacher's answers or batch norms are as poor as random parts would make them."""
    norms: Norms = seen.get("norms", ())
    told, order = number(seen["given"]["information"]), reordered(norms)[1]
    if THRESHOLDS["says_nothing"].grade(told) != "fine" or THRESHOLDS["mixed_order"].grade(order) != "fine":
        return True
    far = bool(norms) and (norms[0]["divergence"] >= OFF or THRESHOLDS["mixed_jump"].grade(jump(norms)[1]) != "fine")
    return far and not fed_better(seen)


def fed_better(seen: Examined) -> bool:
    """Whether another feeding mends what is wrong with a teacher."""
    return any(sign.sure and sign.best for sign in signs_of(seen))


def mixed_weights(evidence: Evidence) -> Iterator[Finding]:
    """Whether a batch norm gets what it never got in training although those before it do, or channels reordered.

    Or whether they are far, though the first is not, though others' are not, however it is fed.
    """
    examined = evidence.examined()
    fine = {name for name, seen in examined.items() if is_fine(seen)}
    for name, seen in examined.items():
        norms: Norms = seen.get("norms", ())
        if not norms:
            continue
        leap, order = jump(norms), reordered(norms)
        if fed_better(seen):  # it is not the weights' fault, unless channels in another order are at home
            leap, order = (0, 0.0), order if order[1] >= SORTED_OUT else (0, 0.0)
        figure = Scalars(
            {norm["name"]: float(norm["divergence"]) for norm in norms},
            unit="divergence from training",
            title=f"{name}: how far its batch norms are from training, in the order in which they run",
        )
        lost = (0, anyhow(seen) if fine - {name} else 0.0)
        within = norms[0]["divergence"] < OFF and not fed_better(seen)  # it begins within the net
        alone = (leap[0], beside(name, examined) if within else 0.0)
        signs = {"mixed_order": order, "mixed_jump": leap, "mixed_anyhow": lost, "mixed_alone": alone}
        for key, (place, value) in signs.items():
            here, before = norms[place], [norm["divergence"] for norm in norms[:place]]
            numbers = {"layer": here["name"], "its divergence from training": here["divergence"]}
            numbers |= {"the largest before it": max(before)} if before else {}
            numbers |= {"with channels in the order that fits best": here["reordered"]} if here["reordered"] else {}
            yield judged(
                key,
                value,
                name,
                numbers,
                result=figure,
                layer=here["name"],
                before=", though all before it is" if place else "",
            )


def is_fine(seen: Examined) -> bool:
    """Whether a teacher's answers tell something and its batch norms, if it has any, are at home."""
    off = (THRESHOLDS[key].grade(number(seen["given"][value])) for key, value in SIGNS_OF_LIFE.items())
    return all(grade == "fine" for grade in off)


def anyhow(seen: Examined) -> float:
    """How far batch norms are under the feeding that brings them nearest, where none makes a teacher tell anything."""
    given, others = seen["given"], (*seen["alternatives"].values(), *seen.get("turned", {}).values())
    near = [given, *(way for way in others if number(way["mismatch"]) <= number(given["mismatch"]))]
    told = max(number(way["information"]) for way in near)
    return min(number(way["mismatch"]) for way in near) if told < 2 * THRESHOLDS["says_nothing"].warning else 0.0


def jump(norms: Norms) -> tuple[int, float]:
    """Where the first batch norm is that is far from training, and how many times farther than all before it."""
    place = next((i for i, norm in enumerate(norms) if norm["divergence"] >= FAR), 0)
    before = max((norm["divergence"] for norm in norms[:place]), default=math.inf)
    return place, norms[place]["divergence"] / max(before, HOME) if norms else 0.0


def reordered(norms: Norms) -> tuple[int, float]:
    """Where the first batch norm is that is not at home, and how many times nearer another order of channels is.

    At most as many times as it is farther than all before it: of many channels some order always fits a little better.
    """
    for place, norm in enumerate(norms):
        if norm["reordered"] is not None:
            before = max((other["divergence"] for other in norms[:place]), default=0.0)
            nearer, farther = (
                norm["divergence"] / least for least in (max(norm["reordered"], 1e-6), max(before, HOME))
            )
            return place, min(nearer, farther)
    return 0, 0.0


def drawn(weight: np.ndarray, bias: np.ndarray | None = None) -> tuple[str, bool]:
    """How a layer's weights look as if freshly drawn, and whether that is no chance; empty where they do not.

    Held against the usual random starts: uniform within the bounds of torch, Glorot, He and LeCun, and normal with
    their deviations or 0.02 or 0.01.

    Args:
        weight: (output, input, …) of a convolution or linear map.
        bias: (output,), None where there is none. It starts at 0, or uniform within 1 / √(number of inputs).
    """
    values = weight.ravel().astype(np.float64)
    count, inputs, outputs = len(values), weight[0].size, weight.size // weight.shape[1]
    within = 1 + 1e-3  # what half precision rounds
    if count < LEAST or (bias is not None and np.abs(bias).max() > within / math.sqrt(inputs)):
        return "", False
    if uneven(weight, 0) > 4 or uneven(weight, 1) > 4:  # training makes some channels matter more
        return "", False
    ordered = np.sort(values[:: -(-count // SORTED)])
    most, deviation = float(np.abs(values).max()), math.sqrt(float(np.square(values).mean()))
    both = 2 / (inputs + outputs)
    for variance in (1 / 3 / inputs, *((1 / inputs, 2 / inputs, 2 / outputs, both) if count >= MANY else ())):
        bound = math.sqrt(3 * variance)
        if bound * (1 - 20 / count) <= most <= bound * within and follows(ordered, ordered / bound / 2 + 0.5):
            return f"uniform within {bound:.3g}", count >= SURE
    for variance in (1 / inputs, 2 / inputs, 2 / outputs, both, 0.02**2, 0.01**2) if count >= MANY else ():
        usual = math.sqrt(variance)
        if abs(deviation / usual - 1) < 4 / math.sqrt(2 * count) and follows(ordered, normal(ordered / usual)):
            return f"normal with deviation {usual:.3g}", bias is not None and not bias.any()
    return "", False


def uneven(weight: np.ndarray, axis: int) -> float:
    """How far the channels' mean squares differ more than by chance, in deviations of what independent draws show."""
    rows = np.moveaxis(weight.astype(np.float64), axis, 0).reshape(weight.shape[axis], -1)
    squares = np.square(rows).mean(axis=1)
    spread = (np.square(squares - squares.mean()) * rows.shape[1] / (2 * squares.mean() ** 2 + 1e-300)).sum()
    return float((spread - len(rows)) / math.sqrt(2 * len(rows)))


def follows(ordered: np.ndarray, expected: np.ndarray) -> bool:
    """Whether ordered values may come from a distribution, given its distribution function at each of them."""
    steps = np.arange(len(ordered) + 1) / len(ordered)
    far = max(float(np.abs(expected - steps[1:]).max()), float(np.abs(expected - steps[:-1]).max()))
    return math.sqrt(len(ordered)) * far < CHANCE


def normal(values: np.ndarray) -> np.ndarray:
    """The distribution function of the standard normal distribution."""
    from scipy.special import ndtr

    return np.asarray(ndtr(values))
