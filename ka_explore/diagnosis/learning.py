"""Checks of the training: values that are not finite, rates, length, the student's size, whom a selection starves."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from ka_explore.diagnosis.evidence import CannotCheck, Evidence, group, judged
from ka_explore.diagnosis.findings import Attempt, Finding
from ka_explore.diagnosis.numbers import finite_rows, left_over, median, running_mean
from ka_explore.diagnosis.thresholds import THRESHOLDS
from ka_explore.probes.logits import entropy, logsumexp, softmax
from ka_explore.probes.results import Curves, Scalars
from ka_explore.probes.similarity import cka
from ka_explore.probes.spectrum import rank, strengths

NOT_FINITE = "[name for name, p in problem.teacher({!r}).module.named_parameters() if not p.isfinite().all()]"
SELECTIONS = {
    "soft": "Let all teachers teach, weighted by how sure they are.",
    "claim": "Let all teachers teach, weighted by their share of the joint answer.",
    "none": "Do without a selection.",
}


def not_finite(evidence: Evidence) -> Iterator[Finding]:
    """Whether answers and features are finite; arrays that are NaN where a sample was not asked do not count."""
    kinds = ("scores", "logits", "feature", "common", "error", "entropy", "code", "component", "branch")
    arrays = {n: a for n, a in evidence.last.arrays.items() if n.split("/")[0] in kinds}
    bad = {name: float((~np.isfinite(a)).mean()) for name, a in arrays.items() if a.dtype.kind == "f"}
    worst = max(bad, key=lambda name: bad[name], default="")
    kind, net = [*worst.split("/"), worst][:2]
    # what becomes of it in the common space is not the teacher's fault
    of_teacher = kind in ("logits", "feature") and net in evidence.last.knows
    yield judged(
        "not_finite",
        bad.get(worst, 0.0),
        net if of_teacher else "",
        worst=worst,
        depth=8.5 if of_teacher else 4.5,
        # a teacher's own are there at any rate
        attempts=(Attempt("Look where in it they begin.", code=NOT_FINITE.format(net)),)
        if of_teacher
        else evidence.forks(("Take a smaller learning rate.", evidence.lower_rate())),
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
    steps, values = ({"loss": np.array([row[what] for row in evidence.rows])} for what in ("step", "loss"))
    rate = max(float(row["rate"]) for row in evidence.rows)
    yield judged(
        "rate_too_high",
        leaps.get(stage, float("nan")),
        evidence={"largest learning rate": rate, "stage": stage},
        stage=stage,
        leap=leaps.get(stage, 0),
        attempts=tuple(
            Attempt(f"Take {lower:g}.", {"learning_rate": lower}, at=0)
            for lower in (float(f"{rate / 10:.3g}"), float(f"{rate / 100:.3g}"))
        ),
        result=Curves(steps, values, unit="loss", title="loss", log=(False, True)),
    )


def unlearned(evidence: Evidence) -> dict[str, float]:
    """How much of its targets the student has not learned, by what they may be: 0 none, 1 no better than their mean.

    ``alone``: each teacher's own answer within its classes, median over teachers; ``joint``: all answers of a task side
    by side, classes of one name joined; ``surest``: that of the teacher of least entropy. A method aims at one of
    these, so the least counts.

    Raises CannotCheck for a method that does not learn from teachers step by step, or where nothing can be compared.
    """
    last = evidence.last
    if "scores" not in last.arrays:
        raise CannotCheck("the last snapshot has no scores.")
    scores = last.arrays["scores"]
    alone = {t: left_over(evidence.logits(t), scores[:, list(known)]) for t, known in last.knows.items()}
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
    found = {"alone": median(list(alone.values())), "joint": median(joint), "surest": median(surest)}
    found = {what: value for what, value in found.items() if value == value}
    if not found:
        raise CannotCheck("no teacher's answers tell anything.")
    return found


def not_learned(evidence: Evidence) -> Iterator[Finding]:
    """Whether the student is far from its teachers, and why: stopped early, too slow, or too small."""
    rows, options = evidence.last_stage(), evidence.options
    done, steps = len(evidence.rows), evidence.steps or len(evidence.rows)
    if not rows:
        raise CannotCheck("no step was made.")
    answer = evidence.answer_term()
    # with the true labels, or with weights that are set and not trained
    if evidence.about.get("uses_labels") or steps == 1:
        raise CannotCheck("the method does not learn the teachers' answers step by step.")
    left = unlearned(evidence)
    term = evidence.term(answer)
    curve = running_mean(term, max(len(term) // 10, 1))
    first, end, early = float(curve[0]), float(curve[-1]), term[:60]
    speed = (first - float(running_mean(early, max(len(early) // 10, 1))[-1])) / max(abs(first), 1e-12) / len(early)
    later = curve[len(curve) * 2 // 3 :]
    falling = (float(later[0]) - end) / max(first - end, 1e-12) if len(curve) > 5 else 1.0
    seen = evidence.examination or {}
    largest = max((float(its["parameters"]) for its in seen.get("teachers", {}).values()), default=0.0)
    size = float(seen.get("student", {}).get("parameters", float("nan"))) / (largest or float("nan"))
    features = list(group(evidence.last, "feature/student").values())
    needed, has = needed_rank(evidence), float(features[-1].shape[1]) if features else float("nan")
    numbers: dict[str, float | str] = {
        "measured on the answers": min(left, key=lambda k: left[k]),
        "steps done": float(done),
        "steps in all": float(steps),
        "speed at the start (share of the soft target a step)": speed,
        "still falling (last third's part of the whole fall)": falling,
        "student's feature: moved since the first snapshot (1 − CKA)": feature_moved(evidence),
        "student's feature: channels": has,
        "directions the teachers' answers need": needed,
        "parameters relative to the largest teacher": size,
    }
    small = has < 0.9 * needed or size <= warned("small_student")
    figure = Curves(
        {answer: np.array([row["step"] for row in rows])[len(rows) - len(curve) :]},
        {answer: curve},
        unit="term, running mean",
        title="what the student has learned of the answers",
    )
    unfinished = done < 0.5 * steps
    # Adam moves a weight by at most the rate a step, whatever the gradient; SGD by far less.
    low = warned("low_rate") * (1 if options.get("optimizer", "adam") == "adam" else 10)
    slow = speed <= warned("slow_start") and len(term) >= 20 and float(options.get("learning_rate", 0.0)) <= low
    rate = float(options.get("learning_rate", float("nan")))
    finding = partial(judged, value=min(left.values()), evidence=numbers, result=figure, rate=rate, done=done)
    usual = 10 * low  # from scratch
    quick = {"learning_rate": float(f"{usual if rate < usual else 3 * rate:.3g}")}
    width = float(options.get("student_width", 1.0))
    wider = Attempt("Double its width.", {"student_width": 2 * width}, at=0)
    longer = {"steps": int(max(400, 4 * int(options.get("steps", steps))))}
    # One of these three is named; a small student that is not slow for want of steps cannot be helped by more of them.
    if small and not unfinished and len(term) >= 60 and not (rate < 2e-4):
        yield finding(
            "student_too_small",
            attempts=(
                wider,
                *([Attempt("Take the problem's own width.", {"student_width": 1.0}, at=0)] if width < 1 else []),
            ),
        )
    elif slow and not small:
        yield finding("rate_too_low", attempts=[Attempt("Take a larger rate.", quick, at=0)])
    else:
        short = unfinished or done < warned("few_steps") or falling >= warned("still_falling")
        more = Attempt("Go on.", code="run.advance(None)") if done < steps else None
        yield finding(
            "stopped_early" if short else "student_behind",
            attempts=[more or Attempt("Give it more steps.", longer, at=0)] if short else [],
            at_most="warning" if short else "note",
        )


def warned(threshold: str) -> float:
    """Where the table begins to warn."""
    return THRESHOLDS[threshold].warning


def feature_moved(evidence: Evidence) -> float:
    """1 − CKA of the student's last feature between the first and the last snapshot; NaN for a single one."""
    seen = [s for s in evidence.snapshots if group(s, "feature/student")]
    if len(seen) < 2 or seen[0].step == seen[-1].step:
        return float("nan")
    first, last = group(seen[0], "feature/student"), group(seen[-1], "feature/student")
    for layer in reversed(last):
        if layer in first:
            both = {"feature/student/first": first[layer], "feature/student/last": last[layer]}
            return 1 - float(cka(replace(seen[-1], arrays=both)).values[0, 1])
    return float("nan")


def needed_rank(evidence: Evidence) -> float:
    """Effective rank of all teachers' answers side by side."""
    try:
        parts = finite_rows(*(evidence.logits(t) for t in evidence.teachers))
    except CannotCheck:
        return float("nan")
    return rank(strengths(np.concatenate([z - z.mean(axis=1, keepdims=True) for z in parts], axis=1)))


def starved_teacher(evidence: Evidence) -> Iterator[Finding]:
    """Whether the selection lets a teacher teach nearly no image of its task."""
    kind = evidence.options.get("selection")
    if kind is None:
        raise CannotCheck("the method selects no teacher.")
    for name, mates in evidence.rivals(evidence.teaching).items():
        logits = finite_rows(*(evidence.logits(t) for t in (name, *mates)))
        if not len(logits[0]):
            continue
        surprise = np.stack([entropy(z) for z in logits], axis=1)
        means = dict(zip((name, *mates), surprise.mean(axis=0).tolist(), strict=True))
        temperature = float(evidence.options.get("selection_temperature", 0.1))
        shares = {
            "hard": (surprise.argmin(axis=1) == 0).astype(float),
            "soft": softmax(-surprise / temperature)[:, 0],
            "claim": softmax(np.stack([logsumexp(z) for z in logits], axis=1))[:, 0],
            "none": np.full(len(surprise), 1 / len(logits)),
        }
        share = float(shares[kind].mean())
        even = bool(share) and evidence.options.get("weighting") == "teacher"
        fed = THRESHOLDS["starved_teacher"].note or 0.0
        others = [k for k in ("soft", "claim", "none") if float(shares[k].mean()) * len(logits) > fed]
        yield judged(
            "starved_teacher",
            1.0 if even else share * len(logits),
            name,
            share=share,
            evidence={
                "selection": str(kind),
                "its mean entropy (nats)": float(surprise[:, 0].mean()),
                **{f"mean entropy of {t}": float(surprise[:, i].mean()) for i, t in enumerate(mates, start=1)},
            },
            attempts=evidence.forks(
                *((SELECTIONS[k], {"selection": k}) for k in others),
                *([("Let every teacher weigh the same, whatever it won.", {"weighting": "teacher"})] if share else []),
            ),
            result=Scalars(means, unit="nats", title="mean entropy of the answers"),
        )
