"""A run: one recorded history with a movable cursor; changing anything is a fork.

A step is a function of (weights, seed, step): which images, the random numbers, the learning rate. So a
checkpoint is weights, the optimiser's state and a number, rewinding is loading and replaying, and a replayed
row that differs from the recorded one announces itself.
"""

import math
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ka_explore.cache import TeacherCache
from ka_explore.config import TrainingConfig
from ka_explore.environment import autocast, check_precision, choose_device, computing, environment
from ka_explore.errors import Diverged, InputError, ReplayMismatch, StoreError, unknown
from ka_explore.gradients import gradients
from ka_explore.layers import Outputs
from ka_explore.method import AmalgamationConfig, Batches, Method, Stage
from ka_explore.methods import METHODS
from ka_explore.pool import Batch
from ka_explore.problem import Problem
from ka_explore.progress import progress_bar
from ka_explore.snapshot import Snapshot
from ka_explore.store import Store
from ka_explore.targets import Targets, make_targets, thumbnails
from ka_explore.training import build, check_applicable, make_optimizer, mix, prepare, rate_at, seeded, shapes

SMALL = 2_000_000  # a student with fewer parameters runs fastest on one thread

Row = dict[str, Any]


class Run:
    """A problem, a method and a seed, and everything that happened so far.

    Args:
        problem: what is amalgamated.
        method: its name in ``METHODS``.
        name: how tables and legends call the run; by default the folder's name, or the method's.
        tasks: the tasks wanted; None for all that the teachers answer. Teachers of other tasks stay out of the run.
        seed: of initialisation, batches and all random numbers.
        folder: where the run is kept; None keeps it in a temporary folder that goes with the run.
        form: a named set of options of the method (``"code"``: a published code's).
        device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for the GPU where there is one.
        threads: of torch while the run computes; None takes 1 for small students and torch's choice for others.
        precision: ``"bfloat16"`` for mixed precision on a GPU.
        checkpoint_every: steps between checkpoints; what a rewind has to replay at most.
        snapshot_every: steps between stored snapshots, which cost a run some 5 to 10 %; 0 stores none.
        options: of the method's ``Config``, by name.

    Raises:
        InputError: for an unknown method, form or option, a value out of range, a folder that has a run, or a
            problem the method cannot work on.
    """

    def __init__(
        self,
        problem: Problem,
        method: str = "common_feature",
        *,
        name: str | None = None,
        tasks: Sequence[str] | None = None,
        seed: int = 0,
        folder: str | Path | None = None,
        form: str | None = None,
        device: str = "auto",
        threads: int | None = None,
        precision: Literal["float32", "bfloat16"] = "float32",
        checkpoint_every: int = 100,
        snapshot_every: int = 50,
        **options: Any,
    ):
        if not isinstance(problem, Problem):
            raise InputError(f"expected a Problem, got {type(problem).__name__}: see ka_explore.Problem.")
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        if not isinstance(seed, int) or seed < 0:
            raise InputError(f"seed={seed!r}: expected a whole number from 0 on.")
        if checkpoint_every < 1 or snapshot_every < 0:
            raise InputError("checkpoint_every must be at least 1, snapshot_every at least 0.")
        if threads is not None and threads < 1:
            raise InputError(f"threads={threads}: expected at least 1, or None.")
        if tasks is not None:
            problem = problem.for_tasks(tasks)
        place = choose_device(device)
        check_precision(precision, place)
        config = METHODS[method].configure(form, options)
        problem.check()  # asks every teacher, so that a bad one is found before a folder is made
        first = build(METHODS[method], problem, config, seed)
        about = {
            "name": name or (Path(folder).name if folder else method),
            "method": method,
            "configs": [[0, asdict(config)]],
            "seed": seed,
            "problem": {"name": problem.name, "options": dict(problem.options)},
            "tasks": None if tasks is None else list(problem.labels.tasks),
            "fingerprints": problem.fingerprints,
            "teachers": [
                {"name": t.name, "task": t.task, "labels": list(t.labels), "layers": list(t.layers)}
                for t in problem.teachers
            ],
            "device": device,
            "threads": threads,
            "precision": precision,
            "checkpoint_every": checkpoint_every,
            "snapshot_every": snapshot_every,
            "parent": None,
            "environment": environment(place),
        }
        self._start(Store.create(folder_of(self, folder), about), problem, first)
        self.save()
        self._watch()

    def _start(self, store: Store, problem: Problem, first: Method | None = None) -> None:
        self.store = store
        self.problem = problem
        about = store.about
        self._kind = METHODS[about["method"]]
        self._configs = [(int(step), self._kind.Config.of(config)) for step, config in about["configs"]]
        there = about["device"] != "cuda" or torch.cuda.is_available()
        if not there:
            store.notes.append("the run was made on a GPU, torch sees none here: it goes on on the CPU.")
        self.device = choose_device(about["device"] if there else "cpu")
        self.step = 0
        self._dirty = False  # a step was interrupted between its parts: go back before going on
        self._cache: TeacherCache | None = None
        self._made_targets: dict[str, Targets] = {}
        self._probe: dict[str, np.ndarray] | None = None
        self._unreadable: set[int] = set()  # checkpoints found damaged, to be written again
        self._adopt(first if first is not None else build(self._kind, problem, self.config_at(0), self.seed))

    @classmethod
    def open(cls, folder: str | Path, problem: Problem | None = None) -> "Run":
        """A run from its folder, at its last good checkpoint; recorded rows after it are replayed on the way.

        Args:
            folder: of the run.
            problem: needed where the run's problem is not one of ``ka_explore.toy``: a folder names code only
                from that table, so that a folder from a stranger runs none.

        What a crash cut off is left out and listed in ``run.notes``.

        Raises:
            InputError: no run there, or a problem that is not the run's.
            StoreError: the folder is of a newer version, or no checkpoint can be read.
        """
        store = Store(Path(folder))
        about = store.about
        if about["method"] not in METHODS:
            raise unknown("method", about["method"], METHODS)
        problem = problem if problem is not None else named_problem(about["problem"], store.folder)
        if about["tasks"] is not None:
            problem = problem.for_tasks(about["tasks"])
        for what, fingerprint in problem.fingerprints.items():
            if about["fingerprints"].get(what) != fingerprint:
                raise InputError(
                    f"{what} of this problem is not the one the run in {store.folder} was made with (other weights, "
                    "images, layers, labels or preprocessing): open it with the problem it was made with."
                )
        run = cls.__new__(cls)
        run._start(store, problem)
        run._load_before(store.rows_kept)
        return run

    # Where the run stands.

    @property
    def name(self) -> str:
        """How tables and legends call the run."""
        return str(self.store.about["name"])

    @property
    def folder(self) -> Path:
        """Where the run is kept."""
        return self.store.folder

    @property
    def seed(self) -> int:
        """Of initialisation, batches and all random numbers."""
        return int(self.store.about["seed"])

    @property
    def parent(self) -> tuple[str, int] | None:
        """The run this one was forked from, and the step; None for a run of its own."""
        parent = self.store.about["parent"]
        return None if parent is None else (str(parent[0]), int(parent[1]))

    @property
    def notes(self) -> tuple[str, ...]:
        """What opening the run left out, in words."""
        return tuple(self.store.notes)

    @property
    def config(self) -> TrainingConfig:
        """The options in force at the cursor."""
        return self.config_at(self.step)

    @property
    def steps(self) -> int:
        """Steps of all stages together."""
        return self._starts[-1]

    @property
    def recorded(self) -> int:
        """Steps with a recorded row; more than ``step`` after a rewind."""
        return self.store.rows_kept

    @property
    def done(self) -> bool:
        """Whether every stage is done."""
        return self.step >= self.steps

    @property
    def stage(self) -> Stage | None:
        """The stage of the next step, the last one at the end, None for a method without stages."""
        return self._stage_at(self.step)[0] if self._stages else None

    @property
    def student(self) -> nn.Module:
        """The student as it is at the cursor."""
        return self.method.student

    def history(self, start: int = 0) -> list[Row]:
        """The rows of steps ``start + 1`` to the cursor: step, stage, rate, loss, terms, seconds."""
        return list(self.store.rows(start, self.step))

    def __repr__(self) -> str:
        stage = f", stage {self.stage.name!r}" if self.stage else ""
        ahead = f" ({self.recorded} recorded)" if self.recorded > self.step else ""
        return f"Run({self.name!r}, {self.store.about['method']}, step {self.step} of {self.steps}{ahead}{stage})"

    # Moving.

    def advance(self, n: int | None = 1, *, progress: bool | None = None) -> Self:
        """Do the next ``n`` steps, or all that are left for None; stops at the end.

        Recorded steps after a rewind are replayed and must give the recorded rows.

        Raises:
            Diverged: a term or gradient is not finite. The run stands at the step before, everything is kept.
            ReplayMismatch: a replayed row differs from the recorded one; nothing is changed.
            StoreError: the disk refuses; the run goes on from where it stands once it does not.
        """
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 0):
            raise InputError(f"advance({n!r}): expected a number of steps from 0 on, or None for all that are left.")
        left = self.steps - self.step
        count = left if n is None else min(n, left)
        with self.store.lock(), self._threads():
            self._recover()
            with progress_bar(count, self.name, show=progress) as bar:
                for _ in range(count):
                    self._step()
                    bar.update()
        return self

    def rewind(self, step: int) -> Self:
        """Go to an earlier step, or to any recorded one: the nearest checkpoint before it, then replay.

        Raises InputError for a step that is not recorded.
        """
        if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= self.recorded:
            raise InputError(f"rewind({step!r}): expected a recorded step, 0 to {self.recorded}.")
        with self.store.lock(), self._threads():
            self._go_to(step)
        return self

    def fork(self, name: str, *, at: int | None = None, folder: str | Path | None = None, **changes: Any) -> "Run":
        """A new run with the same past up to step ``at`` (default: here) and other options from there on.

        Args:
            name: of the new run; in the folder beside this run's, unless ``folder`` says where.
            at: a recorded step.
            changes: options by name; none gives a copy that goes the same way.

        Raises:
            InputError: unknown option, value out of range, a step that is not recorded, a name that is taken.
            NotApplicable: a change that does not fit at that step: other shapes, other stages before it.
        """
        at = self.step if at is None else at
        if isinstance(at, bool) or not isinstance(at, int) or not 0 <= at <= self.recorded:
            raise InputError(f"fork(at={at!r}): expected a recorded step, 0 to {self.recorded}.")
        if not name or Path(name).name != name:
            raise InputError(f"fork({name!r}): expected a plain name, which becomes a folder's.")
        try:
            config = self.config_at(at).replace(**changes)
        except InputError as error:
            raise InputError(f"{self._kind.__name__}: {error}") from None
        before = [(step, kept) for step, kept in self._configs if step < at]
        new = build(self._kind, self.problem, config, self.seed)
        if at > 0:
            check_applicable(build(self._kind, self.problem, self.config_at(at - 1), self.seed), new, at, changes)
        if folder is None and not self._temporary:
            folder = self.folder.parent / name
        about = self.store.about | {
            "name": name,
            "configs": [[step, asdict(kept)] for step, kept in [*before, (at, config)]],
            "parent": [self.name, at],
        }
        other = Run.__new__(Run)
        other._start(self.store.copy(folder_of(other, folder), about, rows=at), self.problem)
        other._cache, other._made_targets = self._cache, self._made_targets
        try:
            with other.store.lock(), other._threads():
                if at == 0:
                    other._save()  # other options may have made other weights
                other._go_to(at)
                other._save()
        except BaseException:
            shutil.rmtree(other.folder, ignore_errors=True)
            raise
        return other

    def save(self) -> None:
        """Write a checkpoint of this very step, so that opening the run needs no replay."""
        with self.store.lock(), self._threads():
            self._recover()
            self._save()

    # Looking.

    def predict(self, images: Tensor) -> Tensor:
        """Scores of the classes for images as in the pool; eval mode, no gradients, on the CPU."""
        with self._looking():
            parts = [self.method.predict(part.to(self.device)).float().cpu() for part in images.split(256)]
        return torch.cat(parts)

    def snapshot(self) -> Snapshot:
        """Named arrays on the probe set, as they are now; it changes nothing. See `ka_explore.snapshot`."""
        index = self.problem.pool.probe_index
        with self._looking(), asked_once(self.method.student):
            batch = self._batch(index, augment_step=None)
            arrays = {"scores": self.method.predict(batch.images)}
            stage = self.stage
            if stage is not None:
                outputs = self.method.outputs(batch.images)
                arrays["logits/student"] = outputs.logits
                arrays |= {f"feature/student/{layer}": f.mean(dim=(2, 3)) for layer, f in outputs.features.items()}
                arrays |= stage.forward(batch).tensors
                arrays |= self._gradients(stage, batch)
            named = {name: as_stored(name, array) for name, array in arrays.items()} | self._probe_teachers()
            named |= self._evidence(index)
        labels = self.problem.labels
        return Snapshot(
            step=self.step,
            stage=stage.name if stage else "",
            index=index,
            labels=None
            if self.problem.pool.labels is None
            else {k: y[index] for k, y in self.problem.pool.labels.items()},
            classes=labels.classes,
            knows={teacher: tuple(labels.classes_of(teacher)) for teacher in labels.teachers},
            arrays=named,
        )

    def _gradients(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        """What each term asks of the student's feature on the first images of the probe set, as many as a step has.

        As many as a step has, because terms are means over a batch, and the MMD depends on its size.
        """
        count = min(self.method.config.batch_size, len(batch.index))
        found = gradients(self.method, stage, batch.first(count))
        rest = len(batch.index) - count
        return {name: functional.pad(values, (0, rest), value=math.nan) for name, values in found.items()}

    def _evidence(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Which teacher claims which image, by the targets in force, and why; nothing where teachers speak alone."""
        targets = self._targets()
        if targets is None:
            return {}
        claims = {"own": targets.own, **targets.evidence, "target": targets.claims}
        places = torch.from_numpy(np.array(index))
        found = {
            f"claim/{what}/{teacher}": claim[places, place].numpy()
            for what, claim in claims.items()
            for place, teacher in enumerate(self.problem.labels.teachers)
        }
        if targets.neighbours is not None:
            found["neighbours"] = targets.neighbours[places].numpy()
        return found

    def _probe_teachers(self) -> dict[str, np.ndarray]:
        """What the teachers say of the probe set: the same in every snapshot, so asked once."""
        if self._probe is None:
            images = self.problem.pool.images[self.problem.pool.probe_index]
            self._probe = {}
            for teacher in self.problem.teachers:
                parts = [teacher(part.to(self.device)) for part in images.split(128)]
                self._probe[f"logits/{teacher.name}"] = torch.cat([p.logits for p in parts]).cpu().numpy()
                for layer in teacher.layers:
                    means = torch.cat([p.features[layer].mean(dim=(2, 3)) for p in parts])
                    self._probe[f"feature/{teacher.name}/{layer}"] = means.cpu().numpy()
        return self._probe

    # One step.

    def _step(self) -> None:
        """The loop's body: batch, loss, backward, update, row."""
        begun = time.perf_counter()
        stage, within = self._stage_at(self.step)
        optimizer = self._optimizer_of(stage)
        batch = self._batch(
            self.problem.pool.at(self.seed, self.step, self.method.config.batch_size), augment_step=self.step
        )
        prepare(self.method, stage)
        rate = rate_at(self.method.config, within, stage.steps)
        self._dirty = True
        if within == 0 and stage.begin is not None:
            self._once(stage.begin)
            prepare(self.method, stage)
        with seeded(self.seed, self.step, self.device), autocast(self.store.about["precision"], self.device):
            output = stage.forward(batch)
        terms = {name: float(term.detach()) for name, term in output.terms.items()}
        row: Row = {
            "step": self.step + 1,
            "stage": stage.name,
            "rate": rate,
            "loss": float(output.loss.detach()),
            "terms": terms,
        }
        bad = [name for name, value in {**terms, "loss": row["loss"]}.items() if not math.isfinite(value)]
        if not bad and stage.trains:
            optimizer.zero_grad(set_to_none=True)
            output.loss.backward()
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            if not bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients))):
                bad = ["gradient"]
        if bad:
            self._diverged(bad, row)
        if stage.trains:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["factor"]
            optimizer.step()
        if within == stage.steps - 1 and stage.finish is not None:
            self._once(stage.finish)
        self._commit(row, seconds=time.perf_counter() - begun)

    def _once(self, work: Callable[[Batches], None]) -> None:
        """What a stage does once, at its begin or finish: in eval mode, without gradients, on the whole pool."""
        self.method.eval()
        with torch.no_grad(), seeded(mix(self.seed, self.step), 1, self.device):
            work(self._batches)

    def _batches(self) -> Iterator[Batch]:
        """The whole pool in order, never augmented."""
        everything = np.arange(len(self.problem.pool))
        for start in range(0, len(everything), 256):
            yield self._batch(everything[start : start + 256], augment_step=None)

    def _commit(self, row: Row, seconds: float) -> None:
        """Record the step that was done, or compare it with its record."""
        if self.step < self.store.rows_kept:
            known = self.store.row(self.step)
            if {k: v for k, v in known.items() if k != "seconds"} != row:
                self._mismatch(known, row)
        else:
            self.store.append(row | {"seconds": round(seconds, 6)})
        self.step += 1
        self._dirty = False
        if self.step in self._starts or self.step % int(self.store.about["checkpoint_every"]) == 0:
            self._save()
        self._use(self.config_at(self.step))
        self._watch()

    def _mismatch(self, known: Row, row: Row) -> None:
        """A replay must give the record to the bit; where it does not, the record is kept, whatever the cause."""
        if self.store.about["environment"] == environment(self.device):
            why = "The record is kept; please report this as a bug."
        else:
            last = max(step for step in self.store.checkpoint_steps() if step <= self.step)
            why = (
                "It was recorded on another machine or version, where sums may round differently. The record is kept; "
                f"to go on with this machine's numbers, fork at a checkpoint: run.fork('here', at={last})."
            )
        raise ReplayMismatch(
            f"step {self.step + 1} of run {self.name!r} was replayed and gave {row}, recorded is {known}. {why}"
        )

    def _diverged(self, bad: list[str], row: Row) -> None:
        self._go_to(self.step)
        parts = ", ".join(f"{name}={value:g}" for name, value in row["terms"].items())
        raise Diverged(
            f"step {row['step']} of run {self.name!r}: {', '.join(bad)} not finite ({parts}). The run stands at step "
            f"{self.step}, everything is kept. Fork it from an earlier step with a smaller learning_rate "
            f"(now {row['rate']:g}) or a smaller weight of that term.",
            step=row["step"],
            terms=tuple(bad),
        )

    def _batch(self, index: np.ndarray, *, augment_step: int | None) -> Batch:
        """The images of these indices and what the teachers say of them: from the cache, or live when augmented."""
        pool = self.problem.pool
        images = pool.images[index].to(self.device, memory_format=torch.channels_last)
        if pool.augment is not None and augment_step is not None:
            images = pool.augment(images, torch.Generator().manual_seed(mix(self.seed, augment_step)))
            teachers: Mapping[str, Outputs] = {t.name: t(images) for t in self.problem.teachers}
        else:
            teachers = self.cache[index]
        places = torch.from_numpy(np.array(index))
        targets = self._targets()
        if targets is not None:
            teachers = {
                name: replace(outputs, logits=targets.logits[name][places].to(self.device))
                for name, outputs in teachers.items()
            }
        return Batch(places.to(self.device), images, teachers)

    @property
    def cache(self) -> TeacherCache:
        """What the teachers say of the pool; made on first use, and again when other layers are wanted."""
        wanted = {name: tuple(layers) for name, layers in self.method.teacher_layers().items()}
        if self._cache is None or self._cache.layers != wanted:
            self._cache = TeacherCache(self.problem.teachers, self.problem.pool.images, wanted, device=self.device)
        return self._cache

    def _targets(self) -> Targets | None:
        """What stands in for the teachers' own answers under the options in force; None where their own are kept.

        A function of the teachers and the pool alone, so it is not in a checkpoint; it is made on first use. An
        augmented image has the target of the image it was made from.
        """
        config = self.method.config
        if not isinstance(config, AmalgamationConfig) or config.targets == "own":
            return None
        kind = config.targets
        if kind not in self._made_targets:
            problem = self.problem
            layers = {teacher.name: (teacher.feature_layer,) for teacher in problem.teachers}
            cache = TeacherCache(problem.teachers, problem.pool.images, layers, device=self.device)
            logits: dict[str, list[Tensor]] = {name: [] for name in problem.names}
            features: dict[str, list[Tensor]] = {name: [] for name in problem.names}
            small = []
            for start in range(0, len(problem.pool), 256):  # whole maps of the whole pool need not fit into memory
                index = np.arange(start, min(start + 256, len(problem.pool)))
                for name, outputs in cache[index].items():
                    logits[name].append(outputs.logits.cpu())
                    features[name] += [f.mean(dim=(2, 3)).cpu() for f in outputs.features.values()]
                small.append(thumbnails(problem.pool.images[index]))
            self._made_targets[kind] = make_targets(
                kind,
                problem.labels,
                {name: torch.cat(parts) for name, parts in logits.items()},
                {name: torch.cat(parts) for name, parts in features.items()},
                torch.cat(small),
            )
        return self._made_targets[kind]

    # State.

    def config_at(self, step: int) -> TrainingConfig:
        """The options in force for the step after ``step`` steps."""
        return next(config for start, config in reversed(self._configs) if start <= step or start == 0)

    def _adopt(self, method: Method) -> None:
        """Go on with this method, its optimiser not yet made."""
        self.method = method.to(self.device)
        nn.utils.convert_conv2d_weight_memory_format(self.method, torch.channels_last)  # convolutions are faster so
        self._stages = list(self.method.stages())
        self._starts = [0]
        for stage in self._stages:
            self._starts.append(self._starts[-1] + stage.steps)
        self._optimizer: tuple[str, torch.optim.Optimizer] | None = None
        self._optimizer_state: dict[str, Any] = {}

    def _use(self, config: TrainingConfig) -> None:
        """Go on under other options, with the same weights and optimiser state."""
        if self.method.config == config:
            return
        weights, state = self.method.state_dict(), self._optimizer_states()
        self._adopt(build(self._kind, self.problem, config, self.seed))
        self.method.load_state_dict(weights)
        self._optimizer_state = state

    def _stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage of the step after ``step`` steps, and how far into it that is; the last stage at the end."""
        for stage, start, end in zip(self._stages, self._starts, self._starts[1:], strict=False):
            if step < end:
                return stage, step - start
        return self._stages[-1], step - self._starts[-2]

    def _optimizer_of(self, stage: Stage) -> torch.optim.Optimizer:
        """The optimiser of a stage; made when the stage is entered, or from a checkpoint's state."""
        if self._optimizer is None or self._optimizer[0] != stage.name:
            kept = self._optimizer_state if self._optimizer_state.get("stage") == stage.name else {}
            self._optimizer = stage.name, make_optimizer(self.method, stage, kept.get("state", {}))
            self._optimizer_state = {}
        return self._optimizer[1]

    def _optimizer_states(self) -> dict[str, Any]:
        """The optimiser's state by parameter name, so that it survives a change of what is trained."""
        if self._optimizer is None:
            return self._optimizer_state
        names: dict[Tensor, str] = {p: name for name, p in self.method.named_parameters()}
        state = {names[p]: dict(values) for p, values in self._optimizer[1].state.items()}
        return {"stage": self._optimizer[0], "state": state}

    def _save(self) -> None:
        """Write a checkpoint of this step, unless a good one is there."""
        if self.step in self.store.checkpoint_steps() and self.step not in self._unreadable:
            return
        state = {"step": self.step, "method": self.method.state_dict(), "optimizer": self._optimizer_states()}
        self.store.save_checkpoint(self.step, state)
        self._unreadable.discard(self.step)

    def _load_before(self, step: int) -> None:
        """The newest checkpoint at or before a step that can be read; the others are noted."""
        for at in reversed(self.store.checkpoint_steps()):
            if at <= step and at not in self._unreadable:
                try:
                    return self._load(at)
                except StoreError as error:
                    self._unreadable.add(at)
                    self.store.notes.append(f"{error} An earlier checkpoint is used.")
        raise StoreError(f"no checkpoint at or before step {step} in {self.folder} can be read. {' '.join(self.notes)}")

    def _load(self, step: int) -> None:
        state = self.store.load_checkpoint(step)
        # The weights of a step belong to the options that led to it.
        config = self.config_at(max(step - 1, 0))
        method = self.method if self.method.config == config else build(self._kind, self.problem, config, self.seed)
        if shapes(state["method"]) != shapes(method.state_dict()):
            raise StoreError(f"checkpoint {step} in {self.folder} holds other weights than the method has.")
        method.load_state_dict(state["method"])
        self._adopt(method)
        self._optimizer_state = state["optimizer"]
        self.step = step
        self._dirty = False
        self._use(self.config_at(step))

    def _go_to(self, step: int) -> None:
        """The checkpoint before a step, then replay."""
        self._load_before(step)
        while self.step < step:
            self._step()

    def _recover(self) -> None:
        if self._dirty:
            self._go_to(self.step)

    # Contexts.

    @property
    def _temporary(self) -> bool:
        return self.folder.name.startswith(TEMPORARY)

    def _threads(self) -> AbstractContextManager[None]:
        """Torch's threads while the run computes."""
        small = sum(p.numel() for p in self.method.student.parameters()) < SMALL
        return computing(self.store.about["threads"] or (1 if small else None))

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Eval mode, no gradients, random numbers of its own; afterwards everything is as before."""
        if self._dirty:
            with self.store.lock(), self._threads():
                self._recover()
        modes = [(module, module.training) for module in self.method.modules()]
        self.method.eval()
        try:
            with self._threads(), torch.no_grad(), seeded(self.seed, 0, self.device):
                yield
        finally:
            for module, mode in modes:
                module.training = mode

    def _watch(self) -> None:
        """Store a snapshot when it is due."""
        every = int(self.store.about["snapshot_every"])
        due = every and (self.step % every == 0 or self.step == self.steps)
        if due and self.step not in self.store.snapshot_steps():
            self.store.save_snapshot(self.snapshot())


@contextmanager
def asked_once(net: nn.Module) -> Iterator[None]:
    """Within the ``with``: a net that is asked again of the very same images gives the answer it gave."""
    ask = net.forward
    kept: list[tuple[Tensor, Any]] = []

    def remembered(images: Tensor) -> Any:
        if torch.is_grad_enabled():
            return ask(images)
        if not kept or kept[0][0] is not images:
            kept[:] = [(images, ask(images))]
        return kept[0][1]

    net.forward = remembered
    try:
        yield
    finally:
        del net.forward


TEMPORARY = "ka-explore-"


def as_stored(name: str, array: Tensor) -> np.ndarray:
    """An array of a snapshot: single precision; half for the errors by channel, which would be most of its size."""
    if name.startswith("channel_error/"):
        array = array.clamp(max=torch.finfo(torch.float16).max).half()
        return array.cpu().numpy()
    return array.float().cpu().numpy()


def folder_of(run: Run, folder: str | Path | None) -> Path:
    """The folder asked for, or a temporary one that is removed with the run."""
    if folder is not None:
        return Path(folder)
    try:
        path = Path(tempfile.mkdtemp(prefix=TEMPORARY))
    except OSError as error:
        raise StoreError(f"no temporary folder for the run: {error}. Give folder=….") from error
    weakref.finalize(run, shutil.rmtree, path, ignore_errors=True)
    return path


def named_problem(about: Mapping[str, Any], folder: Path) -> Problem:
    """The problem a run names, if it is one of ours."""
    from ka_explore.toy import PROBLEMS

    module, _, name = str(about["name"]).partition(":")
    if module != "ka_explore.toy" or name not in PROBLEMS:
        raise InputError(
            f"the run in {folder} is of problem {about['name'] or '(made by hand)'!r}, which is not one of "
            f"ka_explore.toy: make the problem and pass it, Run.open(folder, problem)."
        )
    try:
        return PROBLEMS[name](**about["options"])
    except TypeError as error:
        raise InputError(f"the run in {folder} has options that {name} does not take: {error}.") from error
