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

from ka_explore.problem.cache import TeacherCache
from ka_explore.problem.layers import Outputs
from ka_explore.problem.neighbours import thumbnails
from ka_explore.problem.pool import Batch
from ka_explore.problem.problem import Problem
from ka_explore.problem.targets import TargetKind, Targets, make_targets
from ka_explore.run.rng import LocalGenerator


class TeacherOutputs:
    """The teachers of a problem, asked about its pool.

    Args:
        problem: its teachers and pool.
        device: where batches lie.
    """

    def __init__(self, problem: Problem, device: torch.device):
        self.problem = problem
        self.device = device
        self._caches: dict[str, TeacherCache] = {}
        self._targets: dict[tuple[str, tuple[str, ...]], Targets] = {}
        self._probe: dict[str, np.ndarray] = {}
        self._making = RLock()

    def batch(
        self,
        index: np.ndarray,
        layers: Mapping[str, Sequence[str]],
        *,
        targets: TargetKind = "own",
        without: tuple[str, ...] = (),
        augment: int | None = None,
    ) -> Batch:
        """The images of these indices and what the teachers say of them.

        Args:
            index: in the pool.
            layers: of every teacher, whose features are wanted.
            targets: what stands in for the teachers' own logits; see `ka_explore.problem.targets`.
            without: teachers that are not heard when targets are made; their logits stay their own.
            augment: the seed of the pool's augmentation, if it has one; None leaves the images as they are. An
                augmented image has the target of the image it was made from.
        """
        pool = self.problem.pool
        images = pool.images[index].to(self.device, memory_format=torch.channels_last)
        if pool.augment is not None and augment is not None:
            images = pool.augment(images, torch.Generator().manual_seed(augment))
            teachers: Mapping[str, Outputs] = {t.name: t(images) for t in self.problem.teachers}
        else:
            teachers = self.cache(layers)[index]
        rows = torch.from_numpy(np.array(index))
        if targets != "own":
            logits = self.targets(targets, without).logits
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
                self._caches[key] = TeacherCache(
                    self.problem.teachers, self.problem.pool.images, wanted, device=self.device
                )
            return self._caches[key]

    def targets(self, kind: TargetKind, without: tuple[str, ...] = ()) -> Targets:
        """What stands in for the teachers' own answers.

        A function of the teachers and the pool alone, so it is in no checkpoint; it is made on first use.

        Args:
            kind: see `ka_explore.problem.targets`.
            without: teachers that are not heard: the targets are those of the problem of the others.
        """
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
        for start in range(0, len(problem.pool), 256):  # whole maps of the whole pool need not fit into memory
            index = np.arange(start, min(start + 256, len(problem.pool)))
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
