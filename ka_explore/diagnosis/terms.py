"""Checks of the terms of the loss: which of them, and which teacher in them, pulls too hard or not at all."""

from collections.abc import Iterator

import numpy as np

from ka_explore.diagnosis.answers import EVEN
from ka_explore.diagnosis.evidence import CannotCheck, Evidence, group, judged
from ka_explore.diagnosis.findings import Attempt, Finding
from ka_explore.diagnosis.numbers import median, number
from ka_explore.diagnosis.thresholds import THRESHOLDS
from ka_explore.errors import InputError
from ka_explore.probes.gradients import gradient_ratio, norm
from ka_explore.probes.results import Curves, Scalars
from ka_explore.probes.samples import average


def gradient_ratios(evidence: Evidence) -> tuple[list[int], dict[str, list[float]]]:
    """Steps, and by term its gradient at the student's feature relative to the soft target's, where they are seen."""
    found = {}
    for snapshot in evidence.snapshots:
        try:
            ratios = gradient_ratio(snapshot).values
        except InputError:  # no gradient, or none of a soft target
            continue
        if any(ratio == ratio for ratio in ratios.values()):
            found[snapshot.step] = {term: ratio for term, ratio in ratios.items() if term not in evidence.soft_terms}
    # A stage in which the soft target alone moves the student says nothing of how the others pull.
    found = {step: ratios for step, ratios in found.items() if any(ratios.values())} or found
    terms = dict.fromkeys(term for ratios in found.values() for term in ratios)
    return list(found), {term: [ratios.get(term, float("nan")) for ratios in found.values()] for term in terms}


def dominating_term(evidence: Evidence) -> Iterator[Finding]:
    """Whether a term pulls the student many times harder than the soft target, or is nearly all of the loss."""
    weights = evidence.weights()
    steps, ratios = gradient_ratios(evidence)
    try:
        answer = evidence.answer_term()
    except CannotCheck:
        answer = ""
    if not steps and not answer:
        raise CannotCheck("neither gradients nor terms beside a soft target.")
    figure = Curves(
        {t: np.array(steps) for t in ratios},
        {t: np.array(v) for t, v in ratios.items()},
        unit="times the soft target's",
        title="gradients at the student's feature",
        levels={"the soft target's": 1.0},
        log=(False, True),
    )
    for term, values in ratios.items():
        # The first steps align whatever is far apart; what counts is where the student goes after them.
        first = max(THRESHOLDS["few_steps"].warning, 0.2 * max(steps))
        settled = [v for v, s in zip(values, steps, strict=True) if s >= first]
        ratio = median(settled or values)
        yield judged(
            "dominating_gradient",
            ratio,
            term,
            {"weight": weights.get(term, float("nan"))},
            result=figure,
            at_most="warning" if settled else "note",
            attempts=(
                *weighing(evidence, term, weights.get(term, 1.0) / max(ratio, 1e-9)),
                *balancing(evidence, ratio / THRESHOLDS["dominating_gradient"].warning),
            ),
        )
    if answer in weights and len(weights) > 1:
        quarter = max(len(evidence.last_stage()) // 4, 1)
        parts = {t: w * average(evidence.term(t)[-quarter:]) for t, w in weights.items()}
        total = sum(abs(v) for v in parts.values() if v == v)
        for term, part in parts.items():
            if term in evidence.soft_terms or not total > 0:
                continue
            fair = 0.1 * weights[term] * max(total - abs(part), 1e-12) / max(abs(part), 1e-12)
            yield judged(
                "dominating_loss",
                abs(part) / total,
                term,
                {"weight": weights[term]},
                result=Scalars(parts, title="weighted terms, last quarter of the stage"),
                attempts=weighing(evidence, term, fair),
            )


def weighing(evidence: Evidence, term: str, weight: float) -> tuple[Attempt, ...]:
    """A fork from the start in which a term weighs that much; none for a term without an option that weighs it."""
    option = evidence.about.get("weighed_by", {}).get(term)
    if not option:
        return ()
    weight = float(f"{min(weight, 1000.0):.2g}")
    # with an α of the paper that is where weights come from
    without = {"alpha": None} if evidence.options.get("alpha") is not None else {}
    return evidence.forks((f"Weigh {term!r} {weight:g}.", {option: weight, **without}))


def balancing(evidence: Evidence, times: float) -> tuple[Attempt, ...]:
    """A fork in which the terms balance each other, where there are two and the factors get there in the run's steps.

    GradNorm's factors move by at most the learning rate a step, the one up and the other down.
    """
    weighted = [term for term, weight in evidence.weights().items() if weight]
    reach = float(evidence.options.get("learning_rate", 0.0)) * len(evidence.last_stage())
    if len(weighted) < 2 or not times <= np.exp(min(reach, 20.0)):
        return ()
    return evidence.forks(("Let the terms balance each other (GradNorm).", {"balance": "gradnorm"}))


def dominating_teacher(evidence: Evidence) -> Iterator[Finding]:
    """Whether one teacher causes nearly all of a term's gradient, or of the error of features that are not brought
    to one scale."""
    if len(evidence.teachers) < 2:
        raise CannotCheck("there is one teacher.")
    shares: dict[str, dict[str, list[float]]] = {}
    for snapshot in evidence.snapshots:
        for name, values in group(snapshot, "gradient").items():
            term, _, teacher = name.partition("/")
            if teacher in snapshot.knows:
                shares.setdefault(term, {}).setdefault(teacher, []).append(norm(values))
    for term, sizes in shares.items():
        typical = {t: median(v) for t, v in sizes.items()}
        if len(typical) < 2 or not max(typical.values()) > 0:
            continue
        loud, rest = loudest(typical)
        yield judged(
            "dominating_teacher",
            typical[loud] / max(rest, 1e-12 * typical[loud], 1e-300),
            loud,
            {"term": term},
            term=term,
            times=typical[loud] / max(rest, 1e-300),
            attempts=evidence.forks((EVEN, {"targets": "standardised"})) if term in evidence.soft_terms else (),
            result=Scalars(typical, unit="gradient", title=f"part of each teacher in {term}"),
        )
    for what, kinds in (("reconstruction", ("mean", "sum")), ("feature_error", ("mean",))):
        layers = {t: evidence.found_of(t).get("layers", {}) for t in evidence.teaching}
        powers = {t: number(its.get(evidence.feature_layer(t), {}).get("variance")) for t, its in layers.items()}
        if evidence.options.get(what) in kinds and min(powers.values()) > 0:
            loud, rest = loudest(powers)
            yield judged(
                "dominating_feature",
                powers[loud] / rest,
                loud,
                {what: str(evidence.options[what])},
                attempts=(Attempt("Divide each error by its feature's variance.", {what: "relative"}, at=0),),
                result=Scalars(powers, unit="variance", title="variance of the teachers' features"),
            )


def loudest(values: dict[str, float]) -> tuple[str, float]:
    """The teacher of the largest value, and the median of the others'."""
    loud = max(values, key=lambda teacher: values[teacher])
    return loud, median([value for teacher, value in values.items() if teacher != loud])


def inert_term(evidence: Evidence) -> Iterator[Finding]:
    """Whether a term with a weight does nothing: its gradient, or its part of the loss, is next to none."""
    weights, rows = evidence.weights(), evidence.last_stage()
    terms = [t for t, w in weights.items() if w > 0 and t not in evidence.soft_terms]
    if not terms:
        raise CannotCheck("no term besides the soft target has a weight.")
    first = rows[: max(len(rows) // 10, 1)]
    answer = next((t for t in evidence.soft_terms if first and t in first[0]["terms"] and weights.get(t, 1.0)), "")
    # beside the soft target, not beside the loss, which another term may dominate
    total = average(np.array([abs(float(row["terms"][answer] if answer else row["loss"])) for row in first]))
    _, ratios = gradient_ratios(evidence)
    for term in terms:
        ratio = median(ratios.get(term, []))
        size = average(np.array([abs(float(row["terms"][term])) for row in first]))
        share = weights[term] * size / max(total, 1e-300)
        seen = {"gradient relative to the soft target's": ratio, "relative to the first soft targets": share}
        measure = [*seen][0 if ratio > 0 else 1]
        value = seen[measure]
        yield judged(
            "inert_term",
            value,
            term,
            {"weight": weights[term], **seen},
            weight=weights[term],
            measure=measure,
            attempts=weighing(evidence, term, min(weights[term] * 0.3 / max(value, 1e-9), 1000.0)),
        )
