"""What looking costs: pictures from an opened run, second looks at t-SNE, probing while training, sizes on disk.

CPU time on one thread, best of some rounds where a bound in seconds is asked for; probing is a ratio in one process.
"""
# ruff: noqa: T201 - the table is the point

import io
import resource
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from ka_explore import Run, Store, toy
from ka_explore.probes import PROBES
from ka_explore.probes.axes import basis_of
from ka_explore.probes.embedding import fit_basis, pca
from ka_explore.probes.jobs import embed
from ka_explore.problem.pool import Pool
from ka_explore.problem.problem import Problem
from ka_explore.run.snapshot import Snapshot

ALIGNMENT = ("pairs_found", "class_neighbours", "gap")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As runs of small students are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def problem() -> Problem:
    """MNIST; trains its teachers on first use (half a minute) and keeps them."""
    return toy.mnist()


def with_probe(problem: Problem, images: int) -> Problem:
    """The same problem with so many images in its probe set."""
    from dataclasses import replace

    return replace(problem, pool=Pool(problem.pool.images, labels=problem.pool.labels, probe=images), name="")


def seconds(work: Callable[[], object], rounds: int = 5) -> float:
    """The least CPU time of some calls, the first one left out as it imports."""
    work()
    times = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return min(times)


def test_from_an_opened_run_to_the_picture(problem: Problem, tmp_path: Path) -> None:
    """PCA of 1 800 samples × 3 nets as a PNG: snapshot read, axes found, drawn; and a second look at t-SNE."""
    from ka_explore.plots import draw, figure_for

    run = Run(with_probe(problem, 1800), steps=4, snapshot_every=2, folder=tmp_path / "run").advance(None)
    nets = len(run.snapshot().group("common"))
    store = Store(run.folder)

    def picture() -> None:
        snapshot = store.load_snapshot(4)
        figure_for(pca(snapshot, basis_of(store)), "page").savefig(io.BytesIO(), format="png")

    def second() -> None:
        embed(store.load_snapshot(4), "tsne", iterations=250).result(show=False)

    first = seconds(picture)
    again = seconds(second, rounds=3)
    print(f"\n1 800 samples × {nets} nets, CPU s: PCA picture {first:.3f}, second look at t-SNE {again:.3f}")
    assert draw is not None
    assert nets == 3
    assert first < 0.3
    assert again < 0.3


def test_axes_of_twenty_snapshots(problem: Problem, tmp_path: Path) -> None:
    """From a run's folder to positions on axes fitted to it; the second time the axes are kept."""
    run = Run(problem, steps=20, snapshot_every=1, folder=tmp_path / "run").advance(None)
    assert len(run.store.snapshot_steps()) == 21

    def picture() -> None:
        store = Store(run.folder)
        pca(store.load_snapshot(20), basis_of(store))

    def anew() -> None:
        shutil.rmtree(run.folder / "views", ignore_errors=True)
        picture()

    first, again = seconds(anew), seconds(picture)
    print(f"\naxes of 21 snapshots and a picture on them, CPU s: {first:.3f}, with kept axes {again:.3f}")
    assert first < 0.2
    assert again < 0.05


def test_pca_of_twenty_thousand_samples() -> None:
    """Three nets of width 64; the peak of this process stays below 1 GB more than before."""
    random = np.random.default_rng(0)
    count, nets = 20_000, ("student", "one", "two")
    arrays = {f"common/{net}": random.normal(size=(count, 64)).astype(np.float32) for net in nets}
    arrays |= {f"logits/{net}": np.zeros((count, 2), np.float32) for net in nets[1:]}
    snapshot = Snapshot(
        0, "joint", np.arange(count), None, (("class", "a"),) * 4, {"one": (0, 1), "two": (2, 3)}, arrays
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    pca(snapshot, fit_basis(snapshot))
    spent = time.process_time() - begun
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    print(f"\n20 000 samples × 3 nets × 64: PCA {spent:.2f} CPU s, {grown:.2f} GB more at the peak")
    assert spent < 2
    assert grown < 1


def test_numbers_for_alignment() -> None:
    """Of 256 images, three nets of width 128: milliseconds each, less than the MMD of the same rows."""
    random = np.random.default_rng(0)
    arrays = {f"common/{net}": random.normal(size=(256, 128)).astype(np.float32) for net in ("student", "one", "two")}
    arrays |= {f"logits/{net}": random.normal(size=(256, 2)).astype(np.float32) for net in ("one", "two")}
    classes, knows = (("class", "a"),) * 4, {"one": (0, 1), "two": (2, 3)}
    snapshot = Snapshot(0, "joint", np.arange(256), None, classes, knows, arrays)
    times = {name: seconds(lambda n=name: PROBES[n](snapshot)) for name in ("mmd", *ALIGNMENT)}
    print("\n" + ", ".join(f"{name} {1e3 * spent:.1f} ms" for name, spent in times.items()))
    assert all(times[name] < times["mmd"] for name in ALIGNMENT)


@pytest.mark.parametrize("method", ["common_feature", "layer_wise", "adaptive", "distillation"])
def test_probing_while_training(problem: Problem, method: str) -> None:
    """A whole run that stores a snapshot every 50 steps beside the same run that stores none: at most a tenth more."""

    def spent(every: int) -> float:
        run = Run(problem, method, steps=300, snapshot_every=every, checkpoint_every=1000)
        begun = time.process_time()
        run.advance(None)
        assert len(run.store.snapshot_steps()) == (7 if every else 0)
        return time.process_time() - begun

    ratio = statistics.median(spent(50) / spent(0) for _ in range(3))
    print(f"\n{method}, a snapshot every 50 steps: {ratio:.3f} of the run's CPU time without")
    assert ratio <= 1.1


@pytest.mark.parametrize("name", ["mnist", "digits_and_clothes", "shared_digits", "sprites"])
def test_a_snapshot_of_512_samples_is_small(name: str, tmp_path: Path) -> None:
    """Less than 1 MB each, beside what all snapshots of a run share."""
    run = Run(with_probe(getattr(toy, name)(), 512), steps=2, snapshot_every=1, folder=tmp_path / "run").advance(None)
    sizes = {path.name: path.stat().st_size for path in sorted((run.folder / "snapshots").iterdir())}
    print(f"\n{name}: {', '.join(f'{file} {size / 1e6:.2f} MB' for file, size in sizes.items())}")
    assert max(size for file, size in sizes.items() if file != "teachers.npz") < 1e6
