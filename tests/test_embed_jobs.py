"""Laws of pictures made in a process of their own."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ka_explore.errors import InputError, StoreError
from ka_explore.probes import films, jobs
from ka_explore.probes.axes import basis_of
from ka_explore.probes.embedding import film, frames_of, pca, tsne
from ka_explore.probes.jobs import EmbeddingFailed, embed, forget
from ka_explore.probes.ways import checked_options
from ka_explore.run.snapshot import Snapshot

WIDTH = 8


def made(
    samples: int = 15, *, step: int = 0, drift: float = 0.0, nets=("student", "one"), width: int = WIDTH
) -> Snapshot:
    random = np.random.default_rng(0)
    base, way = random.normal(size=(samples, width)), random.normal(size=(samples, width))
    arrays = {
        f"common/{net}": (base + drift * way + 0.2 * random.normal(size=base.shape)).astype(np.float32) for net in nets
    }
    arrays |= {"logits/one": random.normal(size=(samples, 2)), "scores": random.normal(size=(samples, 2))}
    labels = {"class": random.integers(0, 2, samples)}
    classes = (("class", "a"), ("class", "b"))
    return Snapshot(step, "joint", np.arange(samples), labels, classes, {"one": (0, 1)}, arrays)


def changed(snapshot: Snapshot, **fields) -> Snapshot:
    return Snapshot(**{n: getattr(snapshot, n) for n in snapshot.__dataclass_fields__} | fields)


SNAPSHOTS = [made(), made(step=10, drift=0.1)]
OPTIONS = {"iterations": 250, "seed": 3}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """Where this test's pictures are kept."""
    monkeypatch.setenv("KA_EXPLORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "embeddings"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> SimpleNamespace:
    """A job that came to its end, and what was seen of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KA_EXPLORE_CACHE", str(tmp_path_factory.mktemp("cache")))
        job = embed(SNAPSHOTS, "tsne", **OPTIONS)
        seen = [job.progress]
        while not job.done:
            seen.append(job.progress)
            time.sleep(0.005)
        return SimpleNamespace(job=job, seen=[*seen, job.progress], film=job.result(), path=job.path)


@pytest.fixture
def kept(finished, folder) -> Path:
    """Its file, in this test's folder."""
    folder.mkdir(parents=True)
    return Path(shutil.copy(finished.path, folder))


@pytest.fixture
def no_process(monkeypatch) -> None:
    """Starting a process is an error."""

    def refused(*_arguments, **_options):
        raise OSError("no process here")

    monkeypatch.setattr(subprocess, "Popen", refused)


def gone(process: int, seconds: float = 5.0) -> bool:
    """Whether a process ends within that time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(process, 0)
            if Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def long_job(*, under_way: bool = False) -> jobs.Embedding:
    """One that takes longer than any test waits."""
    job = embed(made(400), "tsne", iterations=1_000_000)
    until = time.monotonic() + 30
    while under_way and job.progress.share == 0 and time.monotonic() < until:
        time.sleep(0.02)
    assert not job.done
    return job


# What a job finds


def test_a_job_finds_what_this_process_would(finished):
    for one, other in zip(finished.film, film(SNAPSHOTS, "tsne", **OPTIONS), strict=True):
        assert np.allclose(one.xy, other.xy, rtol=1e-3, atol=1e-3 * other.xy.std())
        assert (one.title, one.axes, one.groups, one.labels) == (other.title, other.axes, other.groups, other.labels)
        assert one.quality == pytest.approx(dict(other.quality), abs=0.02)
        assert np.array_equal(one.label, other.label)


def test_progress_grows_to_the_end_and_says_what_is_done(finished):
    shares = [p.share for p in finished.seen]
    assert shares == sorted(shares)
    assert shares[0] < 0.1
    assert shares[-1] == 1
    assert len(set(shares)) > 4
    assert any("picture 2 of 2: iteration" in p.words for p in finished.seen)
    assert finished.seen[-1].words == "done"
    assert finished.job.announced > 0


def test_a_finished_job_leaves_its_film_and_nothing_else(finished):
    assert gone(finished.job.process)
    assert list(finished.path.parent.iterdir()) == [finished.path]
    finished.job.cancel()  # too late to matter
    assert finished.job.result()[0] is finished.film[0]


def test_a_job_goes_on_from_a_picture(finished):
    start = finished.film[0]
    (one,) = embed(SNAPSHOTS[1], "tsne", start=start, **OPTIONS).result(60)
    other = tsne(SNAPSHOTS[1], start=start, **OPTIONS)
    assert np.allclose(one.xy, other.xy, atol=1e-3 * other.xy.std())
    assert np.allclose(one.xy, finished.film[1].xy, atol=1e-3 * other.xy.std())


# The second look


@pytest.mark.usefixtures("kept", "no_process")
def test_a_second_look_gives_the_same_bits_and_starts_no_process(finished):
    job = embed(SNAPSHOTS, "tsne", **OPTIONS)
    assert job.done
    assert job.process is None
    assert (job.progress.share, job.announced) == (1, 0)
    for one, other in zip(job.result(), finished.film, strict=True):
        assert np.array_equal(one.xy, other.xy)
        assert (one.note, one.quality, one.axes, one.title) == (other.note, other.quality, other.axes, other.title)


@pytest.mark.usefixtures("kept", "no_process")
def test_labels_are_no_part_of_what_is_kept():
    others = [changed(s, labels={"class": 1 - s.labels["class"]}) for s in SNAPSHOTS]
    assert np.array_equal(embed(others, "tsne", **OPTIONS).result()[0].label[:15], others[0].labels["class"])
    blind = [changed(s, labels=None) for s in SNAPSHOTS]
    assert embed(blind, "tsne", **OPTIONS).result()[0].label is None


def test_whatever_makes_another_picture_makes_another_fingerprint(monkeypatch):
    def fingerprint(snapshots=SNAPSHOTS, how="tsne", start=None, **options) -> str:
        return films.fingerprint(frames_of(snapshots, "common"), how, checked_options(how, options), start)

    turned = changed(SNAPSHOTS[0], arrays=dict(reversed(SNAPSHOTS[0].arrays.items())))
    one_bit = SNAPSHOTS[0].arrays | {"common/one": SNAPSHOTS[0].arrays["common/one"] * np.float32(1.0)}
    one_bit["common/one"][0, 0] += 1e-6
    found = [
        fingerprint(),
        fingerprint(SNAPSHOTS[::-1]),
        fingerprint(SNAPSHOTS[:1]),
        fingerprint([turned, SNAPSHOTS[1]]),
        fingerprint([changed(SNAPSHOTS[0], arrays=one_bit), SNAPSHOTS[1]]),
        fingerprint(seed=1),
        fingerprint(perplexity=5),
        fingerprint(how="umap"),
        fingerprint(start=pca(SNAPSHOTS[0])),
        fingerprint(start=pca(SNAPSHOTS[1])),
    ]
    assert fingerprint() == found[0] == fingerprint(perplexity=30)
    monkeypatch.setattr(films, "installed", lambda name: "another")
    found.append(fingerprint())
    assert len(set(found)) == len(found)


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize("damage", ["empty", "cut", "bytes", "pickle", "frames", "NaN"])
def test_a_damaged_file_is_not_believed(kept, damage, finished):
    whole = kept.read_bytes()
    if damage == "pickle":
        np.savez(kept, about=np.array([{}], dtype=object), xy0=np.zeros((30, 2)), xy1=np.zeros((30, 2)))
    elif damage in ("frames", "NaN"):
        films.write_film(kept, finished.film[:1] if damage == "frames" else spoiled(finished.film))
    else:
        middle = len(whole) // 3
        cut = {"empty": b"", "cut": whole[:-200], "bytes": whole[:middle] + b"12345678" + whole[middle + 8 :]}
        kept.write_bytes(cut[damage])
    with pytest.raises(EmbeddingFailed):  # it is made anew, which here it cannot be
        embed(SNAPSHOTS, "tsne", **OPTIONS)


def spoiled(frames):
    return [changed_points(frame) for frame in frames]


def changed_points(frame):
    xy = frame.xy.copy()
    xy[3] = np.nan
    return type(frame)(**{n: getattr(frame, n) for n in frame.__dataclass_fields__} | {"xy": xy})


def test_a_damaged_file_is_made_anew(kept, finished):
    kept.write_bytes(kept.read_bytes()[:100])
    again = embed(SNAPSHOTS, "tsne", **OPTIONS).result(60)
    assert all(np.array_equal(one.xy, other.xy) for one, other in zip(again, finished.film, strict=True))
    assert films.read_film(kept, frames_of(SNAPSHOTS, "common")) is not None


def test_what_was_not_looked_at_for_longest_is_removed(folder, monkeypatch, finished):
    folder.mkdir(parents=True)
    size = finished.path.stat().st_size
    for place in range(5):
        path = Path(shutil.copy(finished.path, folder / f"{place}.npz"))
        os.utime(path, (1000 + place, 1000 + place))
    old, new = folder / "job-old", folder / "job-new"
    for job in (old, new):
        job.mkdir()
    os.utime(old, (1000, 1000))
    monkeypatch.setattr(films, "KEPT_BYTES", 2 * size)
    films.trim()
    assert sorted(path.name for path in folder.iterdir()) == ["3.npz", "4.npz", "job-new"]
    assert forget() == 2
    assert list(folder.iterdir()) == [new]
    assert forget() == 0


# Ending a job


def test_a_cancelled_job_is_ended_at_once_and_leaves_nothing(folder):
    job = long_job(under_way=True)
    assert 0 < job.progress.share < 1
    began = time.monotonic()
    job.cancel()
    assert time.monotonic() - began < 2
    assert gone(job.process)
    assert list(folder.iterdir()) == []
    assert job.done
    assert job.progress.words == "cancelled"
    with pytest.raises(EmbeddingFailed, match="was cancelled"):
        job.result()
    job.cancel()


def test_a_job_that_takes_longer_goes_on_and_one_nobody_holds_is_ended(folder):
    job = long_job()
    process = job.process
    with pytest.raises(TimeoutError, match=r"after 0\.05 s and goes on"):
        job.result(0.05)
    jobs.end(job._process, job._folder, os.getpid() + 1)  # what a fork of this process would do
    assert not job.done
    del job
    gc.collect()
    assert gone(process)
    assert list(folder.iterdir()) == []


def test_a_worker_that_is_ended_from_outside_is_a_clear_error(folder):
    job = long_job()
    os.kill(job.process, signal.SIGKILL)
    with pytest.raises(EmbeddingFailed, match=r"ended from outside \(signal 9\)"):
        job.result(30)
    assert list(folder.iterdir()) == []


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from test_embed_jobs import embed, made
print("once", flush=True)
embed(made(), "tsne", iterations=250).result()
job = embed(made(400), "tsne", iterations=1_000_000)
while job.progress.share == 0:
    time.sleep(0.02)
print(job.process, flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_a_script_needs_no_guard_and_takes_its_worker_along_when_it_is_killed(folder, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    (tmp_path / "sklearn.py").write_text("raise SystemExit('a file of the user beside the script')")
    running = subprocess.Popen(
        [sys.executable, "-P", str(script)], stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=jobs.environment()
    )
    with running:
        assert running.stdout.readline() == "once\n"
        process = int(running.stdout.readline())
        running.kill()
    assert gone(process)
    assert [path.suffix for path in folder.iterdir()] == [".npz"]


# What goes wrong


@pytest.mark.usefixtures("no_process")
def test_without_processes_it_says_what_to_do(folder):
    with pytest.raises(EmbeddingFailed, match=r"no process can be started for t-SNE \(no process here\)"):
        embed(made(), "tsne")
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_rows_that_cannot_be_drawn_are_an_input_error_here():
    pytest.importorskip("umap", reason="umap-learn is not installed: pip install umap-learn")
    apart = [made(), made(nets=("two", "three"))]
    with pytest.raises(InputError, match="no net in common"):
        embed(apart, "aligned_umap").result(60)


@pytest.mark.parametrize(
    ("code", "left", "kind", "message"),
    [
        (
            1,
            {"kind": "other", "message": "KeyError: 3", "trace": "line 7"},
            EmbeddingFailed,
            "KeyError: 3(.|\n)*line 7",
        ),
        (1, {"kind": "OSError", "message": "disk full", "trace": ""}, StoreError, "disk full.*KA_EXPLORE_CACHE"),
        (2, "not JSON", EmbeddingFailed, "code 2: no module named"),
        (0, None, EmbeddingFailed, "code 0: no module named"),
    ],
)
def test_what_a_worker_says_of_its_end_is_passed_on(tmp_path, code, left, kind, message):
    (tmp_path / "printed.txt").write_text("no module named umap")
    if left is not None:
        (tmp_path / "error.json").write_text(left if isinstance(left, str) else json.dumps(left))
    error = jobs.what_happened(tmp_path, code, "UMAP")
    assert isinstance(error, kind)
    with pytest.raises(kind, match=message):
        raise error


@pytest.mark.parametrize(
    ("how", "options", "message"),
    [
        ("pca", {}, "needs no process"),
        ("t-sne", {}, "Did you mean 'tsne'"),
        ("tsne", {"neighbours": 3}, "unknown option"),
        ("aligned_umap", {"start": pca(made())}, "cannot go on"),
        ("tsne", {"space": "feature"}, "has no feature/…"),
    ],
)
@pytest.mark.usefixtures("no_process")
def test_what_does_not_fit_is_refused_before_a_process_is_started(how, options, message, folder):
    with pytest.raises(InputError, match=message):
        embed(made(), how, **options)
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KA_EXPLORE_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(StoreError, match="set KA_EXPLORE_CACHE to another folder"):
        embed(made(), "tsne")


def test_a_worker_has_one_thread_and_no_torch():
    code = """
import sys
from ka_explore.probes.jobs import lay_out, frames_of
from ka_explore.probes.embedding import Rows
import numpy as np
values = np.random.default_rng(0).normal(size=(30, 4))
lay_out([Rows(values, np.zeros(30, int), ("student",), np.arange(30))], "tsne", {"iterations": 250})
print("torch" in sys.modules, "ka_explore.run.store" in sys.modules)
"""
    env = jobs.environment()
    assert {env[f"{name}_NUM_THREADS"] for name in ("OMP", "NUMBA", "OPENBLAS", "MKL")} == {"1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["umap", "aligned_umap"])
def test_umap_in_a_process_of_its_own(how, folder):
    pytest.importorskip("umap", reason="umap-learn is not installed: pip install umap-learn")
    job = embed(SNAPSHOTS, how, neighbours=5, epochs=100)
    seen = set()
    while not job.done:
        seen.add(job.progress.words)
        time.sleep(0.01)
    frames = job.result()
    assert seen > {"starting"}
    assert len(frames) == 2
    assert all(frame.quality["trustworthiness"] > 0.7 and "UMAP" in frame.note for frame in frames)
    gaps = np.linalg.norm(frames[0].xy - frames[1].xy, axis=1)
    assert gaps.mean() < frames[0].xy.std()
    again = embed(SNAPSHOTS, how, neighbours=5, epochs=100)
    assert again.process is None
    assert np.array_equal(again.result()[1].xy, frames[1].xy)
    assert [path.suffix for path in folder.iterdir()] == [".npz"]


# What stood here in version 0.1


@pytest.mark.parametrize("name", ["basis_of", "refreeze"])
def test_the_axes_of_a_run_are_found_by_their_old_names(name):
    with pytest.warns(FutureWarning, match="ka_explore.probes.axes.basis_of since version 0.2"):
        assert getattr(jobs, name) is basis_of
