"""Method A written out plainly: the step one writes first, the step one writes last, and slow references of its loss.

Not a test module: `bench_speed.py` and ``tests/test_losses_reference.py`` read it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

BANDWIDTHS = (0.001, 0.01, 0.05, 0.1, 0.2, 1.0, 2.0)

Distances = Callable[[Tensor, Tensor], Tensor]


def mmd_as_published(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared MMD of one teacher: three matrices of distances, 21 kernels, as the code of Luo et al. 2019 has it."""
    x, y = functional.normalize(student, dim=1), functional.normalize(teacher, dim=1)

    def distances(a: Tensor, b: Tensor) -> Tensor:
        return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp_min(1e-12)

    within_x, within_y, between = distances(x, x), distances(y, y), distances(x, y)
    total = x.new_zeros(())
    for bandwidth in BANDWIDTHS:
        kernels = [torch.exp(-squared / (2 * bandwidth**2)).mean() for squared in (within_x, within_y, between)]
        total = total + kernels[0] + kernels[1] - 2 * kernels[2]
    return total.relu()


def differences(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances of all pairs from their differences, one by one: slow, and exact for pairs that nearly meet."""
    return (a[:, None] - b).square().sum(2)


def cdist(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances of all pairs from torch's function for distances."""
    return torch.cdist(a, b).square()


def mmd_by_definition(student: Tensor, teacher: Tensor, distances: Distances = differences) -> Tensor:
    """Squared MMD of one teacher, every one of the 21 kernels with distances of its own."""
    x, y = functional.normalize(student, dim=1), functional.normalize(teacher, dim=1)
    total = x.new_zeros(())
    for bandwidth in BANDWIDTHS:
        kernels = [torch.exp(-distances(*pair) / (2 * bandwidth**2)).mean() for pair in ((x, x), (y, y), (x, y))]
        total = total + kernels[0] + kernels[1] - 2 * kernels[2]
    return total.relu()


def mmd_double_loop(student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """Squared MMD a bandwidth in float64, two loops over the samples."""
    x, y = (
        rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1)[:, None]
        for rows in (student, teacher)
    )
    scale = -1 / (2 * np.array(BANDWIDTHS) ** 2)
    total = np.zeros(len(BANDWIDTHS))
    for i in range(len(x)):
        for j in range(len(x)):
            total += np.exp(np.sum((x[i] - x[j]) ** 2) * scale)
            total += np.exp(np.sum((y[i] - y[j]) ** 2) * scale)
            total -= 2 * np.exp(np.sum((x[i] - y[j]) ** 2) * scale)
    return total / len(x) ** 2


def claims(logits: Sequence[Tensor]) -> Tensor:
    """How far each teacher claims an image: its share of one softmax over all their logits."""
    return torch.stack([z.logsumexp(1) for z in logits], dim=1).softmax(1)


def pulled(point: Tensor, share: Tensor) -> Tensor:
    """The same values; their gradient is scaled by a share an image."""
    share = share.view(-1, *[1] * (point.ndim - 1))
    return share * point + ((1 - share) * point).detach()


class Textbook:
    """A training step of common feature learning as one writes it first, on the modules of a `CommonFeature`.

    Teachers run in every step; every net passes through the shared extractor by itself; one MMD a teacher; plain Adam.

    Args:
        method: gives student, adaptions, extractor, decoders, learning rate and weights; its loss must be the default
            one or that of ``form="clouds"``.
        teachers: of the method's problem, in order.
        together: one pass of all nets through the extractor: with batch norm the mathematics asks for it.
        mmd: of the student's rows and one teacher's.
        follows: the common space takes the student's feature as it is, as in the default's second half.
    """

    def __init__(
        self,
        method: Any,
        teachers: Sequence[Any],
        *,
        together: bool = False,
        mmd: Callable[[Tensor, Tensor], Tensor] = mmd_as_published,
        follows: bool = False,
    ):
        self.method, self.teachers, self.together, self.mmd, self.follows = method, teachers, together, mmd, follows
        self.optimizer = torch.optim.Adam(
            method.parameters(), lr=method.config.learning_rate, weight_decay=method.config.weight_decay
        )
        self.seen: dict[str, Tensor] = {}
        for teacher in teachers:
            teacher.module.get_submodule(teacher.feature_layer).register_forward_hook(self.keeper(teacher.name))

    def keeper(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        """A hook that keeps a layer's output under the teacher's name."""

        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self.seen[name] = output

        return keep

    def loss(self, images: Tensor) -> Tensor:
        """The whole loss on a batch."""
        with torch.no_grad():
            logits = [t.module(images if t.preprocess is None else t.preprocess(images)) for t in self.teachers]
        student = self.method.student(images)
        own_feature = student.features[self.method.student.feature_layer]
        raw = [own_feature.detach() if self.follows else own_feature, *(self.seen[t.name] for t in self.teachers)]
        adapted = [adapt(feature) for adapt, feature in zip(self.method.adaptions, raw, strict=True)]
        if self.together:
            common = self.method.extractor(torch.cat(adapted)).chunk(len(adapted))
        else:
            common = [self.method.extractor(feature) for feature in adapted]

        weights = self.method.config
        target = functional.softmax(torch.cat(logits, dim=1), dim=1)
        loss = -(target * functional.log_softmax(student.logits, dim=1)).sum(1).mean()
        share = claims(logits)
        for i, (feature, own, decode) in enumerate(zip(raw[1:], common[1:], self.method.decoders, strict=True)):
            spread = (feature - feature.mean((0, 2, 3), keepdim=True)).square().mean()
            point = pulled(common[0], share[:, i]) if weights.pull == "claim" else common[0]
            mine, other = (h.mean((2, 3)) if weights.pooling == "mean" else h.flatten(1) for h in (point, own))
            loss = loss + weights.mmd_weight * self.mmd(mine, other)
            loss = loss + weights.reconstruction_weight * functional.mse_loss(decode(own), feature) / spread
            if weights.paired_weight:
                apart = functional.normalize(mine, dim=1) - functional.normalize(other, dim=1)
                loss = loss + weights.paired_weight * apart.square().sum(1).mean()
            if weights.cross_weight:
                loss = loss + weights.cross_weight * functional.mse_loss(decode(point), feature) / spread
        return loss

    def step(self, images: Tensor) -> float:
        """One training step; its loss."""
        loss = self.loss(images)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


class GoodLoop:
    """The same step by someone who knows all that makes it fast, and wants nothing else: no history, no checks.

    Teachers' answers in memory, one pass of all nets, one batched matrix of distances, kernels that are nothing left
    out, one pass of each decoder, fused Adam, and optionally weights and images in the layout that is fast on a CPU.

    Args:
        method: as for `Textbook`.
        images: of the pool.
        answers: what the teachers say of them, in the order of the images.
        memory_format: of weights, images and features.
        follows: as for `Textbook`.
    """

    def __init__(
        self,
        method: Any,
        images: Tensor,
        answers: Mapping[str, Any],
        memory_format: torch.memory_format = torch.contiguous_format,
        *,
        follows: bool = False,
    ):
        self.method, self.follows = method.to(memory_format=memory_format), follows
        self.images = images.to(memory_format=memory_format)
        self.targets = torch.cat([a.logits for a in answers.values()], dim=1).softmax(1)
        self.features = [f.to(memory_format=memory_format) for a in answers.values() for f in a.features.values()]
        self.shares = claims([a.logits for a in answers.values()])
        self.optimizer = torch.optim.Adam(
            method.parameters(), lr=method.config.learning_rate, weight_decay=method.config.weight_decay, fused=True
        )

    def mmd(self, students: Tensor, teachers: Tensor) -> Tensor:
        """Σ over teachers of the squared MMD to the student, of normalised rows: teacher × image × feature."""
        n = students.shape[1]
        rows = torch.cat([students, teachers], dim=1)
        gram = rows @ rows.transpose(1, 2)
        own = gram.diagonal(dim1=1, dim2=2)
        squared = (own[:, :, None] + own[:, None] - 2 * gram).clamp_min(1e-12)
        nearest = float((squared.detach() + 4 * torch.eye(2 * n)).min())
        live = [sigma for sigma in BANDWIDTHS if nearest / (2 * sigma**2) < 30]
        kernel = torch.stack([torch.exp((squared * (-1 / (2 * sigma**2))).clamp_min(-80)) for sigma in live]).sum(0)
        mean = kernel.view(-1, 2, n, 2, n).mean((2, 4))
        constant = (len(BANDWIDTHS) - len(live)) * 2 / n
        return (mean[:, 0, 0] + mean[:, 1, 1] - 2 * mean[:, 0, 1] + constant).relu().sum()

    def step(self, index: Tensor) -> float:
        """One training step; its loss."""
        student = self.method.student(self.images[index])
        features, share, weights = [feature[index] for feature in self.features], self.shares[index], self.method.config
        own = student.features[self.method.student.feature_layer]
        raw = [own.detach() if self.follows else own, *features]
        common = self.method.extractor(torch.cat([a(f) for a, f in zip(self.method.adaptions, raw, strict=True)]))
        point, *points = common.chunk(len(raw))
        mine = [pulled(point, share[:, i]) if weights.pull == "claim" else point for i in range(len(points))]
        rows = torch.stack([*mine, *points])
        rows = rows.mean((3, 4)) if weights.pooling == "mean" else rows.flatten(2)
        students, teachers = functional.normalize(rows, dim=2).chunk(2)
        loss = functional.cross_entropy(student.logits, self.targets[index])
        loss = loss + weights.mmd_weight * self.mmd(students, teachers)
        if weights.paired_weight:
            loss = loss + weights.paired_weight * (students - teachers).square().sum() / len(index)
        both = bool(weights.cross_weight)
        for feature, own, other, decode in zip(features, points, mine, self.method.decoders, strict=True):
            spread = (feature - feature.mean((0, 2, 3), keepdim=True)).square().mean()
            rebuilt = decode(torch.cat([own, other]) if both else own).chunk(2 if both else 1)
            loss = loss + weights.reconstruction_weight * functional.mse_loss(rebuilt[0], feature) / spread
            if both:
                loss = loss + weights.cross_weight * functional.mse_loss(rebuilt[1], feature) / spread
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()
