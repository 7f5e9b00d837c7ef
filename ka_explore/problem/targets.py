"""Targets that ask the neighbours: what an image's teachers say, tempered by what they say of images like it.

A loss on features does not touch the question *whose image it is*: the soft target is one softmax over the logits of
all teachers of a task, and those do not compare between teachers. Two repairs, both without any label:

* `standardised`: each teacher's largest logit is brought to the same mean and spread. A simple reference; it takes for
  granted that each teacher knows as many of the images, and is far off where that is not so.
* `consistent`: columns that claim too much are held back, and every answer is smoothed over the nearest neighbours;
  both as far as neighbours then agree.

The method of `consistent` is ours. Its parts are well known: leave-one-out choice of the number of neighbours, the
error of the nearest neighbour as a measure of noise (Cover and Hart 1967, Rice 1984), shares of the classes as a
constraint on pseudo-labels (Asano et al. 2020), mixtures of one's own answer and the neighbours' (Zhou et al. 2004).
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ka_explore.errors import InputError, check_known, checked
from ka_explore.problem.arrays import check_table
from ka_explore.problem.labels import LabelSpace
from ka_explore.problem.neighbours import ByTeacher, OfPool, check_rows, nearest_images, neighbour_space
from ka_explore.problem.neighbours import thumbnails as thumbnails  # found here too

MOST = 32  # neighbours looked at; beyond, the answers of the toy pools only become vaguer
BALANCE_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the largest balance, tried one after the other
BALANCING = 100  # fixed-point steps at most

TargetKind = Literal["own", "standardised", "consistent"]


@dataclass(frozen=True)
class Targets:
    """What replaces the teachers' logits for every image of the pool, and why.

    Attributes:
        logits: by teacher, one row an image: a softmax over all teachers of a task, side by side, is the joint
            target, and the logsumexp of that row is the one of the teachers' raw logits.
        own: the share of the image that each teacher claims by the raw logits side by side; sums to 1 over a task.
        responsibility: the same by these targets.
        evidence: more shares of `consistent`: ``balanced``, before any neighbour is asked, and ``neighbours``, by what
            these alone say.
        neighbours: the nearest other images of the pool, nearest first; None where nobody was asked.
        chosen: what was chosen without labels, and the numbers it was chosen by; see `consistent`. With several
            tasks every key begins with the task's name and a colon.
    """

    logits: Mapping[str, Float[Tensor, "image _"]]
    own: Float[Tensor, "image teacher"]
    responsibility: Float[Tensor, "image teacher"]
    evidence: Mapping[str, Float[Tensor, "image teacher"]]
    neighbours: Int64[Tensor, "image neighbour"] | None
    chosen: Mapping[str, float | int | str]

    @property
    def claims(self) -> Float[Tensor, "image teacher"]:
        """What `responsibility` was called before version 0.2."""
        warnings.warn("Targets.claims is Targets.responsibility since version 0.2.", FutureWarning, stacklevel=2)
        return self.responsibility


@checked
def own_answers(labels: LabelSpace, logits: ByTeacher) -> Targets:
    """The teachers' raw logits as they are. Raises what `consistent` raises."""
    check_logits(labels, logits)
    joint = {task: torch.cat(blocks_of(labels, logits, task), dim=1).softmax(dim=1) for task in labels.tasks}
    own = responsibility_of(labels, joint)
    return Targets(dict(logits), own, own, {}, None, {"target": "own"})


@checked
def standardised(labels: LabelSpace, logits: ByTeacher) -> Targets:
    """The teachers of a task at one mean and spread of their largest logit. Raises what `consistent` raises.

    z_i → s · (z_i − mean_i) / s_i, where mean_i and s_i are the mean and standard deviation over the pool of teacher
    i's largest logit and s is the geometric mean of the s_i. Shift and log-scale are taken by n / (n + columns),
    n + 1 images (their strength): a pool of one image changes nothing.
    """
    check_logits(labels, logits)
    joint = {}
    for task in labels.tasks:
        blocks = blocks_of(labels, logits, task)
        joint[task] = standardise(blocks, support(torch.cat(blocks, dim=1))).softmax(dim=1)
    return as_targets(labels, logits, joint, {}, None, {"target": "standardised"})


@checked
def consistent(labels: LabelSpace, logits: ByTeacher, features: ByTeacher, images: OfPool | None) -> Targets:
    """The answers with columns that claim too much held back, mixed with those of the nearest images.

    For image x let q(x) = softmax(z(x) + b) over all columns of the task, z the teachers' logits, and m(x) the mean
    of q over the k nearest other images. Near is Euclidean between vectors that hold the teachers' features (each
    L2-normalised) and the image (at most 14 pixels a side), centred and scaled so that features and pixels count
    alike. Then ::

        k      = argmin over 1 to 32 of mean |q − m|²            leave-one-out: no image predicts itself
        r      = correlation of q and m over all images and columns, at least 0
        z      : raw, or standardised with strength s_most (see `standardised`)
        b      : column c's share of the pool becomes ∝ (its share by z alone)^(1 − s); s = 1 would make all columns
                 equally frequent; s = s_most · (0, ¼, ½, ¾ or 1)
        s_most = min(1, 2r) of the raw answers, times n / (n + columns) with n + 1 images
                 of these ten pairs of z and s the one with the largest r is taken
        e_j    = mean |q − q of the j-th neighbour|²
        g      = Σ_j 2⁻ʲ e_j / e_1 − 1, 0 to 1     how much worse the nearest neighbour is in a random half of the pool
        trust  = min(1, 2r) · (1 − g)
        target = (1 − trust) · q + trust · m

    The weights 2⁻ʲ are scaled to sum to 1: in half a pool the j-th neighbour is the nearest with that probability.
    1 − g is, extrapolated linearly to a pool twice as large, the share of the disagreement of nearest neighbours
    that more images would not remove: noise of the answers, which a mean takes away. The rest is distance: the pool
    is too thin there, and the image's own answer is kept. Where neighbours say nothing, r is 0 and nothing changes.

    Args:
        labels: of the problem.
        logits: by teacher, for every image of the pool.
        features: by teacher, spatial means of a feature layer; may be empty when there are images.
        images: of the pool, or their `thumbnails`, which give the same; None to go by the features alone.

    Raises:
        InputError: for a teacher too many or missing, another number of images or columns, no image, values that
            are not finite, or neither features nor images.
    """
    check_logits(labels, logits)
    space = neighbour_space(len(logits[labels.teachers[0]]), labels.teachers, features, images)
    nearest = nearest_images(space, MOST)
    found = {task: smooth_over_neighbours(blocks_of(labels, logits, task), nearest) for task in labels.tasks}
    evidence = {
        name: responsibility_of(labels, {task: getattr(smoothed, name) for task, smoothed in found.items()})
        for name in ("balanced", "neighbours")
    }
    asked = max(int(smoothed.chosen["neighbours"]) for smoothed in found.values())
    chosen = {
        name if len(labels.tasks) == 1 else f"{task}: {name}": value
        for task, smoothed in found.items()
        for name, value in smoothed.chosen.items()
    }
    target = {task: smoothed.target for task, smoothed in found.items()}
    return as_targets(labels, logits, target, evidence, nearest[:, :asked], {"target": "consistent", **chosen})


@checked
def make_targets(
    kind: TargetKind, labels: LabelSpace, logits: ByTeacher, features: ByTeacher, images: OfPool | None
) -> Targets:
    """The targets of a name: `own_answers`, `standardised` or `consistent`. Raises InputError for another name."""
    check_known("kind of targets", kind, get_args(TargetKind))
    if kind == "consistent":
        return consistent(labels, logits, features, images)
    return (own_answers if kind == "own" else standardised)(labels, logits)


@dataclass(frozen=True)
class Smoothed:
    """One task's probabilities: with the columns balanced, by the neighbours alone, and the mixture of both."""

    balanced: Float[Tensor, "image column"]
    neighbours: Float[Tensor, "image column"]
    target: Float[Tensor, "image column"]
    chosen: Mapping[str, float]


def smooth_over_neighbours(
    blocks: Sequence[Float[Tensor, "image _"]], nearest: Int64[Tensor, "image neighbour"]
) -> Smoothed:
    """Target of one task from its teachers' logits; the formulas stand at `consistent`."""
    raw = torch.cat(list(blocks), dim=1)
    best = mix_with_neighbours(raw.softmax(dim=1), nearest)
    most = min(1.0, 2.0 * best.chosen["correlation"]) * support(raw)
    found = {"balance": 0.0, "scale": 0.0}
    if most > 0:
        for scale in (0.0, most) if len(blocks) > 1 else (0.0,):
            scaled = standardise(blocks, scale)
            for share in BALANCE_SHARES:
                tried = mix_with_neighbours(balance(scaled, share * most), nearest)
                if tried.chosen["correlation"] > best.chosen["correlation"]:
                    best, found = tried, {"balance": share * most, "scale": scale}
    return replace(best, chosen={**found, **best.chosen})


def support(joint: Float[Tensor, "image column"]) -> float:
    """n / (n + columns) with n + 1 images: how far a pool supports numbers that are fitted to all of it."""
    return (len(joint) - 1) / (len(joint) - 1 + joint.shape[1])


def mix_with_neighbours(answers: Float[Tensor, "image column"], nearest: Int64[Tensor, "image neighbour"]) -> Smoothed:
    """Answers mixed with the neighbours', as many of these and as far as they are found to help."""
    total = torch.zeros_like(answers)
    mean, singly, together, count = answers, [], [], 0
    for number, index in enumerate(nearest.T, start=1):
        neighbour = answers[index]
        total += neighbour
        singly.append(mean_square(answers - neighbour))
        together.append(mean_square(answers - total / number))
        if together[-1] < min(together[:-1], default=math.inf):
            mean, count = total / number, number
    growth = growth_in_half(singly)
    explained = correlation(answers, mean) if count else 0.0
    trust = min(1.0, 2.0 * explained) * (1.0 - growth)
    chosen = {"neighbours": count, "trust": trust, "correlation": explained, "growth": growth}
    if count:
        chosen |= {"error": min(together), "error of the nearest": singly[0]}
    return Smoothed(answers, mean, (1 - trust) * answers + trust * mean, chosen)


def balance(raw: Float[Tensor, "image column"], strength: float) -> Float[Tensor, "image column"]:
    """Softmax of the logits and a number a column that makes shares of the pool ∝ their power 1 − strength."""
    shares = raw.softmax(dim=1).mean(dim=0).clamp_min(1e-12)
    wanted = shares ** (1 - strength)
    wanted = wanted / wanted.sum()
    shift = torch.zeros_like(shares)
    for _ in range(BALANCING):
        step = wanted.log() - (raw + shift).softmax(dim=1).mean(dim=0).clamp_min(1e-12).log()
        shift += 0.7 * step
        if float(step.abs().max()) < 1e-5:
            break
    return (raw + shift).softmax(dim=1)


def growth_in_half(errors: list[float]) -> float:
    """Relative growth of the nearest neighbour's error in a random half of the pool, 0 to 1.

    There the j-th neighbour is the nearest one with probability 2⁻ʲ. Where the nearest never errs, nothing is known
    to be noise, and the growth is 1.
    """
    shares = [0.5**number for number in range(1, len(errors) + 1)]
    if not errors or errors[0] < 1e-12:
        return 1.0
    half = sum(share * error for share, error in zip(shares, errors, strict=True)) / sum(shares)
    return min(1.0, max(0.0, half / errors[0] - 1.0))


def correlation(first: Float[Tensor, "image column"], second: Float[Tensor, "image column"]) -> float:
    """Of two arrays about the columns' means, over all elements, at least 0; 0 where one of them is constant."""
    first, second = (values.double() - values.double().mean(dim=0) for values in (first, second))
    norm = float(first.square().sum().sqrt() * second.square().sum().sqrt())
    return max(0.0, float((first * second).sum()) / norm) if norm > 1e-12 * first.numel() else 0.0


def mean_square(difference: Float[Tensor, "image column"]) -> float:
    """Squared length of a row, mean over images."""
    return float(difference.square().sum(dtype=torch.float64)) / len(difference)


def standardise(blocks: Sequence[Float[Tensor, "image _"]], strength: float) -> Float[Tensor, "image column"]:
    """Logits of a task's columns, by the formula of `standardised`; with strength 0 those of the teachers."""
    largest = torch.stack([block.max(dim=1).values for block in blocks]).double()
    means = largest.mean(dim=1)
    spreads = largest.std(dim=1, correction=0).log()
    if not bool(torch.isfinite(spreads).all()):  # a teacher whose largest logit never changes has no scale
        spreads = torch.zeros_like(spreads)
    scales = (strength * (spreads.mean() - spreads)).exp().tolist()
    moved = zip(blocks, means.tolist(), scales, strict=True)
    return torch.cat([(block - strength * mean) * scale for block, mean, scale in moved], dim=1)


def as_targets(
    labels: LabelSpace,
    logits: Mapping[str, Float[Tensor, "image _"]],
    joint: Mapping[str, Float[Tensor, "image column"]],
    evidence: Mapping[str, Float[Tensor, "image teacher"]],
    nearest: Int64[Tensor, "image neighbour"] | None,
    chosen: Mapping[str, float | int | str],
) -> Targets:
    """Targets of these probabilities as logits at the level of the teachers' own, none further down than theirs."""
    own, target = {}, {}
    replaced: dict[str, Tensor] = {}
    for task in labels.tasks:
        blocks = blocks_of(labels, logits, task)
        raw = torch.cat(blocks, dim=1)
        log_own = raw.log_softmax(dim=1)
        log_target = joint[task].clamp_min(1e-30).log().clamp_min(float(log_own.min())).log_softmax(dim=1)
        own[task] = log_own.exp()
        target[task] = log_target + raw.logsumexp(dim=1, keepdim=True)
        split = target[task].split([block.shape[1] for block in blocks], dim=1)
        replaced |= zip(labels.teachers_of(task), split, strict=True)
    return Targets(
        logits={teacher: replaced[teacher].to(logits[teacher].dtype).contiguous() for teacher in labels.teachers},
        own=responsibility_of(labels, own),
        responsibility=responsibility_of(labels, {task: stacked.softmax(dim=1) for task, stacked in target.items()}),
        evidence=evidence,
        neighbours=nearest,
        chosen=chosen,
    )


def blocks_of(labels: LabelSpace, logits: Mapping[str, Float[Tensor, "image _"]], task: str) -> list[Tensor]:
    """The logits of a task's teachers, one after the other."""
    return [logits[teacher].float() for teacher in labels.teachers_of(task)]


def responsibility_of(
    labels: LabelSpace, joint: Mapping[str, Float[Tensor, "image column"]]
) -> Float[Tensor, "image teacher"]:
    """The share of each image that lies in the columns of each teacher, in the order of ``labels.teachers``."""
    stacked = torch.cat([joint[task] for task in labels.tasks], dim=1)
    return torch.stack([stacked[:, labels.columns_of(t)].sum(dim=1) for t in labels.teachers], dim=1)


def check_logits(labels: LabelSpace, logits: Mapping[str, Tensor]) -> None:
    """Raises InputError unless there are finite logits of every teacher, for the same images and its own columns."""
    for teacher in logits:
        check_known("teacher", teacher, labels.teachers, where=" among the logits")
    missing = [teacher for teacher in labels.teachers if teacher not in logits]
    if missing:
        raise InputError(f"no logits of teacher {missing[0]!r}: expected those of {', '.join(labels.teachers)}.")
    check_table(f"logits of teacher {labels.teachers[0]!r}", logits[labels.teachers[0]])
    count = len(logits[labels.teachers[0]])
    if count == 0:
        raise InputError("there are no images: expected logits of at least one.")
    for teacher in labels.teachers:
        check_rows(f"logits of teacher {teacher!r}", logits[teacher], count, "(image, label)")
        known = sum(column.teacher == teacher for column in labels.columns)
        if logits[teacher].shape[1] != known:
            raise InputError(
                f"logits of teacher {teacher!r} have {logits[teacher].shape[1]} columns, expected one for each of its "
                f"{known} labels."
            )
