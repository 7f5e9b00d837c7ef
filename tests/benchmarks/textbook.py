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


class Textbook:
    """A training step of common feature learning as one writes it first, on the modules of a `CommonFeature`.

    Teachers run in every step; every net passes through the shared extractor by itself; one MMD a teacher; plain Adam.

    Args:
        method: gives student, adaptions, extractor, decoders and learning rate; its loss must be the default one.
        teachers: of the method's problem, in order.
        together: one pass of all nets through the extractor: with batch norm the mathematics asks for it.
        mmd: of the student's rows and one teacher's.
    """

    def __init__(
        self,
        method: Any,
        teachers: Sequence[Any],
        *,
        together: bool = False,
        mmd: Callable[[Tensor, Tensor], Tensor] = mmd_as_published,
    ):
        self.method, self.teachers, self.together, self.mmd = method, teachers, together, mmd
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
        raw = [student.features[self.method.student.feature_layer], *(self.seen[t.name] for t in self.teachers)]
        adapted = [adapt(feature) for adapt, feature in zip(self.method.adaptions, raw, strict=True)]
        if self.together:
            common = self.method.extractor(torch.cat(adapted)).chunk(len(adapted))
        else:
            common = [self.method.extractor(feature) for feature in adapted]

        weights = self.method.config
        target = functional.softmax(torch.cat(logits, dim=1), dim=1)
        loss = -(target * functional.log_softmax(student.logits, dim=1)).sum(1).mean()
        for feature, own, decode in zip(raw[1:], common[1:], self.method.decoders, strict=True):
            spread = (feature - feature.mean((0, 2, 3), keepdim=True)).square().mean()
            loss = loss + weights.mmd_weight * self.mmd(common[0].flatten(1), own.flatten(1))
            loss = loss + weights.reconstruction_weight * functional.mse_loss(decode(own), feature) / spread
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

    Teachers' answers in memory, one pass of all nets, one matrix of distances, kernels that are nothing left out,
    fused Adam, and optionally weights and images in the layout that is fast on a CPU.

    Args:
        method: as for `Textbook`.
        images: of the pool.
        answers: what the teachers say of them, in the order of the images.
        memory_format: of weights, images and features.
    """

    def __init__(
        self,
        method: Any,
        images: Tensor,
        answers: Mapping[str, Any],
        memory_format: torch.memory_format = torch.contiguous_format,
    ):
        self.method = method.to(memory_format=memory_format)
        self.images = images.to(memory_format=memory_format)
        self.targets = torch.cat([a.logits for a in answers.values()], dim=1).softmax(1)
        self.features = [f.to(memory_format=memory_format) for a in answers.values() for f in a.features.values()]
        self.optimizer = torch.optim.Adam(
            method.parameters(), lr=method.config.learning_rate, weight_decay=method.config.weight_decay, fused=True
        )

    def mmd(self, common: Tensor, nets: int) -> Tensor:
        """Σ over teachers of the squared MMD to the student, whose rows come first."""
        rows = functional.normalize(common.flatten(1), dim=1)
        n = len(rows) // nets
        gram = rows @ rows.T
        own = gram.diagonal()
        squared = (own[:, None] + own - 2 * gram).clamp_min(1e-12)
        nearest = float(squared.detach().clone().fill_diagonal_(4).min())
        live = [sigma for sigma in BANDWIDTHS if nearest / (2 * sigma**2) < 30]
        kernel = torch.stack([torch.exp((squared * (-1 / (2 * sigma**2))).clamp_min(-80)) for sigma in live]).sum(0)
        mean = kernel.view(nets, n, nets, n).mean((1, 3))
        constant = (len(BANDWIDTHS) - len(live)) * 2 / n
        return (mean[0, 0] + mean.diagonal()[1:] - 2 * mean[0, 1:] + constant).relu().sum()

    def step(self, index: Tensor) -> float:
        """One training step; its loss."""
        student = self.method.student(self.images[index])
        features = [feature[index] for feature in self.features]
        raw = [student.features[self.method.student.feature_layer], *features]
        common = self.method.extractor(torch.cat([a(f) for a, f in zip(self.method.adaptions, raw, strict=True)]))
        weights = self.method.config
        loss = functional.cross_entropy(student.logits, self.targets[index])
        loss = loss + weights.mmd_weight * self.mmd(common, len(raw))
        for feature, own, decode in zip(features, common.chunk(len(raw))[1:], self.method.decoders, strict=True):
            spread = (feature - feature.mean((0, 2, 3), keepdim=True)).square().mean()
            loss = loss + weights.reconstruction_weight * functional.mse_loss(decode(own), feature) / spread
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()
