"""Speed as ratios, in one process, on one thread, in CPU time: a training step of method A, and the teacher cache.

Absolute times depend on the machine and on who else uses it, so variants take turns and medians are compared.
"""
# ruff: noqa: T201 - the table is the point

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from ka_explore import toy
from ka_explore.methods import METHODS, losses
from ka_explore.problem import cache
from ka_explore.problem.cache import TeacherCache
from ka_explore.problem.problem import Problem
from ka_explore.run.run import Run
from ka_explore.run.step import build

textbook = SimpleNamespace(**run_path(str(Path(__file__).with_name("textbook.py"))))

BATCH = 64


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small nets are fastest on one thread; and shapes must not be checked while the clock runs."""
    assert not hasattr(losses.mmd, "__wrapped__"), "shapes are being checked: run with --noconftest"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def problem() -> Problem:
    """MNIST, 100 images in the pool; trains its teachers on first use (half a minute) and keeps them."""
    return toy.mnist("few_images")


def milliseconds(variants: Mapping[str, Callable[[], object]], *, rounds: int, calls: int) -> dict[str, float]:
    """Median CPU time of a call; the variants take turns, each ``calls`` times a round."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for call in variants.values():
        call()
    for _ in range(rounds):
        for name, call in variants.items():
            begun = time.process_time()
            for _ in range(calls):
                call()
            times[name].append((time.process_time() - begun) / calls * 1000)
    return {name: statistics.median(values) for name, values in times.items()}


def show(title: str, times: Mapping[str, float], base: str) -> None:
    """Print a table of medians and of ratios to one row."""
    print(f"\n{title}\n{'':44}{'CPU ms':>9}{'ratio':>9}")
    for name, value in times.items():
        print(f"{name:44}{value:9.2f}{value / times[base]:9.3f}")


STEPS = {
    "the default": {},
    "the default's second half": {"hand_over": 1.0},
    "clouds": {"form": "clouds"},
    "clouds without norm": {"form": "clouds", "norm": "none"},
}


@pytest.mark.parametrize("kind", STEPS)
def test_step(problem: Problem, kind: str) -> None:
    """A step through `Run` against the textbook's, against a good loop by hand, and against the student alone.

    The textbook's MMD comes in three forms of the same value: seven separate kernels, each with its own distances
    (the bound is on the faster way to write them, ``torch.cdist``), and the published code's, which computes the
    distances once a teacher: what is left to save there is the teachers and the extractor's passes.
    """
    run = Run(problem, **STEPS[kind], steps=10000, checkpoint_every=10000, snapshot_every=0)
    follows, batch_norm = run.stage.name == "follow", run.config.norm == "batch"
    images = problem.pool.images[:]
    answers = run.cache[np.arange(len(images))]
    turn = iter(range(10**6))

    def fresh() -> torch.nn.Module:
        return build(METHODS["common_feature"], problem, run.config, run.seed).train().requires_grad_(True)

    def index() -> torch.Tensor:
        return torch.from_numpy(np.array(problem.pool.at(0, next(turn), BATCH)))

    def first(mmd: Callable[..., torch.Tensor]) -> Callable[[], object]:
        step = textbook.Textbook(fresh(), problem.teachers, together=batch_norm, mmd=mmd, follows=follows).step
        return lambda: step(images[index()])

    plain, fast = (
        textbook.GoodLoop(fresh(), images, answers, layout, follows=follows)
        for layout in (torch.contiguous_format, torch.channels_last)
    )
    student = problem.make_student().train()

    def student_alone() -> None:
        logits = student(images[index()]).logits
        functional.cross_entropy(logits, torch.full_like(logits, 1 / logits.shape[1])).backward()
        student.zero_grad()

    times = milliseconds(
        {
            "student alone, forward and backward": student_alone,
            "good loop by hand": lambda: plain.step(index()),
            "good loop by hand, channels last": lambda: fast.step(index()),
            "Run": run.advance,
            "textbook, MMD as published": first(textbook.mmd_as_published),
            "textbook, cdist a kernel": first(partial(textbook.mmd_by_definition, distances=textbook.cdist)),
        },
        rounds=12,
        calls=3,
    )
    times |= milliseconds({"textbook, differences a kernel": first(textbook.mmd_by_definition)}, rounds=2, calls=1)
    show(f"A training step, {kind}, batch {BATCH}", times, "Run")
    assert times["textbook, cdist a kernel"] / times["Run"] >= (1.9 if run.config.pooling == "flatten" else 1.4)
    assert times["Run"] / min(v for name, v in times.items() if name.startswith("good loop")) <= 1.1


def test_teacher_cache(problem: Problem, tmp_path: Path) -> None:
    """Asking the teachers through the cache, files included, costs little more than asking them."""
    assert problem.test is not None
    images = problem.test.images
    everything = images[:]
    layers = {teacher.name: (teacher.feature_layer,) for teacher in problem.teachers}
    turn = iter(range(10**6))

    def built() -> None:
        TeacherCache(problem.teachers, images, layers, folder=tmp_path / str(next(turn)))

    @torch.no_grad()
    def bare() -> None:
        for teacher in problem.teachers:
            for part in everything.split(cache.CHUNK):
                teacher.module(part if teacher.preprocess is None else teacher.preprocess(part))

    times = milliseconds({"teachers alone": bare, "TeacherCache": built}, rounds=7, calls=1)
    show(f"Two teachers on {len(images)} images, {cache.CHUNK} at a time", times, "teachers alone")
    assert times["TeacherCache"] / times["teachers alone"] <= 1.2
