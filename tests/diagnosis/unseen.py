"""Faults set aside: the diagnosis was written, and its thresholds chosen, without them.

They come from public bug reports about pretrained nets. ``make faults`` injects them too, and docs quote how many are
named. Whoever tunes the diagnosis on one of them moves it to `faults.FAULTS` and writes another.
"""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from faults import Case, Fault, with_teacher
from torch import Tensor, nn
from torch.nn import functional

from ka_explore import Pool, Problem, Student
from ka_explore.problem.layers import Outputs


def fed_with(how: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]) -> Callable[[Problem, Any], Case]:
    """The first teacher's own preprocessing, and what is done to its images besides."""

    def make(problem: Problem, _strength: Any) -> Case:
        own = problem.teachers[0].preprocess or (lambda images: images)
        return Case(with_teacher(problem, 0, preprocess=lambda images: how(images, own)), steps=60)

    return make


def coarse(images: Tensor, own: Callable[[Tensor], Tensor]) -> Tensor:
    """A thumbnail that was enlarged again."""
    small = functional.interpolate(images, scale_factor=0.4, mode="nearest")
    return own(functional.interpolate(small, images.shape[2:], mode="nearest"))


def changed(how: Callable[[nn.Module], nn.Module | None]) -> Callable[[Problem, Any], Case]:
    """The first teacher's module changed in place, or another."""

    def make(problem: Problem, _strength: Any) -> Case:
        module = copy.deepcopy(problem.teachers[0].module)
        return Case(with_teacher(problem, 0, module=how(module) or module), steps=60)

    return make


def leaky(net: nn.Module) -> None:
    """Every ReLU became a leaky one: the activation was lost in a port."""
    for part in list(net.modules()):
        for name, inner in part.named_children():
            if isinstance(inner, nn.ReLU):
                setattr(part, name, nn.LeakyReLU(0.5))


def deviations(net: nn.Module) -> None:
    """Batch norms hold standard deviations where variances belong."""
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_var is not None:
            part.running_var.sqrt_()


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


def of_students(change: Callable[[Student], None]) -> Callable[[Problem, Any], Case]:
    """The student made otherwise."""

    def make(problem: Problem, _strength: Any) -> Case:
        make_own = problem.student

        def student(labels: Any) -> Student:
            net = make_own(labels)
            change(net)
            return net

        return Case(dataclasses.replace(problem, student=student, name="", options={}), steps=150)

    return make


def ends_in_softmax(net: Student) -> None:
    """It gives probabilities where logits are wanted."""
    forward = net.forward

    def probabilities(images: Tensor) -> Outputs:
        out = forward(images)
        return out._replace(logits=functional.softmax(out.logits, dim=1))

    net.forward = probabilities  # type: ignore[method-assign]


def of_zeros(net: Student) -> None:
    """Its weights were initialised with zeros."""
    for parameter in net.parameters():
        nn.init.zeros_(parameter)


def half_black(problem: Problem, share: float) -> Case:
    """Images that could not be decoded came out black."""
    images, labels = problem.pool.images[:].clone(), problem.pool.labels
    images[: round(share * len(images))] = 0
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).numpy()
    pool = Pool(images[order], labels=None if labels is None else {task: y[order] for task, y in labels.items()})
    return Case(dataclasses.replace(problem, pool=pool, name="", options={}), steps=150)


def pale(problem: Problem, share: float) -> Case:
    """All images of the pool are pale: every teacher meets them like that."""
    pool = Pool(problem.pool.images[:] * share + (1 - share) / 2, labels=problem.pool.labels)
    return Case(dataclasses.replace(problem, pool=pool, name="", options={}), steps=60)


FED, WEIGHTS = ("wrong_preprocessing",), ("weights_not_loaded", "mixed_weights")
UNSEEN: Mapping[str, Fault] = {
    name: Fault(named, {"as it is": strength}, ("as it is",), ("digits", "mnist"), make)
    for name, (named, strength, make) in {
        "a quarter turn, orientation lost": (FED, None, fed_with(lambda x, own: own(x.rot90(1, (2, 3))))),
        "normalised twice": (FED, None, fed_with(lambda x, own: own(own(x)))),
        "enlarged thumbnails": (FED, None, fed_with(coarse)),
        "pale images": (FED, 0.2, pale),
        "activation lost in a port": ((*FED, *WEIGHTS), None, changed(leaky)),
        "deviations for variances": ((*FED, *WEIGHTS), None, changed(deviations)),
        "a layer dequantised wrongly": ((*FED, *WEIGHTS), None, changed(rescaled)),
        "channels of the head reordered": ((*WEIGHTS, "says_nothing", "labels_permuted"), None, changed(reordered)),
        "answers in another order": (("random_answers", "train_mode_batch_norm"), None, in_reverse),
        "student ends in a softmax": (("normalised_answers",), None, of_students(ends_in_softmax)),
        "student of zeros": (("student_not_moving",), None, of_students(of_zeros)),
        "half the pool is black": (("few_distinct_images",), 0.5, half_black),
    }.items()
}
