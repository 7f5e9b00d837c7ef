"""Checks of the training: terms and teachers that pull too hard or not at all, rates, length, the student's size."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from ka_explore.diagnosis.evidence import CannotCheck, Evidence, judged, weight_options
from ka_explore.diagnosis.findings import Attempt, Finding
from ka_explore.diagnosis.numbers import (
    cka,
    covariance_rank,
    finite_rows,
    left_over,
    mean,
    median,
    size,
    smooth,
)
from ka_explore.diagnosis.space import feature_layer, group, pull, smaller
from ka_explore.diagnosis.thresholds import THRESHOLDS
from ka_explore.probes.logits import entropy, logsumexp, softmax
from ka_explore.probes.results import Curves, Scalars
from ka_explore.run.snapshot import SOFT_TERMS

NOT_BY_STEPS = ("oracle", "ensemble", "permutation_merging")


def not_finite(evidence: Evidence) -> Iterator[Finding]:
    """Whether answers and features are finite; arrays that are NaN where a sample was not asked do not count."""
    kinds = ("scores", "logits", "feature", "common", "error", "entropy", "code", "component", "branch")
    arrays = {n: a for n, a in evidence.last.arrays.items() if n.split("/")[0] in kinds}
    bad = {name: float((~np.isfinite(a)).mean()) for name, a in arrays.items() if a.dtype.kind == "f"}
    worst = max(bad, key=lambda name: bad[name], default="")
    net = worst.split("/")[1] if "/" in worst else worst
    yield judged(
        "not_finite",
        bad.get(worst, 0.0),
        f"{worst} holds values that are not finite (NaN or infinite).",
        depth=8.5 if net in evidence.last.knows else 4.5,
        subject=net if net in evidence.last.knows else "",
        measure="share of values",
        why="They spread through every loss they touch.",
        attempts=(
            Attempt("Fork before it happened, with a smaller learning rate.", {"learning_rate": smaller(evidence)}, 0),
        )
        if "learning_rate" in evidence.options
        else (),
    )


def pulls(evidence: Evidence) -> tuple[list[int], dict[str, list[float]]]:
    """Steps, and by term its gradient at the student's feature relative to the soft target's.

    Raises CannotCheck where no snapshot holds gradients with a soft target.
    """
    steps, found = [], []
    for snapshot in evidence.snapshots:
        sizes = {k: size(a) for k, a in group(snapshot.arrays, "gradient").items() if "/" not in k}
        answer = next((sizes[k] for k in SOFT_TERMS if k in sizes), float("nan"))
        if answer > 0:
            steps.append(snapshot.step)
            found.append({term: value / answer for term, value in sizes.items() if term not in SOFT_TERMS})
    if not steps:
        raise CannotCheck("no snapshot holds gradients beside a soft target's.")
    terms = dict.fromkeys(term for ratios in found for term in ratios)
    return steps, {term: [ratios.get(term, float("nan")) for ratios in found] for term in terms}


def dominating_term(evidence: Evidence) -> Iterator[Finding]:
    """Whether a term pulls the student many times harder than the soft target, or is nearly all of the loss."""
    weights = evidence.weights()
    try:
        steps, ratios = pulls(evidence)
    except CannotCheck:
        steps, ratios = [], {}
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
    why = (
        "The student goes where the strongest gradient points. An alignment that outweighs the soft target makes its "
        "features look like the teachers' on average and leaves the answers unlearned."
    )
    for term, values in ratios.items():
        # The first steps align whatever is far apart; what counts is where the student goes after them.
        settled = [v for v, s in zip(values, steps, strict=True) if s >= max(limit("few_steps"), 0.2 * max(steps))]
        ratio = median(settled or values)
        yield judged(
            "dominating_gradient",
            ratio,
            f"The term {term!r} dominates: its gradient at the student's feature is {ratio:.3g} times the soft "
            "target's.",
            name="dominating_term",
            depth=5.2,
            subject=term,
            evidence={"weight": weights.get(term, float("nan"))},
            why=why,
            result=figure,
            measure="gradient relative to the soft target's (median over steps)",
            at_most="warning" if settled else "note",
            attempts=weigh(evidence, term, weights.get(term, 1.0) / max(ratio, 1e-9)),
        )
    rows = evidence.last_stage()
    if answer and answer in weights and len(weights) > 1:
        parts = {t: w * mean(evidence.term(t)[-max(len(rows) // 4, 1) :].tolist()) for t, w in weights.items()}
        total = sum(abs(v) for v in parts.values() if v == v)
        for term, part in parts.items():
            if term in SOFT_TERMS or not total > 0:
                continue
            yield judged(
                "dominating_loss",
                abs(part) / total,
                f"The term {term!r} dominates: it is {abs(part) / total:.0%} of the loss.",
                name="dominating_term",
                depth=5.2,
                subject=term,
                evidence={"weight": weights[term]},
                why=why,
                result=Scalars(parts, title="weighted terms, last quarter of the stage"),
                measure="share of the weighted loss (last quarter)",
                attempts=weigh(
                    evidence, term, 0.1 * weights[term] * max(total - abs(part), 1e-12) / max(abs(part), 1e-12)
                ),
            )


def weigh(evidence: Evidence, term: str, weight: float) -> tuple[Attempt, ...]:
    """A fork from the start in which a term weighs that much, and one in which the terms balance themselves."""
    options = evidence.options
    option = next((o for o in weight_options(term) if o in options), "")
    found = []
    if option and weight == weight:
        found.append(Attempt(f"Weigh {term!r} {weight:.2g}.", {option: float(f"{min(weight, 1000.0):.2g}")}, at=0))
    if "balance" in options:
        found.append(Attempt("Let the terms balance each other (GradNorm).", {"balance": "gradnorm"}, at=0))
    return tuple(found)


def dominating_teacher(evidence: Evidence) -> Iterator[Finding]:
    """Whether one teacher causes nearly all of a term's gradient, or of the error of features that are not brought
    to one scale."""
    if len(evidence.teachers) < 2:
        raise CannotCheck("there is one teacher.")
    found = False
    shares: dict[str, dict[str, list[float]]] = {}
    for snapshot in evidence.snapshots:
        for name, values in group(snapshot.arrays, "gradient").items():
            term, _, teacher = name.partition("/")
            if teacher in snapshot.knows:
                shares.setdefault(term, {}).setdefault(teacher, []).append(size(values))
    for term, sizes in shares.items():
        typical = {t: median(v) for t, v in sizes.items()}
        if len(typical) < 2 or not max(typical.values()) > 0:
            continue
        found = True
        loud = max(typical, key=lambda t: typical[t])
        rest = median([v for t, v in typical.items() if t != loud])
        yield judged(
            "dominating_teacher",
            typical[loud] / max(rest, 1e-12 * typical[loud], 1e-300),
            f"Teacher {loud!r} dominates the term {term!r}: its part of the gradient is "
            f"{typical[loud] / max(rest, 1e-300):.3g} times the others'.",
            depth=5.3,
            subject=loud,
            measure="gradient relative to the other teachers'",
            evidence={"term": term},
            why="The student is pulled to one teacher; the others only disturb.",
            attempts=(*weigh(evidence, term, float("nan")),),
            result=Scalars(typical, unit="gradient", title=f"part of each teacher in {term}"),
        )
    for what, kinds in (("reconstruction", ("mean", "sum")), ("feature_error", ("mean",))):
        if evidence.options.get(what) in kinds and evidence.examination:
            powers = {t: feature_power(evidence, t) for t in evidence.teaching}
            if min(powers.values()) > 0:
                found = True
                loud = max(powers, key=lambda t: powers[t])
                rest = median([v for t, v in powers.items() if t != loud])
                yield judged(
                    "dominating_feature",
                    powers[loud] / rest,
                    f"Teacher {loud!r} dominates the reconstruction: its feature's variance is "
                    f"{powers[loud] / rest:.3g} times the others', and the error is not divided by it.",
                    name="dominating_teacher",
                    depth=5.4,
                    subject=loud,
                    measure="variance of its feature relative to the others'",
                    evidence={what: str(evidence.options[what])},
                    why="The common space is made for the loudest feature; what the others know costs next to nothing "
                    "to forget.",
                    attempts=(Attempt("Divide each error by its feature's variance.", {what: "relative"}, at=0),),
                    result=Scalars(powers, unit="variance", title="variance of the teachers' features"),
                )
    if not found:
        raise CannotCheck("the stages seen do not say what each teacher adds to a term.")


def feature_power(evidence: Evidence, teacher: str) -> float:
    """The variance of a teacher's feature map, as examined; NaN where it was not."""
    layers = (evidence.examination or {}).get("teachers", {}).get(teacher, {}).get("layers", {})
    value = layers.get(feature_layer(evidence, teacher), {}).get("variance")
    return float("nan") if value is None else float(value)


def inert_term(evidence: Evidence) -> Iterator[Finding]:
    """Whether a term with a weight does nothing: its gradient, or its part of the loss, is next to none."""
    weights, rows = evidence.weights(), evidence.last_stage()
    terms = [t for t, w in weights.items() if w > 0 and t not in SOFT_TERMS]
    if not terms:
        raise CannotCheck("no term besides the soft target has a weight.")
    first = rows[: max(len(rows) // 10, 1)]
    answer = next((t for t in SOFT_TERMS if first and t in first[0]["terms"] and weights.get(t, 1.0)), "")
    # beside the soft target, not beside the loss, which another term may dominate
    total = mean([abs(float(row["terms"][answer] if answer else row["loss"])) for row in first])
    for term in terms:
        ratio = pull(evidence, term)
        share = weights[term] * mean([abs(float(row["terms"][term])) for row in first]) / max(total, 1e-300)
        reaches = ratio > 0
        value = ratio if reaches else share
        yield judged(
            "inert_term",
            value,
            f"The term {term!r} is inert: with its weight of {weights[term]:g} it moves nothing.",
            depth=4.6,
            subject=term,
            evidence={
                "weight": weights[term],
                "gradient relative to the soft target's": ratio,
                "relative to the first soft targets": share,
            },
            measure="gradient relative to the soft target's" if reaches else "relative to the first soft targets",
            why="The run looks like one with this term and is one without it.",
            attempts=weigh(evidence, term, min(weights[term] * 0.3 / max(value, 1e-9), 1000.0)),
        )


def rate_too_high(evidence: Evidence) -> Iterator[Finding]:
    """Whether the loss leaps up within a stage, far above where the stage began."""
    if len(evidence.rows) < 2:
        raise CannotCheck("fewer than two steps.")
    leaps: dict[str, float] = {}
    for stage in dict.fromkeys(row["stage"] for row in evidence.rows):
        losses = np.array([row["loss"] for row in evidence.rows if row["stage"] == stage], np.float64)
        start = median(losses[: max(len(losses) // 50, 1)].tolist())
        if len(losses) > 1 and start > 0:
            leaps[stage] = float(np.nanmax(losses)) / start
    stage = max(leaps, key=lambda s: leaps[s], default="")
    rates = [float(row["rate"]) for row in evidence.rows]
    index = np.array([row["step"] for row in evidence.rows])
    yield judged(
        "rate_too_high",
        leaps.get(stage, float("nan")),
        f"The learning rate is too high: in stage {stage!r} the loss leapt to {leaps.get(stage, 0):.3g} times "
        "its start.",
        depth=6.8,
        evidence={"largest learning rate": max(rates), "stage": stage},
        measure="largest loss relative to the stage's first",
        why="Steps overshoot; channels die on the way, and what was learned before the leap is lost.",
        attempts=tuple(
            Attempt(f"Take {rate:g}.", {"learning_rate": rate}, at=0)
            for rate in (float(f"{max(rates) / 10:.3g}"), float(f"{max(rates) / 100:.3g}"))
        ),
        result=Curves(
            {"loss": index},
            {"loss": np.array([row["loss"] for row in evidence.rows])},
            unit="loss",
            title="loss",
            log=(False, True),
        ),
    )


def behind(evidence: Evidence) -> dict[str, float]:
    """How much of its targets the student has not learned, by what they may be: 0 none, 1 no better than their mean.

    ``alone``: each teacher's own answer within its classes, median over teachers; ``joint``: all answers of a task side
    by side, classes of one name joined; ``surest``: that of the teacher of least entropy. A method aims at one of
    these, so the least counts.

    Raises CannotCheck for a method that does not learn from teachers step by step, or where nothing can be compared.
    """
    if evidence.method in NOT_BY_STEPS:
        raise CannotCheck("the method does not learn the teachers' answers step by step.")
    last = evidence.last
    if "scores" not in last.arrays:
        raise CannotCheck("the last snapshot has no scores.")
    scores, found = last.arrays["scores"], {}
    alone = {t: left_over(evidence.logits(t), scores[:, list(known)]) for t, known in last.knows.items()}
    found["alone"] = median(list(alone.values()))
    joint, surest = [], []
    for task in dict.fromkeys(evidence.task_of.values()):
        names = [t for t, its in evidence.task_of.items() if its == task]
        if len(names) < 2:
            joint.append(alone[names[0]])
            surest.append(alone[names[0]])
            continue
        classes = sorted({c for t in names for c in last.knows[t]})
        wide = {t: np.full((len(scores), len(classes)), -1e3) for t in names}
        for t in names:
            wide[t][:, [classes.index(c) for c in last.knows[t]]] = evidence.logits(t)
        with np.errstate(invalid="ignore"):  # NaN stays NaN and is left out
            joint.append(left_over(np.logaddexp.reduce(list(wide.values())), scores[:, classes]))
        best = np.stack([entropy(evidence.logits(t)) for t in names]).argmin(axis=0)
        chosen = np.stack(list(wide.values()))[best, np.arange(len(best))]
        surest.append(left_over(chosen, scores[:, classes]))
    found |= {"joint": median(joint), "surest": median(surest)}
    found = {what: value for what, value in found.items() if value == value}
    if not found:
        raise CannotCheck("no teacher's answers tell anything.")
    return found


def not_learned(evidence: Evidence) -> Iterator[Finding]:
    """Whether the student is far from its teachers, and why: stopped early, too slow, or too small."""
    left = behind(evidence)
    rows = evidence.last_stage()
    if not rows:
        raise CannotCheck("no step was made.")
    value = min(left.values())
    answer = evidence.answer_term()
    term = evidence.term(answer)
    window = max(len(term) // 10, 1)
    curve = smooth(term.tolist(), window)
    first, end = float(curve[0]), float(curve[-1])
    early = term[: max(min(len(term), 60), 1)]
    speed = (first - float(smooth(early.tolist(), max(len(early) // 10, 1))[-1])) / max(abs(first), 1e-12) / len(early)
    later = curve[len(curve) * 2 // 3 :]
    falling = (float(later[0]) - end) / max(first - end, 1e-12) if len(curve) > 5 else 1.0
    done, steps = len(evidence.rows), evidence.steps or len(evidence.rows)
    moved = movement(evidence)
    parameters = float((evidence.examination or {}).get("student", {}).get("parameters", float("nan")))
    nets = (evidence.examination or {}).get("teachers", {}).values()
    teachers = max((float(seen["parameters"]) for seen in nets), default=float("nan"))
    needed, has = needed_rank(evidence), student_channels(evidence)
    numbers: dict[str, float | str] = {
        "measured on the answers": min(left, key=lambda k: left[k]),
        "steps done": float(done),
        "steps in all": float(steps),
        "speed at the start (share of the soft target a step)": speed,
        "still falling (last third's part of the whole fall)": falling,
        "student's feature: moved since the first snapshot (1 − CKA)": moved,
        "student's feature: channels": has,
        "directions the teachers' answers need": needed,
        "parameters relative to the largest teacher": parameters / teachers if teachers else float("nan"),
    }
    small = has < 0.9 * needed or parameters / teachers <= limit("small_student")
    figure = Curves(
        {answer: np.array([row["step"] for row in rows])[len(rows) - len(curve) :]},
        {answer: curve},
        unit="term, running mean",
        title="what the student has learned of the answers",
    )
    unfinished = done < 0.5 * steps
    # Adam moves a weight by at most the rate a step, whatever the gradient; SGD by far less.
    low = limit("low_rate") * (1 if evidence.options.get("optimizer", "adam") == "adam" else 10)
    slow = speed <= limit("slow_start") and len(term) >= 20 and float(evidence.options.get("learning_rate", 0.0)) <= low
    measure = "not learned of the teachers' answers (1: no better than their mean)"
    rate = float(evidence.options.get("learning_rate", float("nan")))
    found = partial(judged, "not_learned", value, evidence=numbers, measure=measure, result=figure)
    quick = {"learning_rate": float(f"{min(rate * 30, 3e-3):.3g}")} if rate < 1e-3 else {"learning_rate": rate * 3}
    longer = {"steps": int(max(400, 4 * steps))}
    # One of these three is named; a small student that is not slow for want of steps cannot be helped by more of them.
    if small and not unfinished and len(term) >= 60 and not (rate < 2e-4):
        yield found(
            "The student is too small for what its teachers know.",
            name="student_too_small",
            depth=4.9,
            why="It has no room for all the answers, however long it learns, and gives up those of weaker gradient.",
            attempts=(
                Attempt(
                    "Double its width.", {"student_width": float(evidence.options.get("student_width", 1.0)) * 2}, at=0
                ),
                Attempt("Take the problem's own width.", {"student_width": 1.0}, at=0),
            ),
        )
    elif slow and not small:
        yield found(
            f"The learning rate of {rate:g} is too low: the student has hardly moved.",
            name="rate_too_low",
            depth=4.9,
            why="At this pace the run ends before the student has left its first, random answers.",
            attempts=(Attempt("Take a larger rate.", quick, at=0), Attempt("Give it more steps.", longer)),
        )
    else:
        short = unfinished or done < limit("few_steps") or falling >= limit("still_falling")
        yield found(
            f"The run stopped too early: after {done} steps the student is far from its teachers' answers."
            if short
            else "The student is far from its teachers' answers, though it has stopped learning.",
            name="stopped_early" if short else "student_behind",
            depth=4.8 if short else 1,
            why="Terms that align features are easy and fall first; the answers take longer.",
            attempts=(
                Attempt("Go on.", code="run.advance(None)")
                if done < steps
                else Attempt("Give it more steps.", longer, at=0),
            ),
            at_most="warning" if short else "note",
        )


def limit(name: str) -> float:
    """Where the table begins to warn."""
    return THRESHOLDS[name].warning


def movement(evidence: Evidence) -> float:
    """1 − CKA of the student's last feature between the first and the last snapshot; NaN for a single one."""
    seen = [s for s in evidence.snapshots if any(n.startswith("feature/student/") for n in s.arrays)]
    if len(seen) < 2 or seen[0].step == seen[-1].step:
        return float("nan")
    names = [n for n in seen[-1].arrays if n.startswith("feature/student/") and n in seen[0].arrays]
    return 1 - cka(seen[0].arrays[names[-1]], seen[-1].arrays[names[-1]]) if names else float("nan")


def needed_rank(evidence: Evidence) -> float:
    """Effective rank of all teachers' answers side by side."""
    try:
        parts = finite_rows(*(evidence.logits(t) for t in evidence.teachers))
    except CannotCheck:
        return float("nan")
    return covariance_rank(np.concatenate([z - z.mean(axis=1, keepdims=True) for z in parts], axis=1))


def student_channels(evidence: Evidence) -> float:
    """Channels of the student's last feature; NaN where it is not seen."""
    features = list(group(evidence.last.arrays, "feature/student").values())
    return float(features[-1].shape[1]) if features else float("nan")


def starved_teacher(evidence: Evidence) -> Iterator[Finding]:
    """Whether the selection lets a teacher teach nearly no image of its task."""
    kind = evidence.options.get("selection")
    if kind is None:
        raise CannotCheck("the method selects no teacher.")
    found = False
    for name in evidence.teaching:
        mates = [mate for mate in evidence.mates(name) if mate in evidence.teaching]
        if not mates:
            continue
        found = True
        logits = finite_rows(*(evidence.logits(t) for t in (name, *mates)))
        if not len(logits[0]):
            continue
        surprise = np.stack([entropy(z) for z in logits], axis=1)
        if kind == "hard":
            weight = (surprise.argmin(axis=1) == 0).astype(float)
        elif kind == "soft":
            weight = softmax(-surprise / float(evidence.options.get("selection_temperature", 0.1)))[:, 0]
        elif kind == "claim":
            weight = softmax(np.stack([logsumexp(z) for z in logits], axis=1))[:, 0]
        else:
            weight = np.full(len(surprise), 1 / len(logits))
        yield judged(
            "starved_teacher",
            float(weight.mean()) * len(logits),
            f"The selection starves teacher {name!r}: it teaches {weight.mean():.1%} of the images.",
            depth=5.35,
            subject=name,
            evidence={
                "selection": str(kind),
                "its mean entropy (nats)": float(surprise[:, 0].mean()),
                **{f"mean entropy of {t}": float(surprise[:, i].mean()) for i, t in enumerate(mates, start=1)},
            },
            measure="share of the teaching relative to a fair share",
            why="What only it knows reaches no component and no student.",
            attempts=(
                Attempt("Let all teachers teach, weighted by how sure they are.", {"selection": "soft"}, at=0),
                Attempt("Let every teacher weigh the same, whatever it won.", {"weighting": "teacher"}, at=0),
                Attempt("Do without a selection.", {"selection": "none"}, at=0),
            ),
            result=Scalars(
                {t: float(m) for t, m in zip((name, *mates), surprise.mean(axis=0), strict=True)},
                unit="nats",
                title="mean entropy of the answers",
            ),
        )
    if not found:
        raise CannotCheck("no task has two teachers.")
