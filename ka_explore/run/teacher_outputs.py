"""What the teachers say of the pool's images, as batches: from the cache, live where images are augmented.

One of these serves a run and all its forks, as it depends on the problem and the device alone. They may be in
different threads: what is kept is made once, and whoever wants it meanwhile waits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import RLock

import numpy as np
import torch
from torch import Tensor

from ka_explore.methods.base import AmalgamationConfig, Method
from ka_explore.problem.cache import TeacherCache
from ka_explore.problem.layers import Outputs
from ka_explore.problem.neighbours import thumbnails
from ka_explore.problem.pool import Batch
from ka_explore.problem.problem import Problem
from ka_explore.problem.targets import TargetKind, Targets, make_targets
from ka_explore.run.rng import LocalGenerator


def targets_of(method: Method) -> TargetKind:
    """What stands in for the teachers' own answers under a method's options."""
    return method.config.targets if isinstance(method.config, AmalgamationConfig) else "own"


class TeacherOutputs:
    """The teachers of a problem, asked about its pool; batches lie on the device."""

    def __init__(self, problem: Problem, device: torch.device):
        self.problem = problem
        self.device = device
        self._caches: dict[str, TeacherCache] = {}
        self._targets: dict[tuple[str, tuple[str, ...]], Targets] = {}
        self._probe: dict[str, np.ndarray] = {}
        self._making = RLock()

    def batch(self, index: np.ndarray, method: Method, *, augment: int | None = None) -> Batch:
        """The images of these indices and what the teachers say of them, as the method asks for it.

        The logits of teachers that do not teach stay their own. ``augment`` is the seed of the pool's augmentation; an
        augmented image has the target of the image it was made from.
        """
        pool = self.problem.pool
        images = pool.images[index].to(self.device, memory_format=torch.channels_last)
        if pool.augment is not None and augment is not None:
            images = pool.augmented(images, augment)
            teachers: Mapping[str, Outputs] = {t.name: t(images) for t in self.problem.teachers}
        else:
            teachers = self.cache(method.teacher_layers())[index]
        rows = torch.from_numpy(np.array(index))
        targets = targets_of(method)
        if targets != "own":
            logits = self.targets(targets, method.without).logits
            teachers = {
                name: replace(outputs, logits=logits[name][rows].to(self.device)) if name in logits else outputs
                for name, outputs in teachers.items()
            }
        return Batch(rows.to(self.device), images, teachers)

    def cache(self, layers: Mapping[str, Sequence[str]]) -> TeacherCache:
        """What the teachers say of the pool, with the features of these layers; made on first use."""
        wanted = {name: tuple(chosen) for name, chosen in layers.items()}
        key = str(wanted)
        with self._making:
            if key not in self._caches:
                teachers, images = self.problem.teachers, self.problem.pool.images
                self._caches[key] = TeacherCache(teachers, images, wanted, device=self.device)
            return self._caches[key]

    def targets(self, kind: TargetKind, without: tuple[str, ...] = ()) -> Targets:
        """What stands in for the teachers' own answers: made of teachers and pool alone, on first use."""
        with self._making:
            if (kind, without) not in self._targets:
                self._targets[kind, without] = self._make_targets(kind, without)
            return self._targets[kind, without]

    def _make_targets(self, kind: TargetKind, without: tuple[str, ...]) -> Targets:
        problem, labels = self.problem, self.problem.labels.without(without)
        cache = self.cache({teacher.name: (teacher.feature_layer,) for teacher in problem.teachers})
        logits: dict[str, list[Tensor]] = {name: [] for name in problem.names if name not in without}
        features: dict[str, list[Tensor]] = {name: [] for name in logits}
        small = []
        for index in problem.pool.in_order():
            said = cache[index]
            for name in logits:
                logits[name].append(said[name].logits.cpu())
                features[name] += [f.mean(dim=(2, 3)).cpu() for f in said[name].features.values()]
            small.append(thumbnails(problem.pool.images[index]))
        return make_targets(
            kind,
            labels,
            {name: torch.cat(parts) for name, parts in logits.items()},
            {name: torch.cat(parts) for name, parts in features.items()},
            torch.cat(small),
        )

    def on_probe_set(self) -> dict[str, np.ndarray]:
        """What the teachers say of the probe set, as arrays of a snapshot: the same in every one, so asked once."""
        with self._making:
            if not self._probe:
                found = {}
                images = self.problem.pool.images[self.problem.pool.probe_index]
                for teacher in self.problem.teachers:
                    with LocalGenerator(0):  # should one draw, also in eval mode
                        parts = [teacher(part.to(self.device)) for part in images.split(128)]
                    found[f"logits/{teacher.name}"] = torch.cat([p.logits for p in parts]).cpu().numpy()
                    for layer in teacher.layers:
                        means = torch.cat([p.features[layer].mean(dim=(2, 3)) for p in parts])
                        found[f"feature/{teacher.name}/{layer}"] = means.cpu().numpy()
                self._probe = found
            return self._probe
