"""Checks of the teachers: how they are fed, whom they answer to, which layers they lend, whether their labels fit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np

from ka_explore.diagnosis.evidence import CannotCheck, Evidence, judged
from ka_explore.diagnosis.findings import Attempt, Finding
from ka_explore.diagnosis.numbers import finite_rows
from ka_explore.diagnosis.thresholds import THRESHOLDS
from ka_explore.probes.logits import entropy, logsumexp, softmax
from ka_explore.probes.results import Distribution, Matrix, Scalars

Looks = Mapping[str, Any]  # what was found of a teacher, see `ka_explore.diagnosis.examine`
FEW = 8  # samples below which nothing is said of a distribution
SURE = 0.8  # probability from which a teacher is sure of its answer
STILL = 1e-5  # variation relative to the feature's size below which rounding is all that varies
SIZES = ("half the size", "double the size", "the pool's own size")
# Methods that take no more of a teacher than its answers.
ANSWERS_ONLY = ("distillation", "ensemble", "oracle", "logit_space", "permutation_merging")

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
    measure: str
    at_most: Literal["warning", "note"] = "warning"


def wrong_preprocessing(evidence: Evidence) -> Iterator[Finding]:
    """Whether a teacher gets images as it was trained on them: its batch norms and its answers under other feeding."""
    for name, seen in evidence.examined().items():
        signs = [sign for sign in (norms_off(seen), size_off(seen), labels_off(seen), answers_off(seen)) if sign]
        telling = [s for s in signs if s.at_most == "warning" and THRESHOLDS[s.threshold].grade(s.value) == "warning"]
        # a size is named rather than what else changes with it
        first = next((s for s in telling if s.threshold == "feeding_size"), None)
        chosen = next(iter([*([first] if first and telling[0].best in SIZES else []), *telling, *signs]), None)
        if chosen:
            yield fed_badly(name, seen, chosen)


def norms_off(seen: Looks) -> Sign | None:
    """The inputs of its batch norms are far from training, and another feeding brings them near; None without any."""
    given, others = seen["given"], seen["alternatives"]
    if given["mismatch"] is None:
        return None
    value = number(given["mismatch"])
    known = {k: number(a["mismatch"]) for k, a in others.items() if a["mismatch"] is not None}
    best = min(known, key=lambda k: known[k], default="")
    relief = value / max(known.get(best, np.inf), 1e-9)
    told = max(number(a["information"]) for a in [given, *others.values()])
    sure = relief >= THRESHOLDS["feeding_relief"].warning or value >= THRESHOLDS["feeding_unlike"].warning
    # a net that says nothing however it is fed has another fault
    sure = sure and told >= 2 * THRESHOLDS["says_nothing"].warning
    measure = "divergence of its batch norms' inputs from training"
    return Sign("wrong_preprocessing", value, best, measure, "warning" if sure else "note")


def size_off(seen: Looks) -> Sign | None:
    """At another size its answers tell more, and its batch norms, if it has any, are nearer to training."""
    given, found = seen["given"], []
    for size in SIZES:
        other = seen["alternatives"].get(size)
        if other is None:
            continue
        gain = number(other["spread"]) / max(number(given["spread"]), 1e-3)
        gain = max(gain, 0.8 * number(other["information"]) / max(number(given["information"]), 1e-3))
        near = given["mismatch"] is None or number(other["mismatch"]) * 1.5 <= number(given["mismatch"])
        if near:
            found.append(Sign("feeding_size", gain, size, "times as much told at another size"))
    return max(found, key=lambda sign: sign.value, default=None)


def labels_off(seen: Looks) -> Sign | None:
    """Another feeding, no stranger to its batch norms, tells the labels of its own images much better."""
    given, count = seen["given"], seen["own_images"]
    if given["right"] is None or count < 20:
        return None
    gains = {
        name: number(other["right"]) - number(given["right"])
        for name, other in seen["alternatives"].items()
        if given["mismatch"] is None or number(other["mismatch"]) <= number(given["mismatch"])
    }
    best = max(gains, key=lambda k: gains[k], default="")
    by_chance = 4 * float(np.sqrt(0.25 / count))  # of so many ways one gains two deviations by chance
    if not best or gains[best] < by_chance:
        return None
    return Sign("feeding_right", gains[best], best, "gain of right answers under another feeding")


def answers_off(seen: Looks) -> Sign | None:
    """For a net without batch norms: another feeding makes its answers tell much more."""
    given, others = seen["given"], seen["alternatives"]
    if given["mismatch"] is not None or not others:
        return None
    told = {k: number(a["spread"]) for k, a in others.items()}
    best = max(told, key=lambda k: told[k])
    more = number(others[best]["information"]) >= number(given["information"]) + 0.1
    gain = told[best] / max(number(given["spread"]), 1e-3)
    return Sign("feeding_told", gain, best, "times as much told under another feeding", "warning" if more else "note")


def fed_badly(name: str, seen: Looks, sign: Sign) -> Finding:
    """The finding of a sign, with what other feedings do."""
    given, others, best = seen["given"], seen["alternatives"], sign.best
    numbers: dict[str, float | str] = {
        "told by its answers (share of log K)": number(given["information"]),
        "images fed: mean": " ".join(f"{v:.3g}" for v in seen["fed"]["mean"][:4]),
        "images fed: standard deviation": " ".join(f"{v:.3g}" for v in seen["fed"]["std"][:4]),
        "images fed: shape": "×".join(map(str, seen["fed"]["shape"])),
    }
    if best in others:
        numbers |= {
            "best of the other feedings": best,
            "batch norms then": number(others[best]["mismatch"]),
            "told then": number(others[best]["information"]),
        }
        if others[best]["right"] is not None:
            numbers |= {"right on its own images": number(given["right"]), "right then": number(others[best]["right"])}
    with_norms = given["mismatch"] is not None
    ways = {"given in the run": given, **others}
    what = "of the wrong size" if sign.threshold == "feeding_size" else "that are not as it was trained on them"
    return judged(
        sign.threshold,
        sign.value,
        f"Teacher {name!r} is fed images {what}" + (f"; {best} suits it better." if best else "."),
        name="wrong_preprocessing",
        depth=9,
        subject=name,
        evidence=numbers,
        measure=sign.measure,
        why="A net that gets other means, contrasts or sizes than in training answers at random or always the same, "
        "and its features mean nothing; whatever is amalgamated from it is noise.",
        attempts=(
            Attempt(
                f"Give {name!r} the preprocessing it was trained with"
                + (f" (tried here with success: {best})." if best else "."),
                code=REBUILD.format(name=name, preprocess="Preprocess(size=…, mean=…, std=…)"),
            ),
        ),
        result=Scalars(
            {k: number(a["mismatch"] if with_norms else a["spread"]) for k, a in ways.items()},
            unit="divergence from training" if with_norms else "share of log K",
            title=f"{name}: how other feedings suit it",
        ),
        at_most=sign.at_most,
    )


def batch_dependence(evidence: Evidence) -> Iterator[Finding]:
    """Whether an answer depends on the other images of the batch: batch norm that stayed in training mode."""
    for name, seen in evidence.examined().items():
        moved = 1.0 if seen.get("alone_refused") else number(seen.get("batch_dependence"))
        stays = ", ".join(seen["training"][:5])
        refused = seen["failed"].get("batch_dependence", "")
        noise = number(seen.get("noise"))
        yield judged(
            "batch_dependence",
            moved if THRESHOLDS["noise"].grade(noise) == "fine" else 0.0,
            f"Teacher {name!r} answers by the company an image is in: batch norm works in training mode.",
            name="train_mode_batch_norm",
            depth=9.5,
            subject=name,
            evidence={"modules still in training mode": stays or "none that say so"}
            | ({"refused": refused} if refused else {}),
            measure="answers move with the batch_dependence (share of their deviation)",
            why="Batch norm in training mode normalises by the batch at hand, so a cached answer is not the one it "
            "would give, and the mix of classes in a batch leaks into every feature.",
            attempts=(
                Attempt(
                    f"Make {name!r} use the statistics it kept: eval mode, track_running_stats=True, no "
                    "batch_norm(…, training=True) in its forward.",
                    code=f"module.eval()  # the net of {name!r}; then build the teacher and the problem anew",
                ),
            ),
        )
        yield judged(
            "noise",
            noise,
            f"Teacher {name!r} gives another answer each time it is asked: dropout or noise is left on.",
            name="random_answers",
            depth=9.4,
            subject=name,
            evidence={"modules still in training mode": stays or "none that say so"},
            measure="answers move by themselves (share of their deviation)",
            why="The student is taught one draw of the noise, and targets from the cache are not those asked live.",
            attempts=(Attempt(f"Switch dropout off in {name!r}.", code="module.eval()"),),
        )


def says_nothing(evidence: Evidence) -> Iterator[Finding]:
    """Whether a teacher's answers depend on the image at all: an untrained or broken net says the same of all."""
    for name, seen in evidence.examined().items():
        if seen["labels"] < 2:
            continue
        given = seen["given"]
        # answers that differ from image to image once they are brought to one scale are only timid
        told = max(number(given["information"]), number(given["spread"]) if number(given["spread"]) > 0.25 else 0.0)
        yield judged(
            "says_nothing",
            told,
            f"Teacher {name!r} says nearly the same of every image: it looks untrained, or is not fed properly.",
            depth=7,
            subject=name,
            evidence={"mean largest probability": number(given["confidence"]), "labels": float(seen["labels"])},
            measure="told by its answers (share of log K)",
            why="There is nothing to learn from it, and its columns only dilute the others' answers.",
            attempts=(
                Attempt(
                    f"Check that the weights of {name!r} were loaded, and what it is fed.",
                    code="missing = module.load_state_dict(weights, strict=True)",
                ),
            ),
        )


def layers(evidence: Evidence) -> Iterator[Finding]:
    """Whether the layers a teacher lends hold what it knows: the wrong one, a degenerate one, one too early."""
    answers_only = evidence.method in ANSWERS_ONLY
    for name, seen in evidence.examined().items():
        found: Mapping[str, Mapping[str, Any]] = seen["layers"]
        by_blocks = evidence.method in ("adaptive", "layer_wise")
        used = [layer for layer in (seen["blocks"] if by_blocks else [seen["feature_layer"]]) if layer in found]
        features = {k: v for k, v in found.items() if v["is"] == "feature"}
        best = max(features, key=lambda k: (number(features[k]["explained"]), features[k]["named"]), default="")
        most = number(features[best]["explained"]) if best else float("nan")
        shown = {k: number(v["explained"]) for k, v in features.items() if v["named"] or k in (best, *used)}
        figure = Scalars(shown, unit="share of the answers' variance", title=f"{name}: what its layers tell")
        code = f"Teacher({name!r}, module, layers=[…, {best!r}], labels=…)  # the last named layer is the feature"
        attempt = (Attempt(f"Name {best!r} as the feature of {name!r}." if best else "Name another layer.", code=code),)
        at_most: Any = "note" if answers_only else "warning"
        for place, layer in enumerate(used):
            here = found[layer]
            said = float(here["is"] != "feature")
            yield judged(
                "layer_is_answer",
                said,
                f"Layer {layer!r} of teacher {name!r} is no feature: it is its {here['is']}.",
                name="wrong_layer",
                depth=6.5,
                subject=name,
                evidence={"layer": layer, "channels": float(here["channels"]), "better": best},
                measure="holds no more than the answer",
                why="The answers are learned by the soft target already; as a feature they have a number a label and "
                "nothing that other teachers could share.",
                attempts=attempt,
                result=figure,
                at_most=at_most,
            )
            if said:
                continue
            last = place == len(used) - 1
            varies = number(here["rank"]) if number(here["variation"]) > STILL else 0.0
            thin = 1.0 if here["channels"] == 1 else varies
            reference = number(features[best]["rank"]) if best else 1.0
            # blocks before the last are early by nature: of them only a dead or single channel counts
            poor = here["channels"] == 1 or thin == 0.0 or (last and number(here["explained"]) < 0.8 * most)
            yield judged(
                "layer_degenerate",
                thin / max(reference, 1e-9) if poor else 1.0,
                f"Layer {layer!r} of teacher {name!r} is degenerate: "
                + ("it has one channel." if here["channels"] == 1 else "it hardly varies with the image."),
                name="wrong_layer",
                depth=6.5,
                subject=name,
                evidence={
                    "layer": layer,
                    "effective rank of its covariance": thin,
                    "channels": float(here["channels"]),
                    "channels that do not vary": number(here["silent"]),
                    "better": best,
                },
                measure="effective rank of the covariance relative to the best layer's",
                why="A feature that is the same for all images, or one number, has nothing to align or rebuild.",
                attempts=attempt,
                result=figure,
                at_most=at_most if last else "note",
            )
            if last and most > 0.3:  # blocks before the last are early by nature
                yield judged(
                    "layer_too_early",
                    number(here["explained"]) / most,
                    f"Layer {layer!r} of teacher {name!r} comes too early: {best!r} tells much more of its answers.",
                    name="too_early_layer",
                    depth=6,
                    subject=name,
                    evidence={
                        "layer": layer,
                        "explained by it": number(here["explained"]),
                        "better": best,
                        "explained by that": most,
                    },
                    measure="explained of the answers, relative to the best layer",
                    why="An early layer holds edges and strokes that do not yet tell the classes apart: the nets are "
                    "aligned where none of what the teacher knows is.",
                    attempts=attempt,
                    result=figure,
                    at_most=at_most,
                )


def labels_permuted(evidence: Evidence) -> Iterator[Finding]:
    """Whether a teacher's columns stand for its labels in another order; needs true labels, for marking."""
    from scipy.optimize import linear_sum_assignment

    last, checked = evidence.last, 0
    for name in evidence.teachers:
        known, truth = list(last.knows[name]), evidence.truth(name)
        own = np.isin(truth, known)
        logits, kept = evidence.logits(name)[own], truth[own]
        if len(kept) < max(10, 2 * len(known)) or len(known) < 2:
            continue
        checked += 1
        said = logits.argmax(axis=1)
        place = {c: i for i, c in enumerate(known)}
        true = np.array([place[c] for c in kept])
        table = np.zeros((len(known), len(known)))
        np.add.at(table, (true, said), 1)
        rows, columns = linear_sum_assignment(-table)
        names = [last.classes[c][1] for c in known]
        # a label counts as moved where most of its images, and no few, are called by the other label
        moved = [
            int(r)
            for r, c in zip(rows, columns, strict=True)
            if r != c and table[r].sum() >= 3 and table[r, c] >= 0.5 * table[r].sum() and table[r, r] < table[r, c]
        ]
        before, after = table.trace() / table.sum(), table[rows, columns].sum() / table.sum()
        yield judged(
            "labels_permuted",
            float(after - before) if len(moved) >= 2 else 0.0,
            f"The label columns of teacher {name!r} are permuted: what it calls "
            + ", ".join(f"{names[c]} is {names[r]}" for r, c in zip(rows, columns, strict=True) if r in moved)
            + ".",
            depth=8,
            subject=name,
            evidence={"right as named": float(before), "right if renamed": float(after), "labels moved": len(moved)},
            measure="right answers gained by renaming",
            why="The student learns the wrong names faithfully: it agrees with the teacher and is wrong.",
            attempts=(
                Attempt(
                    f"Give {name!r} its labels in the order of its logits.",
                    code=f"Teacher({name!r}, module, labels={renamed(names, rows, columns)}, layers=…)",
                ),
            ),
            result=Matrix(
                table, tuple(names), tuple(names), title=f"{name}: images by true label (row) and answer (column)"
            ),
        )
    if not checked:
        raise CannotCheck("too few labelled images of any teacher's own classes.")


def renamed(names: list[str], rows: np.ndarray, columns: np.ndarray) -> list[str]:
    """The labels in the order that fits: the true name of each column."""
    fitting = list(names)
    for row, column in zip(rows, columns, strict=True):
        fitting[int(column)] = names[int(row)]
    return fitting


def teachers_disagree(evidence: Evidence) -> Iterator[Finding]:
    """Whether two teachers that know the same labels contradict each other: where both are sure, or by their names."""
    from scipy.optimize import linear_sum_assignment

    last, pairs = evidence.last, 0
    for one, two in combinations(evidence.teachers, 2):
        shared = [c for c in last.knows[one] if c in last.knows[two]]
        if len(shared) < 2:
            continue
        first, second = finite_rows(
            *(evidence.logits(t)[:, [last.knows[t].index(c) for c in shared]] for t in (one, two))
        )
        if not len(first):
            continue
        pairs += 1
        sure = np.minimum(*(softmax(z).max(axis=1) for z in (first, second))) >= SURE
        said_one, said_two = first.argmax(axis=1), second.argmax(axis=1)
        differ = float((said_one != said_two)[sure].mean()) if sure.any() else 0.0
        table = np.zeros((len(shared), len(shared)))
        np.add.at(table, (said_one, said_two), 1)
        rows, columns = linear_sum_assignment(-table)
        gain = float((table[rows, columns].sum() - table.trace()) / table.sum())
        names = tuple(last.classes[c][1] for c in shared)
        signs = (
            ("teachers_disagree", differ if sure.sum() >= 10 else 0.0, "different answers where both are sure (share)"),
            (
                "teachers_renamed",
                gain if len(first) >= 5 * len(shared) else 0.0,
                "agreement gained by renaming (share)",
            ),
        )
        for threshold, value, measure in signs:
            yield judged(
                threshold,
                value,
                f"Teachers {one!r} and {two!r} contradict each other on the labels they share.",
                name="teachers_disagree",
                depth=5,
                subject=f"{one} / {two}",
                evidence={
                    "same answers (share of all images)": float(table.trace() / table.sum()),
                    "images where both are sure": float(sure.sum()),
                    "labels shared": float(len(shared)),
                },
                measure=measure,
                why="Columns of one name are joined into one class; two teachers that mean different things by it "
                "teach the student to say both.",
                attempts=(
                    Attempt(
                        "Look which of the two is right (labels, a few images), and rename or drop the other's labels.",
                        code=f"Teacher({two!r}, module, labels=[…], layers=…)  # its labels in the order of its logits",
                    ),
                    *adaptive_attempt(evidence),
                ),
                result=Matrix(table, names, names, title=f"images by what {one} says (row) and {two} (column)"),
            )
    if not pairs:
        raise CannotCheck("no two teachers share labels.")


def adaptive_attempt(evidence: Evidence) -> tuple[Attempt, ...]:
    """Believing the surer teacher image by image, where the method is not that already."""
    if evidence.method == "adaptive":
        return ()
    return (Attempt("Let the surer teacher teach each image.", code='Run(problem, "adaptive")'),)


def claims(evidence: Evidence) -> Iterator[Finding]:
    """Whether a teacher's logits drown those of the others of its task: over-confident beyond its own images."""
    found = 0
    for name in evidence.teachers:
        mates = evidence.mates(name)
        if not mates:
            continue
        found += 1
        logits = {t: finite_rows(evidence.logits(t))[0] for t in (name, *mates)}
        if min(len(z) for z in logits.values()) < FEW:
            continue
        scale = {t: float(np.sqrt((z - z.mean(axis=1, keepdims=True)).var())) for t, z in logits.items()}
        level = {t: float(np.median(logsumexp(z))) for t, z in logits.items()}
        usual = float(np.median([scale[t] for t in mates]))
        ratio = scale[name] / max(usual, 1e-9)
        sure = 1 - float(entropy(logits[name]).mean()) / np.log(max(logits[name].shape[1], 2))
        lead = (level[name] - float(np.median([level[t] for t in mates]))) / max(usual, scale[name], 1e-9)
        certain = {t: 1 - float(entropy(z).mean()) / np.log(max(z.shape[1], 2)) for t, z in logits.items()}
        timid = max(certain[t] for t in mates) < 0.1 and sure < 0.95  # it is not loud, the others are hardly heard
        counts = {len(z) for z in logits.values()}
        share = float("nan")
        if len(counts) == 1:
            total = np.stack([logsumexp(z) for z in logits.values()], axis=1)
            share = float(softmax(total)[:, 0].mean())
        numbers: dict[str, float | str] = {
            "share of the joint answer it claims": share,
            "fair share": 1 / len(logits),
            "scale of its logits": scale[name],
            "median of the others'": usual,
            "how sure it is of all images (1: certain)": sure,
        }
        why = (
            "Answers are joined by one softmax: who speaks louder owns the image, also those it knows nothing of. The "
            "student then puts foreign images into this teacher's classes."
        )
        figure = Distribution(
            {t: logsumexp(z) for t, z in logits.items()},
            unit="log Σ exp of the logits",
            title="how loud the teachers are",
        )
        mend: tuple[Attempt, ...] = (
            Attempt(
                "Let targets agree with the image's neighbours, as far as the pool supports it.",
                {"targets": "consistent"},
                at=0,
            ),
            Attempt("Compare answers within each teacher's classes only.", {"soft_target": "restricted"}, at=0),
            Attempt(
                f"Bring the logits of {name!r} to the others' scale.",
                code=f"Teacher({name!r}, module, read=lambda output: logits_of(output) / {ratio:.3g}, …)",
            ),
        )
        mend = tuple(a for a in mend if not a.changes or all(k in evidence.options for k in a.changes))
        yield judged(
            "claims_scale",
            ratio if sure > 0.5 and not timid else 0.0,
            f"Teacher {name!r} is over-confident: its logits are {ratio:.1f} times the others', on images not its own "
            "too, and take their probability mass.",
            name="overconfident",
            depth=5.5,
            subject=name,
            evidence=numbers,
            why=why,
            attempts=mend,
            result=figure,
            measure="scale of its logits relative to the others'",
        )
        yield judged(
            "claims_level",
            lead,
            f"Teacher {name!r} claims images that are not its own: its logits lie above the others' as a whole.",
            name="overconfident",
            depth=5.5,
            subject=name,
            evidence=numbers,
            why=why,
            attempts=mend,
            result=figure,
            measure="level of its logits above the others' (in their deviations)",
        )
        yield judged(
            "claims_timid",
            max(usual, 1e-9) / max(scale[name], 1e-9) if sure < 0.1 else 0.0,
            f"Teacher {name!r} is never sure: its logits are a fraction of the others', which drown it.",
            name="underconfident",
            depth=5.4,
            subject=name,
            evidence=numbers,
            result=figure,
            measure="scale of the others' logits relative to its own",
            why="Where answers are compared, by a joint softmax or by entropy, it never wins an image, not even its "
            "own.",
            attempts=mend,
        )
    if not found:
        raise CannotCheck("no task has two teachers.")


def twins(evidence: Evidence) -> Iterator[Finding]:
    """Whether two teachers are one net under two names."""
    pairs = 0
    for one, two in combinations(evidence.teachers, 2):
        if evidence.last.knows[one] != evidence.last.knows[two]:
            continue
        first, second = finite_rows(evidence.logits(one), evidence.logits(two))
        if len(first) < 3 or first.std() == 0 or second.std() == 0:
            continue
        pairs += 1
        yield judged(
            "twins",
            float(np.corrcoef(first.ravel(), second.ravel())[0, 1]),
            f"Teachers {one!r} and {two!r} give the same answers: one net under two names.",
            name="same_teacher_twice",
            depth=5.1,
            subject=f"{one} / {two}",
            measure="correlation of their logits",
            why="It is counted twice and weighs double against the others.",
            attempts=(
                Attempt(f"Leave {two!r} out of the problem.", code="dataclasses.replace(problem, teachers=[…])"),
            ),
        )
    if not pairs:
        raise CannotCheck("no two teachers have the same labels.")


def foreign_pool(evidence: Evidence) -> Iterator[Finding]:
    """Whether the pool holds images of each teacher's classes; needs true labels, for marking."""
    for name in evidence.teachers:
        truth = evidence.truth(name)
        known = truth[truth >= 0]
        if len(known) < 20:
            raise CannotCheck("too few labelled images.")
        classes = {c for t in (name, *evidence.mates(name)) for c in evidence.last.knows[t]}
        fair = len(evidence.last.knows[name]) / max(len(classes), 1)
        share = float(np.isin(known, evidence.last.knows[name]).mean())
        yield judged(
            "foreign_pool",
            share / fair,
            f"The pool has hardly any image of the classes of teacher {name!r}.",
            depth=5.3,
            subject=name,
            evidence={"share of the pool in its classes": share, "if all classes were alike": fair},
            measure="share of the pool relative to its share of the classes",
            why="What it knows shows only on images of its classes; on others it guesses, and that is what is taught.",
            attempts=(Attempt("Add unlabelled images of its classes to the pool.", code="Pool(more_images)"),),
        )


def number(value: Any) -> float:
    """A number from JSON, NaN for None."""
    return float("nan") if value is None else float(value)
