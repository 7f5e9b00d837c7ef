"""Examining a problem's teachers: are they fed what they were trained on, do their layers say anything, do they speak
for themselves.

The part of the diagnosis that needs the nets. Every teacher is asked about the same few images of the pool, as it is
fed in the run and in other ways (another normalisation, another size), in other company, and at all its layers. What
comes out is numbers alone, so that `ka_explore.diagnosis` can judge them later, without the nets and without torch.
Looking changes nothing: nets are frozen and in eval mode, hooks live for one call, no label is read.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from ka_explore.diagnosis.numbers import distinct, information
from ka_explore.probes.logits import logsumexp, softmax
from ka_explore.probes.samples import centred
from ka_explore.probes.spectrum import dead_share, rank
from ka_explore.problem.layers import as_taken, read_logits, to_map
from ka_explore.problem.layouts import watched
from ka_explore.problem.neighbours import thumbnails
from ka_explore.problem.pool import permutation
from ka_explore.problem.problem import Problem
from ka_explore.problem.teachers import Preprocess, Teacher
from ka_explore.run.environment import computing

IMAGES = 256  # of the pool, those of the probe set first
ASKED = 128  # of these are also given in other ways: twenty ways cost as much as ten looks at all
CHUNK = 64  # images a forward
LAYERS = 48  # layers of a net that are looked at besides the named ones, so that deep nets do not take minutes
SMALL = 2_000_000  # nets with fewer parameters run fastest on one thread
ALONE = 8  # images that are asked one by one
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

Numbers = dict[str, Any]


def examine(problem: Problem, *, images: int = IMAGES) -> Numbers:
    """What the teachers make of so many of the pool's images, as numbers that go into a JSON file.

    Returns:
        ``images``, ``shape`` (of the pool's images), ``distinct`` (how many of them differ) and, by name in
        ``teachers``:

        ``fed``: mean, standard deviation, least, largest value and shape of what the net is given;
        ``given`` and ``alternatives`` (by what was done to what the net is given): see `measure`;
        ``batch_dependence``: how far an answer moves when the other images of its batch change, and ``noise``, when
        nothing does, both as root mean square relative to the logits' deviation; ``training``: modules that stay in
        training mode; ``layers``: see `layers_of_teacher`; ``parameters``; ``failed``: what could not be asked, why.
    """
    index = permutation(len(problem.pool), 0, -1)[:images]
    pictures = problem.pool.images[index]
    small = sum(p.numel() for t in problem.teachers for p in t.module.parameters()) < SMALL
    with computing(1 if small else None):
        teachers = {t.name: examine_teacher(t, pictures, own_labels(problem, t, index)) for t in problem.teachers}
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
    teacher: Teacher, images: Float[Tensor, "image channel height width"], truth: np.ndarray
) -> Numbers:
    """The numbers of one teacher, see `examine`; ``truth`` marks its answers, -1 for images that are not its own."""
    images = images.to(next((p.device for p in teacher.module.parameters()), images.device))
    teacher.run(images[:2], teacher.layers)  # puts the net into eval mode, as every use of it does
    failed: dict[str, str] = {}
    inputs = images if teacher.preprocess is None else teacher.preprocess(images)
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
        },
        "training": [name or "the net" for name, part in teacher.module.named_modules() if part.training],
        "given": measure(teacher, inputs[:ASKED], truth),
        "own_images": int((truth[:ASKED] >= 0).sum()),
        "alternatives": {},
    }
    for name, change in alternatives(teacher, images[:ASKED], inputs[:ASKED]).items():
        try:
            found["alternatives"][name] = measure(teacher, change(), truth)
        except Exception as error:  # a net may refuse another size in any way
            failed[name] = one_line(error)
    try:
        found |= batch_dependence(teacher, inputs)
    except Exception as error:  # batch norm in training mode refuses a single image, say
        failed["batch_dependence"] = one_line(error)
    return jsonable(found | {"layers": layers_of_teacher(teacher, inputs), "failed": failed})


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
        ``right``: share of its own images whose label it tells, None where no label is known.
    """
    with moments(teacher.module) as seen:
        logits = torch.cat([answers(teacher, part) for part in inputs.split(CHUNK)]).cpu().numpy()
    said = logits.argmax(axis=1)
    own = truth[: len(said)] >= 0
    centred = logits - logits.mean(axis=1, keepdims=True)
    scale, most = float(np.sqrt((centred**2).mean())), math.log(max(logits.shape[1], 2))
    far = [divergence(norm, total) for norm, total in seen.items() if total[0] > 0]
    return {
        "information": information(logits) / most,
        "spread": information(centred * (2.0 / scale)) / most if scale > 0 else 0.0,
        "confidence": float(softmax(logits).max(axis=1).mean()),
        "scale": scale,
        "level": float(logsumexp(logits).mean()),
        "mismatch": float(np.mean(far)) if far else None,
        "first": far[0] if far else None,
        "right": float((said[own] == truth[: len(said)][own]).mean()) if own.any() else None,
    }


def answers(teacher: Teacher, inputs: Tensor) -> Float[Tensor, "image label"]:
    """The logits of what the net is given as it stands, in float64."""
    output = teacher.module(as_taken(teacher.module, inputs))
    return read_logits("teacher", teacher.read, output, len(inputs), len(teacher.labels)).double()


@contextmanager
def moments(module: nn.Module) -> Iterator[dict[_BatchNorm, tuple[int, Tensor, Tensor]]]:
    """Within the ``with``: count, sum and sum of squares a channel of what every batch norm with kept moments gets."""
    seen: dict[_BatchNorm, tuple[int, Tensor, Tensor]] = {}

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


def divergence(norm: _BatchNorm, seen: tuple[int, Tensor, Tensor]) -> float:
    """Mean over channels of the divergence of what a batch norm gets from what it kept, each at most 50."""
    count, total, squares = seen
    assert norm.running_mean is not None
    assert norm.running_var is not None
    kept_mean, kept = norm.running_mean.double(), norm.running_var.double() + norm.eps
    mean = total / count
    variance = (squares / count - mean.square()).clamp_min(0) + norm.eps
    far = 0.5 * ((variance + (mean - kept_mean).square()) / kept - 1 - (variance / kept).log())
    return float(far.nan_to_num(50.0, 50.0).clamp(0, 50).mean())


def alternatives(teacher: Teacher, images: Tensor, inputs: Tensor) -> dict[str, Callable[[], Tensor]]:
    """By what it is called: another way to give a net the images of the pool than ``inputs``; made when called."""
    low, high = inputs.amin(), inputs.amax()
    mean = inputs.mean(dim=(0, 2, 3), keepdim=True)
    std = inputs.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
    standard = (inputs - mean) / std

    def sized(what: Tensor, height: float, width: float) -> Tensor:
        size = (max(round(height), 1), max(round(width), 1))
        return functional.interpolate(what, size, mode="bilinear", antialias=True, align_corners=False)

    height, width = inputs.shape[2:]
    ways: dict[str, Callable[[], Tensor]] = {
        "standardised": lambda: standard,
        "inverted": lambda: low + high - inputs,
        "inverted and standardised": lambda: -standard,
        "divided by 255": lambda: inputs / 255,
        "times 255": lambda: inputs * 255,
        "offset removed": lambda: inputs - mean,
        "brought to 0 to 1": lambda: (inputs - low) / (high - low).clamp_min(1e-6),
        "brought to -1 to 1": lambda: (inputs - low) / (high - low).clamp_min(1e-6) * 2 - 1,
        "half the size": lambda: sized(inputs, height / 2, width / 2),
        "double the size": lambda: sized(inputs, 2 * height, 2 * width),
    }
    if images.shape[2:] != inputs.shape[2:]:
        own = teacher.preprocess
        unsized = (
            dataclasses.replace(own, size=None, shorter_side=None, crop=None) if isinstance(own, Preprocess) else None
        )
        ways["the pool's own size"] = lambda: unsized(images) if unsized else sized(inputs, *images.shape[2:])
    if inputs.shape[1] == 3:
        ways["channels in the other order"] = lambda: inputs.flip(1)
        ways["channels in the other order and standardised"] = lambda: standard.flip(1)
        if images.shape[1] == 3:
            usual, deviation = (images.new_tensor(values).view(1, 3, 1, 1) for values in IMAGENET)
            ways["normalised as for ImageNet"] = lambda: (images - usual) / deviation
    return ways


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
