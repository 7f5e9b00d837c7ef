"""Ways to spoil a healthy problem: what is to be broken is rebuilt, nothing is trained anew.

`faults.py` has the table of which are injected, how strongly and where. Longer than 400 lines: many small ways.
"""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ka_explore import Pool, Preprocess, Problem, Student
from ka_explore.problem.layers import Outputs
from ka_explore.problem.teachers import rebuilt


@dataclass(frozen=True)
class Case:
    """A broken run: on what, by which method, with which options."""

    problem: Problem
    method: str = "common_feature"
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 150


def with_teacher(problem: Problem, place: int, **changes: Any) -> Problem:
    """The problem with one teacher rebuilt; it is then one made by hand."""
    teachers = list(problem.teachers)
    teachers[place] = rebuilt(teachers[place], **changes)
    return dataclasses.replace(problem, teachers=teachers, name="", options={})


@dataclass(frozen=True)
class Fed:
    """A teacher's own preprocessing with something done before or after it."""

    own: Any
    before: tuple[float, float] = (1.0, 0.0)
    after: tuple[float, float] = (1.0, 0.0)
    flip: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        images = images.flip(1) if self.flip else images
        return self.own(images * self.before[0] + self.before[1]) * self.after[0] + self.after[1]


def fed(**how: Any) -> Callable[[Problem, Any], Case]:
    """A fault of preprocessing of the first teacher; ``how`` is overridden by the strength."""

    def make(problem: Problem, strength: Mapping[str, Any]) -> Case:
        own = problem.teachers[0].preprocess
        return Case(with_teacher(problem, 0, preprocess=Fed(own, **{**how, **strength})), steps=60)

    return make


def sized(problem: Problem, factor: float) -> Case:
    """The second teacher gets images of another size."""
    own, height = problem.teachers[1].preprocess, problem.pool.images.shape[1]
    assert isinstance(own, Preprocess)
    broken = dataclasses.replace(own, size=max(round(height * factor), 4))
    return Case(with_teacher(problem, 1, preprocess=broken), steps=60)


def unnormalised(problem: Problem, mean_std: tuple[float, float] | None) -> Case:
    """The first teacher gets images with another mean and deviation, or as they are in the pool."""
    broken = Preprocess() if mean_std is None else Preprocess(mean=(mean_std[0],), std=(mean_std[1],))
    return Case(with_teacher(problem, 0, preprocess=broken), steps=60)


# Other modules.


@dataclass(frozen=True)
class Louder:
    """Reads logits times a factor, plus a number."""

    own: Any
    factor: float = 1.0
    bias: float = 0.0

    def __call__(self, output: Any) -> Tensor:
        return self.own(output) * self.factor + self.bias


def louder(problem: Problem, how: Mapping[str, float]) -> Case:
    """The first teacher's logits are scaled or lifted."""
    return Case(with_teacher(problem, 0, read=Louder(problem.teachers[0].read, **how)), steps=100)


def batch_normed(problem: Problem, how: str) -> Case:
    """Batch norms of the first teacher go on normalising by the batch at hand."""
    module = copy.deepcopy(problem.teachers[0].module)
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms[-1:] if how == "the last" else norms:
        if how == "functional":
            norm.forward = lambda x, norm=norm: functional.batch_norm(x, None, None, norm.weight, norm.bias, True)
        else:
            norm.track_running_stats = False
            norm.running_mean = norm.running_var = None
    return Case(with_teacher(problem, 0, module=module), steps=60)


def within(problem: Problem, place: int, wrap: Callable[[Any], nn.Module]) -> Problem:
    """The problem with one teacher's net as ``net`` within another module."""
    old = problem.teachers[place]
    layers = [f"net.{name}" for name in old.layers if name not in old.blocks]
    blocks = [f"net.{name}" for name in old.blocks]
    return with_teacher(problem, place, module=wrap(copy.deepcopy(old.module)), layers=layers, blocks=blocks)


class Noisy(nn.Module):
    """A net with dropout on its head's input that stays on in eval mode."""

    def __init__(self, net: nn.Sequential, share: float):
        super().__init__()
        self.net, self.share = net, share
        net.head[-1].register_forward_pre_hook(lambda _m, given: (functional.dropout(given[0], share, True),))

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.net(images)
        return out


def noisy(problem: Problem, share: float) -> Case:
    """Dropout stays on in the first teacher."""
    return Case(within(problem, 0, lambda net: Noisy(net, share)), steps=60)


def untrained(problem: Problem, how: str) -> Case:
    """The first teacher's weights were never loaded."""
    module = copy.deepcopy(problem.teachers[0].module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        parts = list(module.modules()) if how == "all" else list(module[-1].modules())
        for part in parts:
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()
    return Case(with_teacher(problem, 0, module=module), steps=60)


# Layers.


def with_layer(problem: Problem, which: str) -> Case:
    """The first teacher's feature is another layer."""
    old = problem.teachers[0]
    named = [name for name in old.layers if name not in old.blocks]
    layers = {"earliest": named[:1], "early": named[:2], "logits": [*named, "head"]}[which]
    return Case(with_teacher(problem, 0, layers=layers, blocks=old.blocks), steps=100)


class Squeezed(nn.Module):
    """A net with one more module beside its head that nothing reads: a degenerate layer to be named by mistake."""

    def __init__(self, net: nn.Sequential, how: str):
        super().__init__()
        self.net = net
        self.extra = Extra(how)

    def forward(self, images: Tensor) -> Tensor:
        feature = images
        for name, part in self.net.named_children():
            if name == "head":
                self.extra(feature, part)
            feature = part(feature)
        return feature


class Extra(nn.Module):
    """One channel, a constant, or the probabilities."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how

    def forward(self, feature: Tensor, head: nn.Module) -> Tensor:
        if self.how == "one channel":
            return feature.mean(dim=1, keepdim=True)
        if self.how == "constant":
            return torch.ones_like(feature) + 1e-7 * feature
        if self.how == "nearly constant":
            return torch.ones_like(feature) + feature.mean(dim=1, keepdim=True) * 1e-3
        return torch.softmax(head(feature), dim=1)


def degenerate(problem: Problem, how: str) -> Case:
    """The first teacher's feature says next to nothing."""
    old = problem.teachers[0]
    module = Squeezed(copy.deepcopy(old.module), how)
    blocks = [f"net.{name}" for name in old.blocks]
    return Case(with_teacher(problem, 0, module=module, layers=["extra"], blocks=blocks), steps=100)


class Silenced(nn.Module):
    """A net some of whose last channels are always zero."""

    def __init__(self, net: nn.Sequential, share: float):
        super().__init__()
        self.net = net
        last = [name for name, _ in net.named_children() if name != "head"][-1]

        def silence(_module: nn.Module, _given: Any, output: Tensor) -> Tensor:
            output = output.clone()
            output[:, : round(share * output.shape[1])] = 0
            return output

        dict(net.named_children())[last].register_forward_hook(silence)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.net(images)
        return out


def dead_student(problem: Problem, share: float) -> Case:
    """Most of the student's last channels are dead from the beginning: their bias keeps the ReLU shut."""
    make = problem.student

    def student(labels: Any) -> Student:
        net = make(labels)
        *_, norm = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
        dead = round(share * norm.num_features)
        with torch.no_grad():
            norm.weight[:dead] = 0
            norm.bias[:dead] = -10
        return net

    return Case(dataclasses.replace(problem, student=student, name="", options={}), steps=150)


def dead_teacher(problem: Problem, share: float) -> Case:
    """Many channels of the second teacher's feature are zero."""
    return Case(within(problem, 1, lambda net: Silenced(net, share)), steps=100)


# Labels.


def permuted(problem: Problem, moved: int) -> Case:
    """The first so many labels of the first teacher go round in a circle."""
    labels = list(problem.teachers[0].labels)
    moved = min(moved, len(labels))
    broken = [*labels[1:moved], labels[0], *labels[moved:]]
    # the truth stays what it was: the pool's labels are read by name
    return Case(with_teacher(dataclasses.replace(problem, test=None), 0, labels=broken), steps=60)


def disagreeing(problem: Problem, moved: int) -> Case:
    """The same where no label is known: two teachers of the same labels, of which one means others."""
    case = permuted(problem, moved)
    return dataclasses.replace(case, problem=dataclasses.replace(case.problem, pool=case.problem.pool.without_labels()))


def twice(problem: Problem, _strength: Any) -> Case:
    """The first teacher once more under another name."""
    old = problem.teachers[0]
    teachers = [*problem.teachers, rebuilt(old, name="the same again")]
    return Case(dataclasses.replace(problem, teachers=teachers, name="", options={}), steps=60)


def foreign(problem: Problem, share: float) -> Case:
    """Of the first teacher's classes the pool holds only a share of the images."""
    task = problem.teachers[0].task
    y = torch.tensor(problem.pool.labels[task])
    mine = torch.isin(y, torch.tensor([problem.labels.classes_of(problem.teachers[0].name)]))
    places = mine.nonzero().flatten()
    keep = torch.cat([(~mine).nonzero().flatten(), places[: round(share * len(places))]]).sort().values.numpy()
    pool = type(problem.pool)(problem.pool.images[keep], labels={task: problem.pool.labels[task][keep]})
    return Case(dataclasses.replace(problem, pool=pool, name="", options={}), steps=60)


# Features and options.


class Amplified(nn.Module):
    """A net whose last feature is larger, and whose head takes that back."""

    def __init__(self, net: nn.Sequential, factor: float):
        super().__init__()
        self.body = nn.Sequential(*[part for name, part in net.named_children() if name != "head"])
        self.feature, self.head, self.factor = nn.Identity(), net.head, factor

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.feature(self.body(images) * self.factor) / self.factor)
        return out


def loud_feature(problem: Problem, factor: float) -> Case:
    """The first teacher's feature is so many times as large, and errors are not divided by its variance."""
    module = Amplified(copy.deepcopy(problem.teachers[0].module), factor)
    new = with_teacher(problem, 0, module=module, layers=["feature"], blocks=None)
    return Case(new, options={"reconstruction": "mean"}, steps=100)


def options(method: str = "common_feature", steps: int = 150, **fixed: Any) -> Callable[[Problem, Any], Case]:
    """A fault of options alone."""

    def make(problem: Problem, strength: Mapping[str, Any]) -> Case:
        chosen = {**fixed, **strength}
        return Case(problem, method, chosen, chosen.pop("steps", steps))

    return make


def starved(problem: Problem, factor: float) -> Case:
    """The first teacher is surer by nature of its scale, the selection hard."""
    case = louder(problem, {"factor": factor})
    return dataclasses.replace(case, method="adaptive", steps=60)


def biased(problem: Problem, bias: float) -> Case:
    """The other teachers say one and the same label of all images, and are sure of it: they win the selection.

    Where they say nothing else any more, that is the cause, and is what should be named.
    """
    teachers = [problem.teachers[0]]
    for old in problem.teachers[1:]:
        push = torch.zeros(len(old.labels))
        push[0] = bias
        teachers.append(rebuilt(old, read=Pushed(old.read, tuple(push.tolist()))))
    return Case(dataclasses.replace(problem, teachers=teachers, name="", options={}), "adaptive", {}, 60)


# The student and the pool.


def with_student(problem: Problem, spoil: Callable[[Student], Any]) -> Problem:
    """The problem with something done to every student that is made."""
    make = problem.student

    def student(labels: Any) -> Student:
        net = make(labels)
        spoil(net)
        return net

    return dataclasses.replace(problem, student=student, name="", options={})


def frozen(problem: Problem, parts: slice) -> Case:
    """Some of the student's weights say that they are not to be trained."""
    return Case(
        with_student(problem, lambda net: [p.requires_grad_(False) for p in [*net.parameters()][parts]]), steps=60
    )


def detached(problem: Problem, which: int) -> Case:
    """No gradient gets past one of the student's batch norms."""

    def spoil(net: Student) -> None:
        norm = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)][which]
        norm.register_forward_hook(lambda _module, _given, output: output.detach())

    return Case(with_student(problem, spoil), steps=60)


def evaluating(problem: Problem, _strength: Any) -> Case:
    """The student's forward puts its batch norms into eval mode."""

    def spoil(net: Student) -> None:
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.register_forward_pre_hook(lambda module, _given: setattr(module, "training", False))

    return Case(with_student(problem, spoil), steps=60)


def repeated(problem: Problem, how: tuple[int, float]) -> Case:
    """The pool is a few of its images, over and over, each time with a little noise."""
    count, noise = how
    places = torch.arange(len(problem.pool)).remainder(count).numpy()
    images = problem.pool.images[places]
    images = (images + noise * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    pool = Pool(images, labels={task: y[places] for task, y in (problem.pool.labels or {}).items()})
    return Case(dataclasses.replace(problem, pool=pool, name="", options={}), steps=60)


@dataclass(frozen=True)
class Moody:
    """Reads logits all of which are lifted or lowered together, by what looks like chance, from image to image."""

    own: Any
    height: float

    def __call__(self, output: Any) -> Tensor:
        logits: Tensor = self.own(output)
        return logits + self.height * torch.sin(100 * logits[:, :1])


def moody(problem: Problem, height: float) -> Case:
    """How loud the first teacher speaks has nothing to do with the image; what it says is as right as ever."""
    return Case(with_teacher(problem, 0, read=Moody(problem.teachers[0].read, height)), steps=100)


def as_it_is(problem: Problem, _strength: Any) -> Case:
    """Nothing is done: the problem has the fault by nature."""
    return Case(problem)


@dataclass(frozen=True)
class Pushed:
    """Reads logits with a number added to each."""

    own: Any
    push: tuple[float, ...]

    def __call__(self, output: Any) -> Tensor:
        logits: Tensor = self.own(output)
        return logits + logits.new_tensor(self.push)


# Weights, images and answers as public bug reports have them.


def turned(problem: Problem, how: tuple[str, tuple[Any, ...]]) -> Case:
    """The first teacher gets the images turned over or moved: an operation of tensors and its arguments."""
    own, (operation, arguments) = problem.teachers[0].preprocess, how
    return Case(
        with_teacher(problem, 0, preprocess=lambda images: own(getattr(images, operation)(*arguments))), steps=60
    )


def cut(problem: Problem, sides: tuple[float, float]) -> Case:
    """The first teacher never sees a share of the rows at the top and of the columns at the left."""
    own = problem.teachers[0].preprocess

    def prepare(images: Tensor) -> Tensor:
        top, left = (round(share * size) for share, size in zip(sides, images.shape[2:], strict=True))
        return own(images[:, :, top:, left:])

    return Case(with_teacher(problem, 0, preprocess=prepare), steps=60)


def spoilt(spoil: Callable[[nn.Sequential, Any], None]) -> Callable[[Problem, Any], Case]:
    """Weights of the first teacher are spoilt: ``spoil(net, strength)``."""

    def make(problem: Problem, strength: Any) -> Case:
        module = copy.deepcopy(problem.teachers[0].module)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(5)
            spoil(module, strength)
        return Case(with_teacher(problem, 0, module=module), steps=60)

    return make


def half_loaded(net: nn.Sequential, what: str) -> None:
    """Parts are drawn anew: the first convolution, the convolutions of the last block, that block, half of the net."""
    parts = list(net)
    convolutions = [part for part in net.modules() if isinstance(part, nn.Conv2d)]
    chosen = {
        "first convolution": convolutions[:1],
        "last convolutions": [part for part in parts[-2].modules() if isinstance(part, nn.Conv2d)],
        "last block": parts[-2].modules(),
        "half": [part for child in parts[len(parts) // 2 :] for part in child.modules()],
        "statistics": [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)],
    }[what]
    for part in chosen:
        again = getattr(part, "reset_running_stats" if what == "statistics" else "reset_parameters", None)
        if again is not None:
            again()


def shuffled(net: nn.Sequential, which: str) -> None:
    """The statistics of the first, a middle, the last or all batch norms are of other channels."""
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in {"first": norms[:1], "middle": norms[1:2], "last": norms[-1:], "all": norms}[which]:
        order = torch.randperm(norm.num_features)
        norm.running_mean.copy_(norm.running_mean[order])
        norm.running_var.copy_(norm.running_var[order])


def normalised(problem: Problem, how: tuple[str, int]) -> Case:
    """The first teachers put out probabilities or their logarithms, of so many teachers."""
    kind, count = how
    for place in range(min(count, len(problem.teachers))):
        own = problem.teachers[place].read
        problem = with_teacher(problem, place, read=lambda output, own=own: getattr(own(output), kind)(dim=1))
    return Case(problem, steps=60)


# Found by others: they were set aside until they helped to mend the diagnosis.


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
        return dataclasses.replace(out, logits=functional.softmax(out.logits, dim=1))

    net.forward = probabilities  # type: ignore[method-assign]


def black(problem: Problem, share: float) -> Case:
    """Images that could not be decoded came out black."""
    images, labels = problem.pool.images[:].clone(), problem.pool.labels
    images[: round(share * len(images))] = 0
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).numpy()
    pool = Pool(images[order], labels=None if labels is None else {task: y[order] for task, y in labels.items()})
    return Case(dataclasses.replace(problem, pool=pool, name="", options={}), steps=150)


def noise(images: Tensor, random: torch.Generator) -> Tensor:
    """Nothing is left of the images."""
    return (0.05 * images + torch.rand(images.shape, generator=random)).clamp(0, 1)


def hidden(problem: Problem, _strength: Any) -> Case:
    """An augmentation hides what the images show."""
    pool = Pool(problem.pool.images, labels=problem.pool.labels, augment=noise)
    return Case(dataclasses.replace(problem, pool=pool, name="", options={}), steps=60)
