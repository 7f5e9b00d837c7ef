"""Faults set aside: the diagnosis was written, and its thresholds chosen, without them.

They come from public bug reports about pretrained nets. ``make faults`` injects them too, and docs quote how many are
named. Whoever tunes the diagnosis on one of them moves it to `faults.FAULTS` and writes another.
"""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import spoil_images
import spoil_nets as nets
import torch
from faults import FED, WEIGHTS, Fault
from spoil import Case, changed, of_students, with_teacher, within
from spoil_images import fed_with
from torch import Tensor, nn
from torch.nn import functional

from ka_explore import Pool, Problem, Student


def coarse(images: Tensor, own: Callable[[Tensor], Tensor]) -> Tensor:
    """A thumbnail that was enlarged again."""
    small = functional.interpolate(images, scale_factor=0.4, mode="nearest")
    return own(functional.interpolate(small, images.shape[2:], mode="nearest"))


def framed(images: Tensor, own: Callable[[Tensor], Tensor]) -> Tensor:
    """The image at two thirds of its size within a black frame."""
    height, width = images.shape[2:]
    small = functional.interpolate(images, (height * 2 // 3, width * 2 // 3), mode="bilinear", antialias=True)
    top, left = (height - small.shape[2]) // 2, (width - small.shape[3]) // 2
    bottom, right = height - small.shape[2] - top, width - small.shape[3] - left
    return own(functional.pad(small, (left, right, top, bottom)))


def turned_over(net: nn.Module) -> None:
    """Kernels come from a library that turns them over before it slides them."""
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.copy_(part.weight.flip(2, 3))


def averaged(net: nn.Module) -> None:
    """A running average of the weights that began at random ones and had too few steps to forget them."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(7)
        for part in net.modules():
            if isinstance(part, nn.Conv2d):
                start = copy.deepcopy(part)
                start.reset_parameters()
                part.weight.mul_(0.5).add_(start.weight, alpha=0.5)


def rescaled(net: nn.Module) -> None:
    """One convolution in the middle was dequantised with a wrong scale."""
    convolutions = [part for part in net.modules() if isinstance(part, nn.Conv2d)]
    with torch.no_grad():
        convolutions[len(convolutions) // 2].weight *= 0.1


def reordered(net: nn.Module) -> None:
    """The head takes the channels of the feature in another order."""
    linear = [part for part in net.modules() if isinstance(part, nn.Linear)][-1]
    with torch.no_grad():
        linear.weight.copy_(linear.weight.roll(linear.in_features // 2, dims=1))


class Reversed(nn.Module):
    """Answers come back in another order than the images went in."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.net(images).flip(0)
        return out


def in_reverse(problem: Problem, _strength: Any) -> Case:
    """The first teacher's answers belong to other images of the batch."""
    old = problem.teachers[0]
    named = {
        "layers": [f"net.{n}" for n in old.layers if n not in old.blocks],
        "blocks": [f"net.{n}" for n in old.blocks],
    }
    return Case(with_teacher(problem, 0, module=Reversed(copy.deepcopy(old.module)), **named), steps=60)


def of_zeros(net: Student) -> None:
    """Its weights were initialised with zeros."""
    for parameter in net.parameters():
        nn.init.zeros_(parameter)


def frames(problem: Problem, films: int) -> Case:
    """The pool was cut from so few films: image after image of each, a little moved and noisy."""
    images, random = problem.pool.images[:].clone(), torch.Generator().manual_seed(0)
    each = -(-len(images) // films)
    shots = images[:films].repeat_interleave(each, 0)[: len(images)]
    noisy = shots + 0.01 * torch.randn(shots.shape, generator=random)
    labels = {task: y[:films].repeat(each)[: len(images)] for task, y in (problem.pool.labels or {}).items()}
    pool = Pool(noisy.clamp(0, 1), labels=labels)
    return Case(dataclasses.replace(problem, pool=pool, name="", options={}), steps=150)


def erased(images: Tensor, random: torch.Generator) -> Tensor:
    """Random erasing that leaves a quarter of each image."""
    height, width = images.shape[2:]
    kept = torch.zeros_like(images)
    top, left = (int(torch.randint(0, side // 2 + 1, (1,), generator=random)) for side in (height, width))
    window = (..., slice(top, top + height // 2), slice(left, left + width // 2))
    kept[window] = images[window]
    return kept


def erasing(problem: Problem, _strength: Any) -> Case:
    """An augmentation leaves little of the images."""
    pool = Pool(problem.pool.images, labels=problem.pool.labels, augment=erased)
    return Case(dataclasses.replace(problem, pool=pool, name="", options={}), steps=60)


def pale(problem: Problem, share: float) -> Case:
    """All images of the pool are pale: every teacher meets them like that."""
    pool = Pool(problem.pool.images[:] * share + (1 - share) / 2, labels=problem.pool.labels)
    return Case(dataclasses.replace(problem, pool=pool, name="", options={}), steps=60)


class Negated(nn.Module):
    """Distances where similarities belong: the least is meant."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = -self.net(images)
        return out


def negated(problem: Problem, _strength: Any) -> Case:
    """The first teacher's logits have the other sign."""
    return Case(within(problem, 0, Negated), steps=60)


def every_way(problem: Problem, _strength: Any) -> Case:
    """Every image of the pool is turned by another right angle than the one before."""
    images = problem.pool.images[:].clone()
    for turns in range(4):
        images[turns::4] = images[turns::4].rot90(turns, (2, 3))
    pool = Pool(images, labels=problem.pool.labels)
    return Case(dataclasses.replace(problem, pool=pool, name="", options={}), steps=60)


ANY = (*FED, *WEIGHTS)
MISTAKEN = ("labels_permuted", "wrong_answers")
CHEAP = ("gamma twice", "logits cut off")
"""Weak faults: they cost the teacher less than a tenth of its right answers."""
ONLY = dict.fromkeys(("edges only", "another smooth activation"), ("mnist",))
"""Problems on which a fault is strong, where it is weak on the other."""

UNSEEN: Mapping[str, Fault] = {
    name: Fault(
        named,
        {"as it is": strength},
        () if name in CHEAP else ("as it is",),
        ONLY.get(name, ("digits", "mnist")),
        make,
    )
    for name, (named, strength, make) in {
        "a quarter turn, orientation lost": (FED, None, fed_with(lambda x, own: own(x.rot90(1, (2, 3))))),
        "normalised twice": (FED, None, fed_with(lambda x, own: own(own(x)))),
        "enlarged thumbnails": (FED, None, fed_with(coarse)),
        "gamma twice": (FED, None, fed_with(lambda x, own: own(x**2.2))),
        "shrunk into a frame": (FED, None, fed_with(framed)),
        "pale images": (FED, 0.2, pale),
        "a layer dequantised wrongly": ((*FED, *WEIGHTS), None, changed(rescaled)),
        "kernels turned over in a port": ((*FED, *WEIGHTS), None, changed(turned_over)),
        "averaged with where it began": ((*FED, *WEIGHTS), None, changed(averaged)),
        "channels of the head reordered": ((*WEIGHTS, "says_nothing", "labels_permuted"), None, changed(reordered)),
        "answers in another order": (("random_answers", "train_mode_batch_norm"), None, in_reverse),
        "student of zeros": (("student_not_moving",), None, of_students(of_zeros)),
        "frames of a few films": (("few_distinct_images",), 20, frames),
        "most of an image erased": (("augment_hides",), None, erasing),
        "edges only": (FED, None, fed_with(spoil_images.edges_only)),
        "tilted": (ANY, None, fed_with(spoil_images.tilted)),
        "speckled": (FED, None, fed_with(spoil_images.speckled)),
        "a stamp in the middle": (FED, None, fed_with(spoil_images.stamped)),
        "weights pruned": (ANY, None, changed(nets.pruned)),
        "weights corrupted": (ANY, None, changed(nets.corrupted)),
        "weights decayed": (ANY, None, changed(nets.decayed)),
        "a convolution dilated": (ANY, None, changed(nets.dilated)),
        "activations cut off": (ANY, None, changed(nets.saturated)),
        "another smooth activation": (ANY, None, changed(nets.smoother)),
        "norms folded twice": (ANY, None, changed(nets.folded_twice)),
        "head shuffled": ((*WEIGHTS, "says_nothing", *MISTAKEN), None, changed(nets.head_shuffled)),
        "logits with the other sign": (MISTAKEN, None, negated),
        "logits cut off": (("underconfident", "starved_teacher"), None, nets.read_with(lambda z: z.clamp(-1, 1))),
        "a class never answered": (MISTAKEN, None, nets.read_with(nets.first_lost)),
        "pool turned every way": (FED, None, every_way),
    }.items()
}
