"""Whether two versions of the package compute the same bits: record each in a folder, then compare the folders.

::

    PYTHONPATH=old python tests/benchmarks/same_bits.py record FOLDER_A
    PYTHONPATH=new python tests/benchmarks/same_bits.py record FOLDER_B
    python tests/benchmarks/same_bits.py compare FOLDER_A FOLDER_B

A case is a method in one of its forms, or with some options, on a toy problem: it goes 12 of 20 steps, is forked with
another learning rate, rewound, finished, and forked from its beginning with another weight decay. Kept of these three
runs: every row, the last weights, every stored snapshot, a live one, predictions. A method that refuses a problem is a
case too: what it says is kept. The toy teachers are trained anew by the version that records, one thread everywhere.

What only the second folder has is listed as new. Any other difference is an error, exit code 1.
"""
# ruff: noqa: T201 - the table is the point

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import re
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import ka_explore

# By what they name, {old name: new name}: what was renamed is compared all the same. A name stands for all below it
# too: "adaptions" for "adaptions.0.weight", "gradient/mmd" for "gradient/mmd/<teacher>".
RENAMED: dict[str, dict[str, str]] = {"arrays": {}, "terms": {}, "parameters": {}, "stages": {}}

# Cases by what they were called first, and what they may be now: the first (method, form) that exists is taken.
MOVED: dict[str, list[tuple[str, str | None]]] = {
    "layer_wise/paired": [
        ("layer_wise", "paired"),
        ("one_stage", None),
    ],
    "layer_wise/kamal": [("layer_wise", "kamal"), ("one_stage", "kamal")],
}

Options = dict[str, Any]
SHORT = {"steps": 20, "batch_size": 32}
HOW = {"seed": 3, "threads": 1, "snapshot_every": 5, "checkpoint_every": 10}
TO, FORK_AT, BACK_TO, LAST = 12, 8, 5, 10  # steps: of the base, of the first fork, of the rewind, of the second fork
IMAGES = 16  # of the pool, predicted


def one_of_two(problem: Any) -> tuple[str, ...]:
    """The first teacher whose task has another one."""
    tasks = [teacher.task for teacher in problem.teachers]
    return next((t.name,) for t in problem.teachers if tasks.count(t.task) > 1)


def shares(problem: Any) -> tuple[int, ...]:
    """Another share for every teacher."""
    return tuple(range(1, len(problem.teachers) + 1))


PROBLEMS: dict[str, Options] = {"digits": {}, "sprites": {}, "four_teachers": {}}
EVERYWHERE = ("digits", "sprites")  # where every method is tried in every form, and in these variants:
VARIANTS: list[tuple[str, Options]] = [
    ("common_feature", {"paired_weight": 1}),
    ("common_feature", {"classwise_weight": 1}),
    ("common_feature", {"balance": "gradnorm"}),
    ("common_feature", {"pooling": "mean"}),
    ("common_feature", {"paired_weight": 1, "classwise_weight": 1, "balance": "gradnorm", "pooling": "mean"}),
    ("common_feature", {"targets": "consistent", "soft_target": "joint_posterior"}),
    ("common_feature", {"without": one_of_two}),
    ("layer_wise", {"amalgamation": "autoencoder"}),
    ("layer_wise", {"amalgamation": "autoencoder", "order": "incremental"}),
    ("layer_wise", {"without": one_of_two}),
    ("layer_wise/paired", {"amalgamation": "autoencoder", "balance": "gradnorm"}),
    ("layer_wise/paired", {"adaption": False, "order": "incremental"}),
    ("layer_wise/paired", {"without": one_of_two}),
    ("adaptive", {"selection": "hard"}),
    ("adaptive", {"selection": "soft"}),
    ("adaptive", {"selection": "claim"}),
    ("adaptive", {"selection": "none"}),
    ("adaptive", {"bridge_weight": 0}),
    ("adaptive", {"balance": "gradnorm"}),
    ("adaptive", {"selection": "soft", "weighting": "teacher", "select_components": True}),
    ("adaptive", {"soft_target": "joint_posterior", "targets": "standardised"}),
    ("adaptive", {"without": one_of_two}),
    ("logit_space", {"soft_target": "joint_posterior"}),
    ("logit_space", {"soft_target": "restricted", "balance": "gradnorm"}),
    ("logit_space", {"without": one_of_two}),
    ("distillation", {"soft_target": "stacked"}),
    ("distillation", {"soft_target": "restricted"}),
    ("distillation", {"soft_target": "joint_posterior"}),
    ("distillation", {"soft_target": "score_distance"}),
    ("distillation", {"targets": "standardised"}),
    ("distillation", {"targets": "consistent"}),
    ("distillation", {"targets": "consistent", "without": one_of_two}),
    ("distillation", {"without": one_of_two}),
    ("distillation", {"optimizer": "sgd", "schedule": "step", "student_width": 0.5, "temperature": 2}),
    ("ensemble", {"join": "probabilities"}),
    ("ensemble", {"join": "mean"}),
]
# As they are these take minutes; all else of the form is tried.
NARROWER: dict[str, Options] = {
    "sprites/common_feature/code": {"width": 32, "adaption_width": 64},
    "sprites/common_feature/paper": {"width": 32, "adaption_width": 64},
}
MORE: list[tuple[str, str, Options]] = [
    ("sprites", "adaptive", {"tasks": ("shape", "colour")}),
    ("sprites", "distillation", {"tasks": ("size",)}),
    ("four_teachers", "common_feature", {}),
    ("four_teachers", "common_feature", {"classwise_weight": 1, "without": one_of_two}),
    ("four_teachers", "layer_wise", {}),
    ("four_teachers", "layer_wise/incremental", {}),
    ("four_teachers", "layer_wise/incremental", {"amalgamation": "autoencoder", "without": one_of_two}),
    ("four_teachers", "layer_wise/kamal", {"order": "incremental"}),
    ("four_teachers", "adaptive", {}),
    ("four_teachers", "logit_space", {}),
    ("four_teachers", "permutation_merging", {}),
    ("four_teachers", "permutation_merging/unaligned", {}),
    ("four_teachers", "permutation_merging", {"shares": shares, "weight_share": 0}),
    ("four_teachers", "permutation_merging", {"reestimate": False, "weight_share": 1}),
    ("four_teachers", "distillation", {"targets": "consistent"}),
]


# The cases.


@dataclass(frozen=True)
class Case:
    """A problem, a method in a form, and options on top; without a method, the problem itself.

    Attributes:
        label: by which the case is known in every version.
        options: of the run; a function is asked with the problem.
    """

    label: str
    problem: str
    method: str = ""
    form: str | None = None
    options: Options = field(default_factory=dict)


def cases() -> list[Case]:
    """All cases of the version that is imported; those of which it has no method are left out."""
    made = []
    known = [
        (name, form, f"{name}/{form}" if form else name)
        for name, kind in ka_explore.METHODS.items()
        for form in (None, *kind.forms)
    ]
    pairs = {label: (name, form) for name, form, label in known}
    for label, candidates in MOVED.items():
        found = next((pair for pair in candidates if pair in pairs.values()), None)
        pairs = {other: pair for other, pair in pairs.items() if pair != found}
        if found is not None:
            pairs[label] = found
    wanted = [(problem, label, {}) for problem in EVERYWHERE for label in pairs]
    wanted += [(problem, label, options) for problem in EVERYWHERE for label, options in VARIANTS]
    for problem, label, options in [*wanted, *MORE]:
        if label in pairs:
            told = "+".join(f"{name}={shown(value)}" for name, value in options.items())
            place = "/".join(filter(None, (problem, label, told)))
            made.append(Case(place, problem, *pairs[label], NARROWER.get(place, {}) | options))
        else:
            print(f"{label}: there is no such method or form, add what it is called now to MOVED.")
    return made


def shown(value: Any) -> str:
    """An option's value in a label."""
    if callable(value):
        return str(value.__name__)
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@cache
def problem_of(name: str) -> Any:
    """A toy problem, made once a process."""
    return getattr(ka_explore.toy, name)(**PROBLEMS[name])


# Recording. What is kept of a case is flat: "run/kind/step/name" is a number, a text or an array.


Kept = dict[str, Any]
ERROR = "run/error/000000/text"


def kept_of(case: Case) -> Kept:
    """Everything that is compared of a case."""
    problem = problem_of(case.problem)
    if not case.method:
        return kept_of_problem(problem)
    options = SHORT | {name: value(problem) if callable(value) else value for name, value in case.options.items()}
    if ka_explore.METHODS[case.method].Config().steps == 0:
        options["steps"] = 0  # it trains nothing
    runs: dict[str, Any] = {}
    kept: Kept = {}
    try:
        base = runs["base"] = ka_explore.Run(problem, case.method, form=case.form, **HOW, **options)
        base.advance(TO, progress=False)
        rate = base.config.learning_rate / 2
        runs["b"] = base.fork("b", at=min(FORK_AT, base.step), learning_rate=rate).advance(None, progress=False)
        base.rewind(min(BACK_TO, base.step)).advance(None, progress=False)
        runs["c"] = base.fork("c", at=0, weight_decay=0.01).advance(LAST, progress=False)
    except ka_explore.KaError as error:
        kept[ERROR] = f"{type(error).__name__}: {error}"
    for name, run in runs.items():
        kept |= {f"{name}/{what}": value for what, value in kept_of_run(run)}
    return kept


def kept_of_problem(problem: Any) -> Kept:
    """The teachers' weights, the pool's images, and what tells them from others."""
    kept = {f"problem/fingerprint/000000/{name}": value for name, value in problem.fingerprints.items()}
    kept["problem/pool/000000/images"] = as_array(problem.pool.images[:])
    for teacher in problem.teachers:
        for name, weight in teacher.module.state_dict().items():
            kept[f"problem/teachers/000000/{teacher.name}/{name}"] = as_array(weight)
    return kept


def kept_of_run(run: Any) -> Iterator[tuple[str, Any]]:
    """Rows, weights, snapshots and predictions of a run, by "kind/step/name"."""
    now = f"{run.step:06d}"
    for row in run.history():
        yield from ((f"rows/{row['step']:06d}/{name}", v) for name, v in leaves(row) if name != "seconds")
    for name, weight in run.method.state_dict().items():
        yield f"weights/{now}/{name}", as_array(weight)
    stored = {f"snapshots/{step:06d}": run.store.load_snapshot(step) for step in run.store.snapshot_steps()}
    for place, snapshot in (stored | {f"live/{now}": run.snapshot()}).items():
        yield f"{place}/stage", snapshot.stage
        yield f"{place}/index", as_array(snapshot.index)
        yield from ((f"{place}/{name}", as_array(array)) for name, array in snapshot.arrays.items())
    yield f"predictions/{now}/scores", as_array(run.predict(run.problem.pool.images[:IMAGES]))


def leaves(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is in nested mappings and lists, by the path to it."""
    for name, value in tree.items():
        if isinstance(value, (list, tuple)):
            value = {str(place): part for place, part in enumerate(value)}
        if isinstance(value, Mapping):
            yield from ((f"{name}/{below}", leaf) for below, leaf in leaves(value))
        else:
            yield str(name), value


def as_array(values: Any) -> np.ndarray:
    """A tensor or an array, as an array of its own."""
    return np.array(values.detach().cpu().numpy() if hasattr(values, "detach") else values, order="C")


def write(folder: Path, case: Case) -> tuple[str, float]:
    """Record a case: numbers and texts as JSON, arrays beside it, equal ones once; how it went, and its seconds."""
    begun = time.perf_counter()
    kept = kept_of(case)
    arrays: dict[str, np.ndarray] = {}
    first: dict[str, str] = {}
    same: dict[str, str] = {}
    for name, value in kept.items():
        if isinstance(value, np.ndarray):
            digest = hashlib.sha256(f"{value.dtype} {value.shape}".encode() + value.tobytes()).hexdigest()
            if digest in first:
                same[name] = first[digest]
            else:
                first[digest] = name
                arrays[name] = value
    told = {name: value for name, value in kept.items() if not isinstance(value, np.ndarray)}
    path = place_of(folder, case.label)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path.with_name(path.name + ".npz"), **arrays)
    path.with_name(path.name + ".json").write_text(json.dumps({"told": told, "same": same}, indent=1))
    return brief(told[ERROR]) if ERROR in told else "", time.perf_counter() - begun


def read(folder: Path, label: str) -> Kept:
    """What `write` recorded of a case."""
    path = place_of(folder, label)
    with np.load(path.with_name(path.name + ".npz"), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    there = json.loads(path.with_name(path.name + ".json").read_text())
    return there["told"] | arrays | {name: arrays[first] for name, first in there["same"].items()}


def place_of(folder: Path, label: str) -> Path:
    """Where a case lies, without the ending."""
    return folder / "cases" / label


def labels_in(folder: Path, only: str) -> list[str]:
    """The cases recorded in a folder."""
    root = folder / "cases"
    found = (str(path.relative_to(root)).removesuffix(".json") for path in root.rglob("*.json"))
    return sorted(label for label in found if only in label)


def one_thread() -> None:
    """Sums of several threads may round differently."""
    import torch

    torch.set_num_threads(1)


def record(folder: Path, only: str, jobs: int) -> bool:
    """Record all cases; whether none ended in an error that is not the package's own."""
    if (folder / "cases").exists() and not only:
        raise SystemExit(f"there is a record in {folder}: choose another folder, or record a part of it with --only.")
    begun = time.perf_counter()
    (folder / "cases").mkdir(parents=True, exist_ok=True)
    # Read when torch is imported, and by the processes that are started.
    os.environ |= {"KA_EXPLORE_CACHE": str(folder.resolve() / "cache"), "OMP_NUM_THREADS": "1"}
    import torch

    versions = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__}
    (folder / "versions.json").write_text(json.dumps(versions, indent=1))
    chosen = [case for case in cases() if only in case.label]
    problems = [Case(f"{name}/problem", name) for name in PROBLEMS if any(case.problem == name for case in chosen)]
    good = True
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=one_thread) as pool:
        for part in (problems, chosen):  # the teachers are trained before any case asks for them
            waiting: dict[Future[tuple[str, float]], str] = {pool.submit(write, folder, c): c.label for c in part}
            for place, done in enumerate(as_completed(waiting), 1):
                try:
                    outcome, seconds = done.result()
                    print(f"{place:4} of {len(part)} {seconds:6.1f} s  {waiting[done]}  {outcome}".rstrip(), flush=True)
                except Exception:
                    good = False
                    print(f"{waiting[done]} broke:\n{traceback.format_exc()}", flush=True)
    print(f"{len(chosen) + len(problems)} cases of ka_explore {ka_explore.__version__} from {ka_explore.__path__[0]}")
    print(f"in {folder}, {time.perf_counter() - begun:.0f} s")
    return good


# Comparing.


@dataclass(frozen=True)
class Apart:
    """How two values differ.

    Attributes:
        what: in words.
        ulp: steps between neighbouring floats, at most; of single precision where both are of single precision.
        relative: the largest distance, relative to the largest value.
    """

    what: str
    ulp: int = 0
    relative: float = 0.0


def apart(a: Any, b: Any) -> Apart | None:
    """How two values differ; None where they are the same to the bit. NaN is NaN."""
    if not all(isinstance(value, (np.ndarray, float, int)) for value in (a, b)):
        if isinstance(a, str) and isinstance(b, str):
            unlike = (place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
            start = max(next(unlike, min(len(a), len(b))) - 20, 0)
            a, b = a[start:], b[start:]  # long messages mostly begin alike
        return None if a == b else Apart(f"{brief(a)} → {brief(b)}")
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return Apart(f"{a.dtype} {a.shape} → {b.dtype} {b.shape}")
    a, b = a.ravel(), b.ravel()
    if a.tobytes() == b.tobytes():
        return None
    if a.dtype.kind != "f":
        return Apart(f"{int((a != b).sum())} of {a.size} values")
    if a.dtype == np.float64 and all(single(values) for values in (a, b)):
        a, b = a.astype(np.float32), b.astype(np.float32)
    nan = np.isnan(a), np.isnan(b)
    differ = (ordered(a) != ordered(b)) & ~(nan[0] & nan[1])
    if not differ.any():
        return None
    words = f"{int(differ.sum())} of {a.size} values"
    a, b = a[differ], b[differ]
    if not (np.isfinite(a) & np.isfinite(b)).all():
        return Apart(f"{words}, some not finite", ulp=sys.maxsize, relative=np.inf)
    places = ordered(a), ordered(b)
    steps = np.maximum(*places).view(np.uint64) - np.minimum(*places).view(np.uint64)  # may be above 2⁶³
    wide = a.astype(np.float64), b.astype(np.float64)
    largest = max(float(np.abs(values).max()) for values in wide)
    return Apart(words, int(steps.max()), float(np.abs(wide[0] - wide[1]).max()) / largest if largest else 0.0)


def single(values: np.ndarray) -> bool:
    """Whether single precision holds these values."""
    with np.errstate(over="ignore"):
        return np.array_equal(values.astype(np.float32).astype(np.float64), values, equal_nan=True)


def ordered(values: np.ndarray) -> np.ndarray:
    """Floats as whole numbers in the same order, neighbours one apart; minus zero comes before zero."""
    whole = values.view(f"i{values.itemsize}").astype(np.int64)
    return np.where(whole < 0, -(whole & np.iinfo(f"i{values.itemsize}").max) - 1, whole)


def brief(value: Any) -> str:
    """A value in a few words."""
    text = repr(value) if not isinstance(value, np.ndarray) else f"{value.dtype} {value.shape}"
    return text if len(text) <= 100 else text[:97] + "…"


def renamed(name: str) -> str:
    """What "run/kind/step/name" of the first folder is called in the second, by `RENAMED`."""
    run, kind, step, own = name.split("/", 3)
    table, ahead, between = {
        "weights": ("parameters", "", "."),
        "snapshots": ("arrays", "", "/"),
        "live": ("arrays", "", "/"),
        "rows": ("terms", "terms/", "/"),
    }.get(kind, ("", "", ""))
    if table and own.startswith(ahead):
        own = ahead + renamed_by(RENAMED[table], own.removeprefix(ahead), between)
    return f"{run}/{kind}/{step}/{own}"


def renamed_by(table: Mapping[str, str], name: str, between: str) -> str:
    """The new name of a name, or of the longest one that it is below."""
    for old in sorted(table, key=len, reverse=True):
        if name == old or name.startswith(old + between):
            return table[old] + name.removeprefix(old)
    return name


def is_stage(name: str) -> bool:
    """Whether a name is that of a stage's name."""
    return bool(re.fullmatch(r"[^/]+/(rows|snapshots|live)/\d+/stage", name))


def compare(first: Path, second: Path, only: str) -> bool:
    """Print how the cases of two folders differ; whether none does."""
    versions = [json.loads((folder / "versions.json").read_text()) for folder in (first, second)]
    if versions[0] != versions[1]:
        print(f"Recorded with other versions, which may round differently: {versions[0]} and {versions[1]}.")
    here, there = (labels_in(folder, only) for folder in (first, second))
    width = max((len(label) for label in (*here, *there)), default=4)
    print(f"{'case':{width}}  {'values':>7}  result")
    equal = 0
    new: dict[str, set[str]] = {}
    for label in here:
        if label not in there:
            print(f"{label:{width}}  {'':7}  only in {first}")
            continue
        a = {renamed(name): value for name, value in read(first, label).items()}
        b = read(second, label)
        for name in a:
            if is_stage(name):
                a[name] = RENAMED["stages"].get(a[name], a[name])
        found = {name: difference for name in a if name in b and (difference := apart(a[name], b[name]))}
        gone = [name for name in a if name not in b]
        for name in b.keys() - a.keys():
            new.setdefault(general(name), set()).add(label)
        equal += not found and not gone
        error = f", {a[ERROR].partition(':')[0]}" if ERROR in a else ""
        result = f"differs{error}" if found or gone else f"equal{error}"
        print(f"{label:{width}}  {len(a):7}  {result}")
        for kind in sorted({kind_of(name) for name in (*found, *gone)}):
            tell(kind, [n for n in a if kind_of(n) == kind], found, [n for n in gone if kind_of(n) == kind])
    fresh = [label for label in there if label not in here]
    for label in fresh:
        print(f"{label:{width}}  {'':7}  new: only in {second}")
    for name, where in sorted(new.items()):
        print(f"new in {len(where)} cases: {name}")
    print(f"{len(here)} cases: {equal} equal, {len(here) - equal} not; {len(fresh)} new.")
    return bool(here) and equal == len(here)


def tell(kind: str, names: Sequence[str], found: Mapping[str, Apart], gone: Sequence[str]) -> None:
    """One line for what differs of a kind, with the earliest and the worst; one for what is missing."""
    of_kind = [name for name in names if name in found]
    if of_kind:
        earliest = min(of_kind, key=lambda name: int(name.split("/")[2]))
        worst = max(of_kind, key=lambda name: (found[name].relative, found[name].ulp))
        most = max(found[name].ulp for name in of_kind)
        print(f"    {kind}: {len(of_kind)} of {len(names)} differ" + (f", at most {most} ulp" if most else ""))
        for name in dict.fromkeys((earliest, worst)):
            numbers = f", {found[name].ulp} ulp, relative {found[name].relative:.1e}" if found[name].ulp else ""
            print(f"        {'first' if name == earliest else 'worst'} {name}: {found[name].what}{numbers}")
    if gone:
        missing = sorted({general(name) for name in gone})
        some = ", ".join(missing[:8]) + (" …" if len(missing) > 8 else "")
        print(f"    {kind}: {len(gone)} of {len(names)} missing: {some}")


def kind_of(name: str) -> str:
    """Of "run/kind/step/name", the kind."""
    return name.split("/")[1]


def general(name: str) -> str:
    """Of "run/kind/step/name", what does not depend on run and step."""
    _, kind, _, own = name.split("/", 3)
    return f"{kind}: {own}"


def main(words: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="record all cases with the version that is imported")
    recording.add_argument("folder", type=Path)
    recording.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    comparing = commands.add_parser("compare", help="print what differs; exit code 1 if anything does")
    comparing.add_argument("first", type=Path)
    comparing.add_argument("second", type=Path)
    for command in (recording, comparing):
        command.add_argument("--only", default="", metavar="SUBSTRING", help="cases whose name has it")
    given = parser.parse_args(words)
    if given.command == "record":
        return 0 if record(given.folder, given.only, given.jobs) else 1
    return 0 if compare(given.first, given.second, given.only) else 1


if __name__ == "__main__":
    sys.exit(main())
