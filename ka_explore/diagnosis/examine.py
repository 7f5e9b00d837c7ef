"""Examining a problem's teachers: are they fed what they were trained on, do their layers say anything, do they speak
for themselves.

The part of the diagnosis that needs the nets. Every teacher is asked about the same few images of the pool, as it is
fed in the run and in other ways (another normalisation, another size), in other company, and at all its layers. What
comes out is numbers alone, so that `ka_explore.diagnosis` can judge them later, without the nets and without torch.
Looking changes nothing: nets are frozen and in eval mode, hooks live for one call, no label is read.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ka_explore.diagnosis.feeding import OFF
from ka_explore.diagnosis.numbers import distinct, information
from ka_explore.diagnosis.ways import Images, Ways, alternatives, cut_off, levels, turned
from ka_explore.diagnosis.weights import drawn
from ka_explore.probes.logits import logsumexp, softmax
from ka_explore.probes.samples import centred
from ka_explore.probes.spectrum import dead_share, rank
from ka_explore.problem.layers import as_taken, read_logits, to_map
from ka_explore.problem.layouts import watched
from ka_explore.problem.neighbours import thumbnails
from ka_explore.problem.pool import permutation
from ka_explore.problem.problem import Problem
from ka_explore.problem.teachers import Teacher
from ka_explore.run.environment import computing

IMAGES = 256  # of the pool, those of the probe set first
ASKED = 128  # of these are also given in other ways: twenty ways cost as much as ten looks at all
TURNED = 64  # of these are also turned over and moved
CHUNK = 64  # images a forward
LAYERS = 48  # layers of a net that are looked at besides the named ones, so that deep nets do not take minutes
SMALL = 2_000_000  # nets with fewer parameters run fastest on one thread
ALONE = 8  # images that are asked one by one

USUAL_EPS = 1e-5  # of batch norms
CHANNELS = 16  # of a norm, below which weights of 1 and biases of 0 tell nothing

Numbers = dict[str, Any]
Moments = tuple[int, Tensor, Tensor]  # count, and a channel the sum and the sum of squares


def examine(problem: Problem, *, images: int = IMAGES) -> Numbers:
    """What the teachers make of so many of the pool's images, as numbers that go into a JSON file.

    Returns:
        ``images``, ``shape`` (of the pool's images), ``distinct`` (how many of them differ) and, by name in
        ``teachers``:

        ``fed``: mean, standard deviation, least, largest value and shape of what the net is given, and how many
        different values, relative to the images, see `ways.levels`;
        ``given`` and ``alternatives`` (by what was done to what the net is given): see `measure`; ``turned``: the same
        of fewer images, turned over and moved, and ``as given``; ``cut``: see `ways.cut_off`;
        ``augmented``: the same of images as the pool augments them, where it does;
        ``fresh``: by part, how its weights look as if just drawn, and ``fresh_share`` of the parameters; ``norms``: by
        batch norm, in the order in which they run, see `norms_of`;
        ``batch_dependence``: how far an answer moves when the other images of its batch change, and ``noise``, when
        nothing does, both as root mean square relative to the logits' deviation; ``training``: modules that stay in
        training mode; ``layers``: see `layers_of_teacher`; ``parameters``; ``failed``: what could not be asked, why.
    """
    index = permutation(len(problem.pool), 0, -1)[:images]
    pictures = problem.pool.images[index]
    small = sum(p.numel() for t in problem.teachers for p in t.module.parameters()) < SMALL
    with computing(1 if small else None):
        augmented = problem.pool.augmented(pictures[:ASKED], 0) if problem.pool.augment else None
        teachers = {
            t.name: examine_teacher(t, pictures, own_labels(problem, t, index), augmented) for t in problem.teachers
        }
    about: Numbers = {"images": len(index), "shape": list(pictures.shape[1:]), "fingerprints": problem.fingerprints}
    return about | {"teachers": teachers, "distinct": distinct(thumbnails(pictures).numpy())}


def own_labels(problem: Problem, teacher: Teacher, index: np.ndarray) -> np.ndarray:
    """The true label of images as an index into the teacher's own labels; −1 where unknown or not one of them."""
    given = (problem.pool.labels or {}).get(teacher.task)
    if given is None:
        return np.full(len(index), -1)
    names = problem.labels.class_names(teacher.task)
    own = [teacher.labels.index(name) if name in teacher.labels else -1 for name in names]
    return np.array([*own, -1])[given[index]]


@torch.no_grad()
def examine_teacher(
    teacher: Teacher,
    images: Images,
    truth: np.ndarray,
    augmented: Float[Tensor, "asked channel height width"] | None = None,
) -> Numbers:
    """The numbers of one teacher, see `examine`; ``truth`` marks its answers, -1 for images that are not its own."""
    images = images.to(device := next((p.device for p in teacher.module.parameters()), images.device))
    prepare = teacher.preprocess or (lambda images: images)
    parts = parts_that_run(teacher, images[:2])  # puts the net into eval mode, as every use of it does
    failed: dict[str, str] = {}
    inputs = prepare(images)
    found: Numbers = {
        "labels": len(teacher.labels),
        "feature_layer": teacher.feature_layer,
        "named": list(teacher.layers),
        "blocks": list(teacher.blocks),
        "parameters": sum(p.numel() for p in teacher.module.parameters()),
        "fed": {
            "mean": [round(float(v), 6) for v in inputs.mean(dim=(0, 2, 3))],
            "std": [round(float(v), 6) for v in inputs.std(dim=(0, 2, 3))],
            "low": float(inputs.min()),
            "high": float(inputs.max()),
            "shape": list(inputs.shape[1:]),
            "levels": levels(inputs) / levels(images),
        },
        "training": [name or "the net" for name, part in teacher.module.named_modules() if part.training],
        "given": measure(teacher, inputs[:ASKED], truth),
        "own_images": int((truth[:ASKED] >= 0).sum()),
        **fresh(parts),
    }

    def asked(ways: Ways) -> Numbers:
        found = {}
        for name, change in ways.items():
            try:
                found[name] = measure(teacher, change(), truth)
            except Exception as error:  # a net may refuse another size in any way
                failed[name] = one_line(error)
        return found

    if augmented is not None:
        found |= asked({"augmented": lambda: prepare(augmented.to(device))})
    found["alternatives"] = asked(alternatives(teacher, images[:ASKED], inputs[:ASKED]))
    try:
        found["cut"] = cut_off(teacher.preprocess, images)
    except Exception as error:  # preprocessing by the user's own hand
        failed["cut"], found["cut"] = one_line(error), {}
    found["turned"] = asked(turned(teacher, images[:TURNED], found["cut"]))
    try:
        found |= batch_dependence(teacher, inputs)
    except Exception as error:  # batch norm in training mode refuses a single image, say
        failed["batch_dependence"] = one_line(error)
    with moments(teacher.module) as seen:
        layers = layers_of_teacher(teacher, inputs)
    return jsonable(found | {"layers": layers, "norms": norms_of(teacher.module, seen), "failed": failed})


def measure(teacher: Teacher, inputs: Float[Tensor, "image channel height width"], truth: np.ndarray) -> Numbers:
    """How a net takes what it is given.

    Returns:
        ``information``: H(mean p) − mean H(p) of its answers p relative to log K: 1 for answers that are sure and
        different, 0 for unsure ones and for one and the same;
        ``spread``: the same after the logits were brought to one scale, so that it does not grow with that;
        ``confidence``: mean largest probability; ``scale``: deviation of the logits about their mean over labels;
        ``level``: mean of log Σ exp; ``mismatch``: how far the moments of what its batch norms receive are from those
        they kept from training, mean over channels of the divergence ½(v + (m − m₀)²)/v₀ − ½ − ½ log(v/v₀) of two
        normal distributions, mean over batch norms; ``first``: the same of the first; both None for a net without;
        ``right``: share of its own images whose label it tells, None where no label is known, of ``own`` images;
        ``sums``: how far the sum of what it puts out is from 1, ``level_most``: how far log Σ exp is from 0, both of
        the worst image, and ``low``: the least value, which tell logits from probabilities and their logarithms.
    """
    with moments(teacher.module) as seen:
        logits = torch.cat([answers(teacher, part) for part in inputs.split(CHUNK)]).cpu().numpy()
    said = logits.argmax(axis=1)
    own = truth[: len(said)] >= 0
    centred = logits - logits.mean(axis=1, keepdims=True)
    scale, most = float(np.sqrt((centred**2).mean())), math.log(max(logits.shape[1], 2))
    far = [float(divergence(moments_of(norm, total)).mean()) for norm, total in seen.items()]
    return {
        "information": information(logits) / most,
        "spread": information(centred * (2.0 / scale)) / most if scale > 0 else 0.0,
        "confidence": float(softmax(logits).max(axis=1).mean()),
        "scale": scale,
        "level": float(logsumexp(logits).mean()),
        "mismatch": float(np.mean(far)) if far else None,
        "first": far[0] if far else None,
        "right": float((said[own] == truth[: len(said)][own]).mean()) if own.any() else None,
        "own": int(own.sum()),
        "sums": float(np.abs(logits.sum(axis=1) - 1).max()),
        "level_most": float(np.abs(logsumexp(logits)).max()),
        "low": float(logits.min()),
    }


def answers(teacher: Teacher, inputs: Tensor) -> Float[Tensor, "image label"]:
    """The logits of what the net is given as it stands, in float64."""
    output = teacher.module(as_taken(teacher.module, inputs))
    return read_logits("teacher", teacher.read, output, len(inputs), len(teacher.labels)).double()


@contextmanager
def moments(module: nn.Module) -> Iterator[dict[_BatchNorm, Moments]]:
    """Within the ``with``: count, sum and sum of squares a channel of what every batch norm with kept moments gets."""
    seen: dict[_BatchNorm, Moments] = {}

    def hook(norm: nn.Module, given: Any) -> None:
        assert isinstance(norm, _BatchNorm)
        rows = given[0].detach().double().movedim(1, -1).flatten(0, -2)
        count, total, squares = seen.get(norm, (0, rows.new_zeros(()), rows.new_zeros(())))
        seen[norm] = count + len(rows), total + rows.sum(dim=0), squares + rows.square().sum(dim=0)

    with ExitStack() as hooks:
        for part in module.modules():
            if isinstance(part, _BatchNorm) and part.running_mean is not None:
                hooks.enter_context(part.register_forward_pre_hook(hook))
        yield seen


def moments_of(norm: _BatchNorm, seen: Moments) -> tuple[np.ndarray, ...]:
    """Mean and variance a channel of what a batch norm gets, then of what it kept from training."""
    count, total, squares = seen
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, kept = total / count, norm.running_var.double()
    least = min(norm.eps, max(USUAL_EPS, 1e-3 * float(kept.median())))  # an eps above what it is for would hide all
    variance = (squares / count - mean.square()).clamp_min(0) + least
    values = (mean, variance, norm.running_mean.double(), kept + least)
    return tuple(value.cpu().numpy() for value in values)


def divergence(moments: tuple[np.ndarray, ...]) -> np.ndarray:
    """Of normal distributions with these means and variances from those with the kept ones, each at most 50."""
    mean, variance, kept_mean, kept = moments
    far = 0.5 * ((variance + (mean - kept_mean) ** 2) / kept - 1 - np.log(variance / kept))
    return np.clip(np.nan_to_num(far, nan=50.0, posinf=50.0), 0, 50)


def norms_of(module: nn.Module, seen: Mapping[_BatchNorm, Moments]) -> list[Numbers]:
    """By batch norm, in the order in which they run: how far what it gets is from what it kept.

    Returns:
        ``name``; ``divergence``, see `measure`; ``reordered``: what is left of it if the kept channels come in the
        order that fits best, of the first that is not at home, None of the others.
    """
    from scipy.optimize import linear_sum_assignment

    names = {part: name for name, part in module.named_modules()}
    found: list[Numbers] = []
    for norm, total in seen.items():
        moments = moments_of(norm, total)
        far, left = float(divergence(moments).mean()), None
        if far >= OFF and all(other["divergence"] < OFF for other in found):
            mean, variance, *kept = moments
            pairs = divergence((mean[:, None], variance[:, None], *kept))
            left = float(pairs[linear_sum_assignment(pairs)].mean())
        found.append({"name": names[norm], "divergence": far, "reordered": left})
    return found


def parts_that_run(teacher: Teacher, images: Tensor) -> dict[str, nn.Module]:
    """By name: the parts of a net that are called for its answers; others may be as they like."""
    called: set[nn.Module] = set()
    with ExitStack() as hooks:
        for part in teacher.module.modules():
            hooks.enter_context(part.register_forward_pre_hook(lambda part, _given: called.add(part)))
        teacher.run(images, teacher.layers)
    return {name: part for name, part in teacher.module.named_modules() if part in called}


def fresh(parts: Mapping[str, nn.Module]) -> Numbers:
    """By part that looks as if it had just been made: how, and whether that is sure; and their share of parameters."""
    found: Numbers = {}
    for name, part in parts.items():
        weight, bias = getattr(part, "weight", None), getattr(part, "bias", None)
        how, sure = "", True
        if isinstance(part, _BatchNorm):
            how = "a batch norm that never saw a batch" if never_saw(part) else ""
        elif not isinstance(weight, Tensor) or isinstance(part, nn.Embedding):
            continue
        elif weight.ndim > 1:
            how, sure = drawn(*(part.detach().float().cpu().numpy() for part in (weight, bias) if part is not None))
        elif len(weight) >= CHANNELS and bool((weight == 1).all()):
            how = "a norm at 1 and 0" if bias is not None and not bias.any() else ""
        if how:
            found[name] = {"how": how, "sure": sure}
    sizes = {name: sum(p.numel() for p in part.parameters(recurse=False)) for name, part in parts.items()}
    return {"fresh": found, "fresh_share": sum(sizes[name] for name in found) / max(sum(sizes.values()), 1)}


def never_saw(norm: _BatchNorm) -> bool:
    """Whether a batch norm's kept moments are those it was made with."""
    mean, variance, count = norm.running_mean, norm.running_var, norm.num_batches_tracked
    if mean is None or variance is None or (count is not None and int(count) > 0):
        return False
    return not mean.any() and bool((variance == 1).all())


def batch_dependence(teacher: Teacher, inputs: Tensor) -> Numbers:
    """How far answers move with the company in the batch, and by themselves; relative to the logits' deviation."""
    batch = inputs[:CHUNK]
    once, again = answers(teacher, batch), answers(teacher, batch)
    deviation = float((once - once.mean(dim=0)).square().mean().sqrt()) or 1.0
    found = {"noise": float((once - again).square().mean().sqrt()) / deviation}
    order = batch.mean(dim=(1, 2, 3)).argsort()
    halves = [part for part in order.split(-(-len(order) // 2)) if len(part) > 1]
    moved = [once[part] - answers(teacher, batch[part]) for part in halves]
    try:
        moved += [once[i : i + 1] - answers(teacher, batch[i : i + 1]) for i in range(min(ALONE, len(batch)))]
    except ValueError:  # batch norm in training mode refuses one value a channel
        found["alone_refused"] = 1.0
    found["batch_dependence"] = float(torch.cat(moved).square().mean().sqrt()) / deviation if moved else 0.0
    return found


def layers_of_teacher(teacher: Teacher, inputs: Tensor) -> dict[str, Numbers]:
    """By layer, from early to late: what its spatial means hold.

    Returns:
        ``channels``; ``variance`` of the map about its channels' means;
        ``variation``: deviation of the spatial means over images relative to their size; ``explained``: which share of
        the logits' variance a ridge regression on the layer finds in images it was not fitted to (R², of logits about
        their mean over labels);
        ``rank``: effective rank, and ``silent``: share of dead channels, see `ka_explore.probes.spectrum`; ``is``:
        ``logits`` or ``probabilities`` if the layer is no more than those, else ``feature``; ``named``: whether the
        teacher names it.
    """
    parts = dict(teacher.module.named_modules())
    others = sorted(parts, key=lambda name: name.count("."))  # whole blocks before their parts
    names = {part: name for name, part in parts.items() if name in {*teacher.layers, *others[1 : LAYERS + 1]}}
    kept: dict[str, list[tuple[Tensor, float]]] = {}  # spatial means and variance, in the order in which layers ran

    def hook(part: nn.Module, _given: Any, output: Any) -> None:
        name = names[part]
        try:
            feature = to_map(output, teacher.layers.get(name, "auto"), clues, part)
        except Exception:  # whatever is no map is no layer to name
            return
        variance = float(feature.double().var(dim=(0, 2, 3), correction=0).mean())
        kept.setdefault(name, []).append((feature.mean(dim=(2, 3)).double().cpu(), variance))

    with watched(teacher.module) as clues, ExitStack() as hooks:
        for part in names:
            hooks.enter_context(part.register_forward_hook(hook))
        logits = torch.cat([answers(teacher, part) for part in inputs.split(CHUNK)]).cpu().numpy()
    found = {}
    for name, seen in kept.items():
        rows = torch.cat([means for means, _ in seen]).numpy()
        if len(rows) == len(logits):  # not so for a layer that runs more than once in a forward
            found[name] = layer_numbers(rows, logits) | {
                "channels": rows.shape[1],
                "variance": float(np.mean([variance for _, variance in seen])),
                "named": name in teacher.layers,
            }
    return found


def layer_numbers(rows: np.ndarray, logits: np.ndarray) -> Numbers:
    """Rank, silent channels and what is explained of the logits, of (image, channel) and (image, label)."""
    answer = {"logits": logits, "probabilities": softmax(logits)} if rows.shape == logits.shape else {}
    same = [k for k, v in answer.items() if np.abs(rows - v).max() <= 1e-4 * max(np.abs(v).max(), 1e-12)]
    return {
        "explained": explained(rows, logits - logits.mean(axis=1, keepdims=True)),
        # torch's singular values, as its threads are limited above
        "rank": rank(torch.linalg.svdvals(torch.from_numpy(centred(rows))).numpy()),
        "silent": dead_share(rows),
        "variation": float(np.sqrt(rows.var(axis=0).mean() / max(float((rows**2).mean()), 1e-300))),
        "is": ["feature", *same][-1],
    }


def explained(rows: np.ndarray, targets: np.ndarray) -> float | None:
    """R² of a ridge regression on rows it was not fitted to, two folds; None for fewer than 16 rows."""
    count = len(rows)
    if count < 16:
        return None
    spread = rows.std(axis=0)
    varies = spread > 1e-9 * max(float(np.abs(rows).max()), 1e-30)
    if not varies.any():
        return 0.0
    rows = (rows[:, varies] - rows[:, varies].mean(axis=0)) / spread[varies]
    left = total = 0.0
    for fold in range(2):
        test = np.arange(count) % 2 == fold
        mean = targets[~test].mean(axis=0)
        kernel = rows @ rows[~test].T / rows.shape[1]
        system = kernel[~test] + 1e-2 * np.eye(int((~test).sum()))
        weights = torch.linalg.solve(torch.from_numpy(system), torch.from_numpy(targets[~test] - mean)).numpy()
        left += float(((kernel[test] @ weights + mean - targets[test]) ** 2).sum())
        total += float(((targets[test] - targets[test].mean(axis=0)) ** 2).sum())
    return 1 - left / total if total > 0 else 0.0


def one_line(error: Exception) -> str:
    """What an error says, short enough for a list."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def jsonable(value: Any) -> Any:
    """The same with numbers that JSON has: NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
