"""Taking a snapshot of a method: everything a probe may want, on the probe set, changing nothing."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ka_explore.methods.base import Method, Stage
from ka_explore.problem.targets import TargetKind
from ka_explore.run.gradients import gradients
from ka_explore.run.snapshot import Snapshot
from ka_explore.run.teacher_outputs import TeacherOutputs, targets_of

CHANNEL_ROWS = 128  # images whose errors are kept by channel


def take_snapshot(method: Method, stage: Stage | None, step: int, asked: TeacherOutputs) -> Snapshot:
    """Named arrays on the probe set, of a method in eval mode; the stage is the next step's, None where none trains."""
    problem, targets = asked.problem, targets_of(method)
    index = problem.pool.probe_index
    batch = asked.batch(index, method)
    if stage is None:
        arrays = {"scores": method.predict(batch.images)}
    else:
        output = stage.forward(batch)
        student = output.student or method.outputs(batch.images)
        own = type(method).predict is not Method.predict  # a way of its own to predict is asked itself
        scores = method.predict(batch.images) if own else method.labels.merge(student.logits)
        arrays = {"scores": scores, "logits/student": student.logits}
        arrays |= {f"feature/student/{layer}": f.mean(dim=(2, 3)) for layer, f in student.features.items()}
        arrays |= output.seen()
        # What each term asks of the student's feature, of as many images as a step has: terms are means over a batch,
        # and the MMD depends on its size.
        count = min(method.config.batch_size, len(batch.index))
        found, rest = gradients(method, stage, batch.first(count)), (0, len(batch.index) - count)
        arrays |= {name: functional.pad(values, rest, value=math.nan) for name, values in found.items()}
    labels, truth = problem.labels, problem.pool.labels
    named = {name: as_stored(name, array) for name, array in arrays.items()} | asked.on_probe_set()
    if targets != "own":
        named |= evidence(asked, targets, index, method.without)
    return Snapshot(
        step=step,
        stage=stage.name if stage else "",
        index=index,
        labels=None if truth is None else {task: y[index] for task, y in truth.items()},
        classes=labels.classes,
        knows={teacher: tuple(labels.classes_of(teacher)) for teacher in labels.teachers},
        arrays=named,
        soft_term=stage.soft_term if stage else "",
    )


def evidence(
    asked: TeacherOutputs, kind: TargetKind, index: np.ndarray, without: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Which teacher claims which image by the targets in force, and why; one that does not teach claims none."""
    targets = asked.targets(kind, without)
    labels = asked.problem.labels
    claims = {"own": targets.own, **targets.evidence, "target": targets.responsibility}
    rows = torch.from_numpy(np.array(index))
    found = {
        f"claim/{what}/{teacher}": claim[rows, column].numpy()
        for what, claim in claims.items()
        for column, teacher in enumerate(labels.without(without).teachers)
    }
    found |= {f"claim/{what}/{teacher}": np.zeros(len(index), np.float32) for what in claims for teacher in without}
    if targets.neighbours is not None:
        found["neighbours"] = targets.neighbours[rows].numpy()
    return found


def as_stored(name: str, array: Tensor) -> np.ndarray:
    """An array in single precision; errors by channel, most of the size, in half and of the first images only."""
    if not name.startswith("channel_error/"):
        return array.float().cpu().numpy()
    stored = array.clamp(max=torch.finfo(torch.float16).max).half().cpu().numpy()
    stored[CHANNEL_ROWS:] = np.nan
    return stored
