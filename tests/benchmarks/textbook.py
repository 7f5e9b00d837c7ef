"""Slow and plain references for method A: what one writes first, and a double loop over samples.

Not a test module: read by `bench_speed.py` and by ``tests/test_losses_reference.py``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

BANDWIDTHS = (0.001, 0.01, 0.05, 0.1, 0.2, 1.0, 2.0)


def mmd(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared MMD of two batches as the published code computes it: three matrices of distances, 21 kernels."""
    x, y = functional.normalize(student, dim=1), functional.normalize(teacher, dim=1)
    n = len(x)

    def distances(a: Tensor, b: Tensor) -> Tensor:
        return ((a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2 * a @ b.T).clamp_min(1e-12)

    xx, yy, xy = distances(x, x), distances(y, y), distances(x, y)
    total = torch.zeros(())
    for bandwidth in BANDWIDTHS:
        within = torch.exp(-xx / (2 * bandwidth**2)).sum() + torch.exp(-yy / (2 * bandwidth**2)).sum()
        total = total + (within - 2 * torch.exp(-xy / (2 * bandwidth**2)).sum()) / n**2
    return total.relu()


def mmd_by_differences(student: Tensor, teacher: Tensor) -> Tensor:
    """The same by its definition: every kernel from the differences of all pairs, expanded anew each time."""
    x, y = functional.normalize(student, dim=1), functional.normalize(teacher, dim=1)

    def kernel(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
        return torch.exp(-(a[:, None] - b[None]).square().sum(2) / (2 * bandwidth**2)).mean()

    parts = [kernel(x, x, sigma) + kernel(y, y, sigma) - 2 * kernel(x, y, sigma) for sigma in BANDWIDTHS]
    return torch.stack(parts).sum().relu()


def mmd_double_loop(student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """Squared MMD a bandwidth in float64, two loops over the samples."""
    x, y = (rows.astype(np.float64) for rows in (student, teacher))
    x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, y))
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

    Teachers run in every step; each net passes through the shared extractor by itself; MMD a teacher; plain Adam.

    Args:
        method: gives student, adaptions, extractor and decoders, and the options (those of the default loss).
        teachers: the teachers' modules by name, with what makes their input and their layer.
        together: one pass of all nets through the extractor, which batch norm needs for the same numbers.
        mmd: of one teacher.
    """

    def __init__(
        self,
        method: Any,
        problem: Any,
        *,
        together: bool = False,
        mmd: Callable[[Tensor, Tensor], Tensor] = mmd,
    ):
        self.method = method
        self.teachers = problem.teachers
        self.together = together
        self.mmd = mmd
        self.seen: dict[str, Tensor] = {}
        for teacher in self.teachers:
            layer = teacher.module.get_submodule(teacher.feature_layer)
            layer.register_forward_hook(self.keep(teacher.name))
        self.optimizer = torch.optim.Adam(
            method.parameters(), lr=method.config.learning_rate, weight_decay=method.config.weight_decay
        )

    def keep(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        """A hook that keeps a layer's output under the teacher's name."""

        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self.seen[name] = output

        return hook

    def loss(self, images: Tensor) -> Tensor:
        """The default loss of method A on a batch."""
        with torch.no_grad():
            logits = [teacher.module(teacher.preprocess(images)) for teacher in self.teachers]
        student = self.method.student(images)
        raw = [student.features[self.method.student.feature_layer], *(self.seen[t.name] for t in self.teachers)]
        adapted = [adapt(feature) for adapt, feature in zip(self.method.adaptions, raw, strict=True)]
        if self.together:
            common = list(self.method.extractor(torch.cat(adapted)).chunk(len(adapted)))
        else:
            common = [self.method.extractor(feature) for feature in adapted]

        target = functional.softmax(torch.cat(logits, dim=1), dim=1)
        soft = -(target * functional.log_softmax(student.logits, dim=1)).sum(1).mean()
        align, rebuild = torch.zeros(()), torch.zeros(())
        for feature, own, decode in zip(raw[1:], common[1:], self.method.decoders, strict=True):
            align = align + self.mmd(common[0].flatten(1), own.flatten(1))
            spread = (feature - feature.mean((0, 2, 3), keepdim=True)).square().mean()
            rebuild = rebuild + functional.mse_loss(decode(own), feature) / spread
        return soft + align + rebuild

    def step(self, images: Tensor) -> float:
        """One training step; its loss."""
        loss = self.loss(images)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())


class GoodLoop:
    """The same step as someone writes it by hand who knows everything that makes it fast, and nothing else.

    Teachers' answers are in memory; one pass of all nets; one matrix of distances, kernels that are nothing left
    out; fused Adam. No history, no checks, no checkpoint.
    """

    def __init__(self, method: Any, answers: Mapping[str, Any]):
        self.method = method
        self.logits = torch.cat([a.logits for a in answers.values()], dim=1)
        self.features = [next(iter(a.features.values())) for a in answers.values()]
        self.optimizer = torch.optim.Adam(
            method.parameters(),
            lr=method.config.learning_rate,
            weight_decay=method.config.weight_decay,
            fused=True,
        )

    def mmd(self, common: Tensor, nets: int) -> Tensor:
        """Σ over teachers of the squared MMD to the student, whose rows come first."""
        rows = functional.normalize(common.flatten(1), dim=1)
        squared = (2 - 2 * rows @ rows.T).clamp_min(1e-12)
        nearest = float((squared.detach() + 4 * torch.eye(len(rows))).min())
        live = [sigma for sigma in BANDWIDTHS if nearest / (2 * sigma**2) < 30]
        kernel = torch.stack([torch.exp(squared * (-1 / (2 * sigma**2))) for sigma in live]).sum(0)
        mean = kernel.view(nets, len(rows) // nets, nets, -1).mean((1, 3))
        dead = (len(BANDWIDTHS) - len(live)) * 2 * nets / len(rows)
        return (mean[0, 0] + mean.diagonal()[1:] - 2 * mean[0, 1:] + dead).relu().sum()

    def step(self, images: Tensor, index: Sequence[int]) -> float:
        """One training step; its loss."""
        student = self.method.student(images)
        targets = [feature[index] for feature in self.features]
        raw = [student.features[self.method.student.feature_layer], *targets]
        adapted = torch.cat([adapt(feature) for adapt, feature in zip(self.method.adaptions, raw, strict=True)])
        common = self.method.extractor(adapted)
        loss = functional.cross_entropy(student.logits, self.logits[index].softmax(1)) + self.mmd(common, len(raw))
        parts = common.chunk(len(raw))[1:]
        for target, part, decode in zip(targets, parts, self.method.decoders, strict=True):
            spread = (target - target.mean((0, 2, 3), keepdim=True)).square().mean()
            loss = loss + functional.mse_loss(decode(part), target) / spread
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())
