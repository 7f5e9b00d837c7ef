"""Run folders from strangers: whatever stands in one, it opens with what is left, or one of our errors says why not."""

import copy
import json
import math
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ka_explore import KaError, Problem, Run, Store, StoreError, diagnose
from ka_explore.cli import main
from ka_explore.panels.branch import Branch
from ka_explore.probes.axes import basis_of

Change = Callable[[Path], object]
DEEP = "[" * 100_000 + "]" * 100_000
GONE = object()
STRANGE: list[Any] = [
    GONE, None, True, -1, 7, 2.5, 2**70, math.nan, math.inf, "", "x", "\ud800", "a\0b", [], {}, [1, None], [[[]]],
    {"a": {}}, ["x"] * 3, [0.1] * 5_000, 10**30, "x" * 100_000,
]  # fmt: skip


@pytest.fixture(scope="module")
def problem(tiny_problem) -> Problem:
    return tiny_problem(images=24, shape=(1, 8, 8), test=8, probe=12)


@pytest.fixture(scope="module")
def base(problem, tmp_path_factory) -> Path:
    """A finished run of four steps: every file that a run's folder may have is in it."""
    folder = tmp_path_factory.mktemp("base") / "run"
    run = Run(problem, "common_feature", folder=folder, steps=4, batch_size=8, width=4, blocks=1, checkpoint_every=2,
              snapshot_every=2).advance(None)  # fmt: skip
    run.save()
    diagnose(run)
    basis_of(folder)
    return folder


@contextmanager
def limits(seconds: int = 30, room: int = 2**32) -> Iterator[None]:
    """Within the ``with`` whatever takes longer, or asks for more memory than that, fails."""

    def late(*_: object) -> None:
        raise TimeoutError("too long")

    before, kept = signal.signal(signal.SIGALRM, late), resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    signal.alarm(seconds)
    resource.setrlimit(resource.RLIMIT_AS, (used + room, kept[1]))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, kept)


Use = Callable[[Path, Problem], object]


def opened(folder: Path, problem: Problem) -> None:
    run = Run.open(folder, problem)
    assert repr(run)
    run.advance(1)
    run.seek(max(run.recorded - 1, 0)).fork("other", folder=folder.parent / "fork")


def reopened(folder: Path, problem: Problem) -> None:
    run = Run.open(folder, problem)
    run.seek(run.recorded)


def looked_at(folder: Path, _: Problem) -> None:
    branch = Branch(folder=folder)
    assert branch.elapsed >= 0
    for step in branch.steps_seen():
        branch.snapshot(step)
    assert diagnose(folder).to_pandas() is not None


def probed(folder: Path, _: Problem) -> None:
    assert main(["probe", str(folder)]) in (0, 2)


def read(folder: Path, _: Problem) -> None:
    store = Store(folder)
    list(store.rows())
    for step in store.snapshot_steps():
        store.load_snapshot(step)


def escaped(base: Path, problem: Problem, tmp_path: Path, changes: dict[str, Change], *uses: Use) -> list[str]:
    """What became of each change and use that was no error of ours; where the first use has one, the rest would too.

    Every third change is tried, with KA_EXPLORE_THOROUGH=1 all of them.
    """
    found = []
    for name, change in list(changes.items())[:: 1 if os.environ.get("KA_EXPLORE_THOROUGH") else 3]:
        folder = tmp_path / "all" / "run"
        shutil.copytree(base, folder)
        change(folder)
        try:
            with limits(), suppress(KaError):
                for use in uses:
                    use(folder, problem)
        except Exception as error:
            found.append(f"{use.__name__} {name}: {type(error).__name__}: {str(error)[:200]}")
        shutil.rmtree(tmp_path / "all")
    return found


# JSON


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a JSON value, its first elements only."""
    if path:
        yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, part in parts:
        yield from places(part, (*path, key))


def with_value(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if new is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return value


def variants(value: Any, every: int = 1) -> Iterator[tuple[str, str]]:
    """A JSON text for each place and strange value, and one nested deep; of all but the first level each ``every``."""
    for number, path in enumerate(places(value)):
        for i, new in enumerate([*STRANGE, DEEP]):
            if len(path) > 1 and (number + i) % every:
                continue
            text = json.dumps(with_value(value, path, "deep" if new is DEEP else new))
            told = "deep" if new is DEEP else "gone" if new is GONE else repr(new)[:20]
            yield f"{path}={told}", text.replace('"deep"', DEEP) if new is DEEP else text


def write(name: str, text: str | bytes) -> Change:
    data = text.encode() if isinstance(text, str) else text
    return lambda folder: (folder / name).write_bytes(data)


def test_a_run_json_with_anything_in_any_place(base, problem, tmp_path):
    about = json.loads((base / "run.json").read_text())
    changes = {name: write("run.json", text) for name, text in variants(about, every=19)}
    assert len(changes) > 400
    assert escaped(base, problem, tmp_path, changes, read, reopened) == []
    few = dict(list(changes.items())[::4])
    assert escaped(base, problem, tmp_path, few, read, looked_at) == []


def test_a_row_with_anything_in_any_place(base, problem, tmp_path):
    lines = (base / "history.jsonl").read_text().splitlines(keepends=True)
    changes = {
        name: write("history.jsonl", "".join([lines[0], text + "\n", *lines[2:]]))
        for name, text in variants(json.loads(lines[1]), every=7)
    }
    assert len(changes) > 100
    assert escaped(base, problem, tmp_path, changes, read) == []
    few = dict(list(changes.items())[::3])
    assert escaped(base, problem, tmp_path, few, looked_at, opened) == []


@pytest.mark.slow
def test_what_was_found_of_the_teachers_with_anything_in_any_place(base, problem, tmp_path):
    found = json.loads((base / "examination.json").read_text())
    changes = {name: write("examination.json", text) for name, text in variants(found, every=197)}
    assert len(changes) > 50
    assert escaped(base, problem, tmp_path, changes, looked_at) == []


# Files


def is_folder(path: Path) -> None:
    path.mkdir()
    (path / "file").write_text("x")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


INSTEAD: dict[str, Change] = {
    "missing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "junk": lambda path: path.write_bytes(b"\x93NUMPY\x01\x00junk" * 50),
    "zeros": lambda path: path.write_bytes(bytes(100_000)),
    "a folder": is_folder,
    "a pipe": os.mkfifo,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "a terminal": lambda path: path.symlink_to("/dev/tty"),
    "itself": lambda path: path.symlink_to(path),
    "nowhere": lambda path: path.symlink_to("/nowhere/at/all"),
    "a terabyte": sparse,
}


@pytest.mark.slow
def test_anything_in_the_place_of_any_file_or_folder(base, problem, tmp_path):
    def instead(name: str, make: Change) -> Change:
        def change(folder: Path) -> None:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            make(path)

        return change

    def cut(name: str) -> Change:
        return lambda folder: write(name, (folder / name).read_bytes()[:-9])(folder)

    files = [str(path.relative_to(base)) for path in sorted(base.rglob("*"))]
    changes = {f"{name}: {what}": instead(name, make) for name in files for what, make in INSTEAD.items()}
    changes |= {f"{name}: cut": cut(name) for name in files if (base / name).is_file()}
    assert len(changes) > 150
    assert escaped(base, problem, tmp_path, changes, reopened) == []
    few = dict(list(changes.items())[::2])
    assert escaped(base, problem, tmp_path, few, looked_at) == []


NAMES = ["٠٠٠٠٠٤", "²", "-00004", "4", "00000000004", "9" * 30, " 000004", "000004 ", "1e3", ""]


def test_names_that_are_no_steps_are_passed_over(base, problem, tmp_path):
    shutil.copytree(base, tmp_path / "run")
    for kind, ending in (("checkpoints", ".pt"), ("snapshots", ".npz")):
        for name in NAMES:
            shutil.copy(base / kind / f"000004{ending}", tmp_path / "run" / kind / f"{name}{ending}")
    store = Store(tmp_path / "run")
    assert store.checkpoint_steps() == store.snapshot_steps() == [0, 2, 4]
    assert Run.open(tmp_path / "run", problem).step == 4


# Arrays


def others(array: np.ndarray) -> dict[str, np.ndarray]:
    """Other arrays in an array's place."""
    return {
        "longer": np.concatenate([array, array]),
        "one axis more": array[..., None],
        "one number": np.array(3),
        "none": array[:0],
        "text": array.astype("U8"),
        "complex": array.astype(complex),
        "times": array.astype("M8[s]") if array.dtype.kind in "iu" else array.astype(np.float64).view("M8[s]"),
        "large": np.full_like(array, 10_000),
        "negative": (array * 0 - 5).astype(np.int64 if array.dtype.kind in "iu" else array.dtype),
        "other numbers": array.astype(np.int32 if array.dtype.kind == "f" else np.float32),
        "a column less": array[..., 1:],
        "wide": np.zeros(array.shape, [("a", "f4"), ("b", "i4")]),
    }


@pytest.mark.slow
def test_snapshots_of_other_arrays_names_and_words(base, problem, tmp_path):
    name = "snapshots/000002.npz"
    with np.load(base / name) as file:
        arrays = dict(file)

    def saved(new: dict[str, Any], compressed: bool = False) -> Change:
        return lambda folder: (np.savez_compressed if compressed else np.savez)(folder / name, **new)

    changes = {}
    firsts = {what.split("/")[0]: what for what in reversed(arrays)}  # one of each kind
    for what, array in ((what, arrays[what]) for what in firsts.values()):
        if what != "about":
            changes |= {f"{what} {how}": saved(arrays | {what: new}) for how, new in others(array).items()}
        changes[f"{what} gone"] = saved({n: a for n, a in arrays.items() if n != what})
    about = json.loads(str(arrays["about"]))
    changes |= {t: saved(arrays | {"about": np.array(text)}) for t, text in variants(about, every=4)}
    odd = ["array:feature/nobody/x", "array:mmd/one/x", "array:mmd/student/nan", "array:logits/", "label:x"]
    changes |= {f"another {n}": saved(arrays | {n: np.full(12, 7)}) for n in odd}
    changes["a bomb"] = saved(arrays | {"array:logits/student": np.zeros((12, 10**6))}, compressed=True)
    assert len(changes) > 150
    assert escaped(base, problem, tmp_path, changes, read) == []
    few = dict(list(changes.items())[::2])
    assert escaped(base, problem, tmp_path, few, read, probed, looked_at) == []


@pytest.mark.slow
def test_checkpoints_of_other_weights_and_states(base, problem, tmp_path):
    name = "checkpoints/000004.pt"
    state = torch.load(base / name, weights_only=True)
    first = next(iter(state["method"]))
    held = next(iter(state["optimizer"]["state"]))

    def saved(path: tuple[Any, ...], new: Any) -> Change:
        return lambda folder: torch.save(with_value(state, path, new), folder / name)

    like = state["method"][first]
    tensors = {
        "other shape": torch.zeros(3), "other type": like.double(), "complex": like.to(torch.complex64),
        "meta": like.to("meta"), "sparse": like.to_sparse(), "nan": like * math.nan, "number": 3, "gone": GONE,
        "none": None, "list": [1], "text": "x",
    }  # fmt: skip
    places = [("method", first), ("optimizer", "state", held), ("method",), ("optimizer",), ("optimizer", "state")]
    places += [("optimizer", "stage"), ("optimizer", "state", held, "step"), ("optimizer", "state", held, "exp_avg")]
    changes = {f"{path} {what}": saved(path, new) for path in places for what, new in tensors.items()}
    changes |= {f"more {what}": saved(("method", what), torch.zeros(2)) for what in ("x", 3, None)}
    assert escaped(base, problem, tmp_path, changes, reopened) == []
    few = dict(list(changes.items())[::3])
    assert escaped(base, problem, tmp_path, few, opened) == []
    for what in ("other shape", "number", "gone"):
        shutil.copytree(base, tmp_path / what)
        changes[f"{('optimizer', 'state', held, 'exp_avg')} {what}"](tmp_path / what)
        assert "earlier checkpoint" in Run.open(tmp_path / what, problem).notes[0]


def test_a_checkpoint_of_another_step_is_passed_over(base, problem, tmp_path):
    shutil.copytree(base, tmp_path / "run")
    shutil.copy(base / "checkpoints/000002.pt", tmp_path / "run/checkpoints/000004.pt")
    run = Run.open(tmp_path / "run", problem)
    assert run.step == 2
    assert "not the checkpoint of a run's step 4" in run.notes[0]


def test_a_name_that_is_there_twice_is_refused(base, tmp_path):
    shutil.copytree(base, tmp_path / "run")
    text = (base / "run.json").read_text().rstrip().removesuffix("}").rstrip()
    for more in ('"seed": 7', '"configs": [[0, {"steps": 3, "steps": 4}]]'):
        (tmp_path / "run/run.json").write_text(f"{text}, {more}}}")
        with pytest.raises(StoreError, match="each name once"):
            Store(tmp_path / "run")
    (tmp_path / "run/run.json").write_text(f"{text}}}")
    lines = (base / "history.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run/history.jsonl").write_text(lines[0] + lines[1].replace('"step": 2', '"step": 9, "step": 2'))
    assert Store(tmp_path / "run").rows_kept == 1
