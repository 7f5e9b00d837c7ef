"""A run: one recorded history with a movable cursor; changing anything is a fork.

A step is a function of (weights, seed, step): which images, the random numbers, the learning rate. So a
checkpoint is weights, the optimiser's state and a number, rewinding is loading and replaying, and a replayed
row that differs from the recorded one announces itself.

A run may be driven from several threads: calls that move it or look at it take turns, and where it stands can be read
at any time. The file is longer than most, as all that is in it guards the same few fields of one class: the lock, the
state and the record. What can be said without them stands beside it: `about`, `state`, `step`, `loss`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from ka_explore.errors import InputError, StoreError, brief, checked, fits
from ka_explore.methods.base import Batches, Method, Stage
from ka_explore.methods.config import TrainingConfig
from ka_explore.problem.cache import TeacherCache
from ka_explore.problem.pool import Batch
from ka_explore.problem.problem import Problem
from ka_explore.problem.progress import progress_bar
from ka_explore.run.about import (
    TEMPORARY,
    about_method,
    about_problem,
    asked_for,
    check_made_with,
    configs_of_now,
    folder_of,
    images_like,
    kind_of,
    name_of_fork,
    named_problem,
    same_answers,
    same_problem,
)
from ka_explore.run.environment import MOST_THREADS, check_precision, choose_device, computing, environment
from ka_explore.run.lock import FairLock
from ka_explore.run.snapshot import Snapshot
from ka_explore.run.state import State
from ka_explore.run.step import build, check_applicable, fold_in, in_eval_mode, prepare, rate_at, seeded, training_step
from ka_explore.run.stopping import diverged, is_replay, replay_mismatch
from ka_explore.run.store import Store
from ka_explore.run.take_snapshot import take_snapshot
from ka_explore.run.teacher_outputs import TeacherOutputs

SMALL = 2_000_000  # a student with fewer parameters runs fastest on one thread
MANY = 20  # steps, for which it costs little to ask the teachers whether they say what they said
Row = dict[str, Any]


class Run:
    """A problem, a method and a seed, and everything that happened so far.

    Args:
        problem: what is amalgamated.
        method: its name in ``METHODS``, or a class of your own.
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

    @checked
    def __init__(
        self,
        problem: Problem,
        method: str | type[Method] = "common_feature",
        *,
        name: str | None = None,
        tasks: Sequence[str] | None = None,
        seed: int = 0,
        folder: str | Path | None = None,
        form: str | None = None,
        device: str = "auto",
        threads: int | None = None,
        precision: str = "float32",
        checkpoint_every: int = 100,
        snapshot_every: int = 50,
        **options: Any,
    ):
        name_of_method, kind, form, options = asked_for(method, form, options)
        numbers = check_made_with(
            seed=seed, threads=threads, checkpoint_every=checkpoint_every, snapshot_every=snapshot_every
        )
        if tasks is not None:
            problem = problem.for_tasks(tasks)
        chosen = choose_device(device)
        check_precision(precision, chosen)
        config = kind.configure(form, options)
        problem.check()  # asks every teacher, so that a bad one is found before a folder is made
        first = build(kind, problem, config, numbers["seed"])
        usual = kind.__name__ if kind is method else name_of_method
        about = {
            "name": name or (Path(folder).name if folder else usual) or usual,
            "method": name_of_method,
            "configs": [[0, asdict(config)]],
            **numbers,
            "tasks": None if tasks is None else list(problem.labels.tasks),
            **about_method(first),
            **about_problem(problem),
            "device": device,
            "precision": precision,
            "parent": None,
            "environment": environment(chosen),
        }
        with Store.making(folder_of(self, folder), about) as store:
            self._start(store, problem, kind, first)
            self.save()

    def _start(self, store: Store, problem: Problem, kind: type[Method], first: Method | None = None) -> None:
        self.store = store
        self.problem = problem
        about = store.about
        there = about["device"] != "cuda" or torch.cuda.is_available()
        if not there:
            store.notes.append("the run was made on a GPU, torch sees none here: it goes on on the CPU.")
        self.device = choose_device(about["device"] if there else "cpu")
        configs = [(int(step), kind.Config.of(config)) for step, config in about["configs"]]
        self._state = State(kind, problem, configs, self.seed, self.device, first)
        if (about["threads"] or 0) > MOST_THREADS:
            store.notes.append(f"it was made with {about['threads']} threads; here it goes on with {MOST_THREADS}.")
        self._usual_threads = 1 if sum(p.numel() for p in self.student.parameters()) < SMALL else None
        self._teacher_outputs = TeacherOutputs(problem, self.device)
        self._lock = FairLock()
        self._dirty = False  # a step was interrupted between its parts: go back before going on
        self._unreadable: set[int] = set()  # checkpoints found damaged, to be written again
        self._unasked = 0  # steps since the teachers were asked whether they say what they said

    @classmethod
    @checked
    def open(cls, folder: str | Path, problem: Problem | None = None, *, method: type[Method] | None = None) -> "Run":
        """A run from its folder, at its last good checkpoint; recorded rows after it are replayed on the way.

        Args:
            folder: of the run.
            problem: needed where the run's problem is not one of ``ka_explore.toy``: a folder names code only
                from that table, so that a folder from a stranger runs none.
            method: the class of a run of a method of your own, for the same reason.

        What a crash cut off is left out and listed in ``run.notes``.

        Raises:
            InputError: no run there, a problem or method that is not the run's, or a teacher that says something else
                now than when the run was made.
            StoreError: the folder is of a newer version, or no checkpoint can be read.
        """
        store = Store(folder)
        about = store.about
        about["method"], about["configs"] = configs_of_now(about)
        kind = kind_of(about, method, store.folder)
        problem = problem if problem is not None else named_problem(about["problem"], store.folder)
        if about["tasks"] is not None:
            problem = problem.for_tasks(about["tasks"])
        same_problem(about, problem, store.folder)
        run = cls.__new__(cls)
        run._start(store, problem, kind)
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
    def step(self) -> int:
        """Steps done at the cursor."""
        return self._state.step

    @property
    def method(self) -> Method:
        """The method with the weights of the cursor."""
        return self._state.method

    @property
    def config(self) -> TrainingConfig:
        """The options in force at the cursor."""
        return self.config_at(self.step)

    @property
    def steps(self) -> int:
        """Steps of all stages together."""
        return self._state.starts[-1]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The table of contents under the options in force at the cursor."""
        return tuple(self._state.stages)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """The steps at which stages begin, and the last step of all: one more than there are stages."""
        return tuple(self._state.starts)

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """The steps of which there is a checkpoint: rewinding there needs no replay."""
        return tuple(self.store.checkpoint_steps())

    @property
    def temporary(self) -> bool:
        """Whether the run's folder goes with the run; `keep` makes it stay."""
        return self.folder.name.startswith(TEMPORARY)

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
        return self._state.stage_at(self.step)[0] if self._state.stages else None

    @property
    def student(self) -> nn.Module:
        """The student as it is at the cursor."""
        return self.method.student

    @checked
    def history(self, start: int = 0) -> list[Row]:
        """The rows of steps ``start + 1`` to the cursor: step, stage, rate, loss, terms, seconds."""
        return list(self.store.rows(start, self.step))

    def __repr__(self) -> str:
        stage = f", stage {self.stage.name!r}" if self.stage else ""
        ahead = f" ({self.recorded} recorded)" if self.recorded > self.step else ""
        return f"Run({self.name!r}, {self.store.about['method']}, step {self.step} of {self.steps}{ahead}{stage})"

    # Moving.

    @checked
    def advance(
        self, n: int | None = 1, *, progress: bool | None = None, until: Callable[[], bool] | None = None
    ) -> Self:
        """Do the next ``n`` steps, or all that are left for None (`advance_to_end`); stops at the end.

        Recorded steps after a rewind are replayed and must give the recorded rows.

        Args:
            n: how many steps.
            progress: whether to show a bar; None shows one in a notebook and on a terminal.
            until: asked after every step; the call ends once it says yes. A thread that trains stops so within a step
                (``until=event.is_set``) and is spared what every call costs, some 0.2 ms.

        Raises:
            Diverged: a term or gradient is not finite. The run stands at the step before, everything is kept.
            InputError: a teacher says something else now than when the run was made (asked at least every 20 steps, and
                before more than these).
            ReplayMismatch: a replayed row differs from the recorded one; nothing is changed.
            StoreError: the disk refuses; the run goes on from where it stands once it does not.
        """
        if n is not None and n < 0:
            raise InputError(f"advance({brief(n)}): expected a number of steps from 0 on, or None for all left.")
        with self._lock, self.store.lock(), self._threads():
            self._recover()
            if self.step == 0:
                self._save()  # what a step that is broken off goes back to
            count = self.steps - self.step if n is None else min(n, self.steps - self.step)
            if self._unasked + count >= MANY:
                same_answers(self.store.about, self.problem, self.folder)
                self._unasked = 0
            self._watch()
            # Whoever goes step by step needs no bar each time.
            with progress_bar(count, self.name, show=progress) if count > 1 else nullcontext() as bar:
                for _ in range(count):
                    self._step()
                    self._unasked += 1
                    if bar is not None:
                        bar.update()
                    if until is not None and until():
                        break
        return self

    def advance_to_end(self, *, progress: bool | None = None) -> Self:
        """Do all steps that are left; see `advance`."""
        return self.advance(None, progress=progress)

    def seek(self, step: int) -> Self:
        """Stand at a recorded step, earlier or later: the nearest checkpoint before it, then replay.

        Raises InputError for a step that is not recorded.
        """
        with self._lock:
            step = self._known_step("seek(", step)
            with self.store.lock(), self._threads():
                self._go_to(step)
        return self

    rewind = seek  # as most people call going back

    def _known_step(self, call: str, step: int) -> int:
        """The step, if it is a recorded one. Raises InputError otherwise."""
        if not fits(step, int) or not 0 <= step <= self.recorded:
            raise InputError(f"{call}{brief(step)}): expected a recorded step, 0 to {self.recorded}.")
        return int(step)

    def turn(self) -> AbstractContextManager[object]:
        """Within the ``with`` this thread has the run to itself: others that move it or look at it wait.

        Every call that does so takes a turn of its own, in the order in which threads ask; what only says where the run
        stands (``step``, ``history()``, ``stage`` …) never waits. Nets that are read directly (``run.method``) need
        one, if another thread may train them meanwhile.
        """
        return self._lock

    @checked
    def fork(self, name: str, *, at: int | None = None, folder: str | Path | None = None, **changes: Any) -> "Run":
        """A new run with the same past up to step ``at`` (default: here) and other options from there on.

        Args:
            name: of the new run; in the folder beside this run's, unless ``folder`` says where.
            at: a recorded step.
            changes: options by name; none gives a copy that goes the same way.

        Raises:
            InputError: unknown option, value out of range, a step that is not recorded, a name that is taken, or a
                teacher that says something else now than when the run was made.
            NotApplicable: a change that does not fit at that step: other shapes, other stages before it.
        """
        with self._lock:
            at = self._known_step("fork(at=", self.step if at is None else at)
            try:
                config = self.config_at(at).replace(**changes)
            except InputError as error:
                raise InputError(f"{self._state.kind.__name__}: {error}") from None
            same_answers(self.store.about, self.problem, self.folder)
            before = [(step, kept) for step, kept in self._state.configs if step < at]
            new = self._state.build(config)  # before there is a folder: options may not fit the problem
            if at > 0:
                check_applicable(self._state.build(self.config_at(at - 1)), new, at, changes)
            beside = self.folder.parent / name_of_fork(name)
            if folder is None and not self.temporary:
                folder = beside
            about = self.store.about | {
                "name": name,
                "configs": [[step, asdict(kept)] for step, kept in [*before, (at, config)]],
                "parent": [self.name, at],
                **about_method(new),
            }
            other = Run.__new__(Run)
            with self.store.copying(folder_of(other, folder), about, rows=at) as store:
                other._start(store, self.problem, self._state.kind, new if at == 0 else None)
                other._teacher_outputs = self._teacher_outputs  # of the same problem on the same device
                with other._threads():
                    if at == 0:
                        other._save()  # other options may have made other weights
                    other._go_to(at)
                    other._save()
            return other

    def save(self) -> None:
        """Write a checkpoint of this very step, so that opening the run needs no replay."""
        with self._lock, self.store.lock(), self._threads():
            self._recover()
            self._save()

    # Looking.

    def predict(self, images: Any) -> Tensor:
        """Scores of the classes for images as in the pool; eval mode, no gradients, on the CPU.

        Args:
            images: whatever a pool takes (see `ka_explore.problem.pool.Images`), bytes are divided by 255.

        Raises InputError for what a pool would not take, or images of another shape than the pool's.
        """
        found = images_like(self.problem.pool, images)
        parts = (found[start : start + 256].to(self.device) for start in range(0, len(found), 256))
        with self._in_eval_mode():
            return torch.cat([self.method.predict(part).float().cpu() for part in parts])

    def snapshot(self) -> Snapshot:
        """Named arrays on the probe set, as they are now; it changes nothing. See `ka_explore.run.snapshot`."""
        with self._in_eval_mode():
            return take_snapshot(self.method, self.stage, self.step, self._teacher_outputs)

    # One step.

    def _step(self) -> None:
        """The loop's body: batch, loss, backward, update, row."""
        begun = time.perf_counter()
        stage, within = self._state.stage_at(self.step)
        optimizer = self._state.optimizer_of(stage)
        index = self.problem.pool.at(self.seed, self.step, self.method.config.batch_size)
        batch = self._batch(index, augment_step=self.step)
        prepare(self.method, stage)
        rate = rate_at(self.method.config, within, stage.steps)
        self._dirty = True
        if within == 0 and stage.begin is not None:
            self._once(stage.begin)
            prepare(self.method, stage)
        with seeded(self.seed, self.step, self.device, draws=self._state.draws):
            done, bad = training_step(self.method, stage, batch, optimizer, rate, self.store.about["precision"])
        row: Row = {"step": self.step + 1, "stage": stage.name, "rate": rate, **done}
        if bad:
            self._go_to(self.step)
            raise diverged(self.name, row, bad)
        if within == stage.steps - 1 and stage.finish is not None:
            self._once(stage.finish)
        self._commit(row, seconds=time.perf_counter() - begun)

    def _once(self, work: Callable[[Batches], None]) -> None:
        """What a stage does once, at its begin or finish: in eval mode, without gradients, on the whole pool."""
        self.method.eval()
        with torch.no_grad(), seeded(fold_in(self.seed, self.step), 1, self.device):
            work(self._batches)

    def _batches(self) -> Iterator[Batch]:
        """The whole pool in order, never augmented."""
        for index in self.problem.pool.in_order():
            yield self._batch(index, augment_step=None)

    def _commit(self, row: Row, seconds: float) -> None:
        """Record the step that was done, or compare it with its record."""
        if self.step < self.store.rows_kept:
            known = self.store.row(self.step)
            if not is_replay(known, row):
                here = self.store.about["environment"] == environment(self.device)
                last = max((step for step in self.store.checkpoint_steps() if step <= self.step), default=0)
                raise replay_mismatch(self.name, known, row, same_machine=here, checkpoint=last)
        else:
            self.store.append(row | {"seconds": round(seconds, 6)})
        self._state.step += 1
        self._dirty = False
        if self.step in self._state.starts or self.step % int(self.store.about["checkpoint_every"]) == 0:
            self._save()
        self._state.use(self.config_at(self.step))
        self._watch()

    def _batch(self, index: np.ndarray, *, augment_step: int | None) -> Batch:
        """The images of these indices and what the teachers say of them: from the cache, or live when augmented."""
        augment = None if augment_step is None else fold_in(self.seed, augment_step)
        return self._teacher_outputs.batch(index, self.method, augment=augment)

    @property
    def cache(self) -> TeacherCache:
        """What the teachers say of the pool."""
        return self._teacher_outputs.cache(self.method.teacher_layers())

    # State.

    def config_at(self, step: int) -> TrainingConfig:
        """The options in force for the step after ``step`` steps."""
        return self._state.config_at(step)

    def _save(self) -> None:
        """Write a checkpoint of this step, unless a good one is there."""
        if self.step in self.store.checkpoint_steps() and self.step not in self._unreadable:
            return
        self.store.save_checkpoint(self.step, self._state.checkpoint())
        self._unreadable.discard(self.step)

    def _load_before(self, step: int) -> None:
        """The newest checkpoint at or before a step that can be read; the others are noted."""
        for at in reversed(self.store.checkpoint_steps()):
            if at <= step and at not in self._unreadable:
                try:
                    self._state.restore(at, self.store.load_checkpoint(at, self._state.most_bytes()))
                    self._dirty = False
                    return
                except StoreError as error:
                    self._unreadable.add(at)
                    self.store.notes.append(f"{self.folder}: {error} An earlier checkpoint is used.")
        if self.recorded == 0:  # a run whose maker was ended: its weights are those of its seed
            self._state.begin()
            self._dirty = False
            return
        raise StoreError(
            f"no checkpoint at or before step {step} in {self.folder} can be read. {' '.join(self.notes)} Its rows and "
            "snapshots can (ka-explore diagnose, probe); to train, make the run again in another folder."
        )

    def _go_to(self, step: int) -> None:
        """The checkpoint before a step, then replay."""
        self._load_before(step)
        while self.step < step:
            if self.done:
                raise StoreError(f"{self.folder} has a row of step {step}, the method's stages end at {self.steps}.")
            self._step()

    def _recover(self) -> None:
        if self._dirty:
            self._go_to(self.step)

    # Contexts.

    def _threads(self) -> AbstractContextManager[None]:
        """Torch's threads while the run computes."""
        return computing(self.store.about["threads"] or self._usual_threads)

    @contextmanager
    def _in_eval_mode(self) -> Iterator[None]:
        """A turn in eval mode, without gradients, with own random numbers; afterwards everything is as before."""
        with self._lock:
            if self._dirty:
                with self.store.lock(), self._threads():
                    self._recover()
            # A method without stages is the teachers themselves, who may be anybody's nets.
            draws = self._state.draws or not self._state.stages
            with self._threads(), in_eval_mode(self.method), seeded(self.seed, 0, self.device, draws=draws):
                yield

    def _watch(self) -> None:
        """Store a snapshot when it is due."""
        every = int(self.store.about["snapshot_every"])
        due = every and (self.step % every == 0 or self.step == self.steps)
        if due and self.step not in self.store.snapshot_steps():
            self.store.save_snapshot(self.snapshot())
