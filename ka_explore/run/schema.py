"""What the files of a run's folder may hold: everything that is read of one is held against this, whoever wrote it.

Sizes, depth, types, ranges and shapes; nothing that passes can run code, wait for anything, or take more memory than
the file takes room. What does not pass raises ValueError with the reason; `ka_explore.run.store` decides what then.
Without a good ``run.json`` there is no run: `read_about` says so to the user.
"""

import itertools
import json
import math
import os
import re
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ka_explore.errors import InputError, StoreError, is_writable
from ka_explore.run.files import open_regular
from ka_explore.run.making import left_by_a_maker
from ka_explore.run.snapshot import AXES as AXES
from ka_explore.run.snapshot import Snapshot, are_whole

FORMAT = 1
MOST_JSON = 2**24  # bytes
MOST_ROW = 2**20
MOST_ARRAYS = 2**31
MOST_TOLD = 4096  # threads that a folder may tell of; how many are used, `ka_explore.run.environment` bounds
DEPTH = 16  # of lists and dicts in each other


def demand(fits: object, what: str) -> None:
    """Raises ValueError with what is expected, unless it is so."""
    if not fits:
        raise ValueError(f"expected {what}")


# JSON.


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises OSError or ValueError."""
    with open_regular(path, MOST_JSON) as file:
        return parse(file.read(MOST_JSON))


def parse(text: bytes | str) -> Any:
    """A JSON value of numbers of 64 bits, text that can be written, and lists and dicts that are not too deep."""
    try:
        value = json.loads(text, object_pairs_hook=unique)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEPTH}") from None
    check_plain(value, DEPTH)
    return value


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The dict of these pairs. Raises ValueError for a name that is there twice: readers differ in which one counts."""
    found = dict(pairs)
    demand(len(found) == len(pairs), "each name once")
    return found


def check_plain(value: Any, depth: int) -> None:
    """Raises ValueError where a part of a JSON value is too deep, too large, or text that cannot be written."""
    demand(depth > 0, f"at most {DEPTH} lists and dicts in each other")
    if isinstance(value, str):
        demand(is_writable(value), "text without NUL and halves of letters")
    elif isinstance(value, int):
        demand(-(2**63) <= value < 2**64, "numbers of 64 bits")
    elif isinstance(value, dict):
        for key in value:
            check_plain(key, depth)
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_plain(part, depth - 1)


def to_json(about: Mapping[str, Any]) -> bytes:
    """JSON that a person can read."""
    return (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode()


def is_whole(value: Any, least: int = 0, most: int = 2**64 - 1) -> bool:
    """Whether a value is a whole number in a range."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_text(value: Any) -> bool:
    """Whether a value is text."""
    return isinstance(value, str)


def list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether a value is a list whose parts are all so."""
    return lambda value: isinstance(value, list) and all(map(fits, value))


def dict_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether a value is a dict whose values are all so."""
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


def none_or(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether a value is None, or so."""
    return lambda value: value is None or fits(value)


numbers, texts = list_of(is_number), list_of(is_text)


def is_option(value: Any) -> bool:
    """Whether a value can be a method's option: a number, a word, yes or no, none, or a list of numbers or words."""
    return value is None or isinstance(value, (bool, str)) or any(fits(value) for fits in (is_number, numbers, texts))


# Options that are read where the method's own class, and torch with it, need not be there.
OPTIONS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("steps", "batch_size"), is_whole),
    **dict.fromkeys(("learning_rate", "weight_decay", "student_width", "selection_temperature"), is_number),
    **dict.fromkeys(("optimizer", "schedule", "selection", "reconstruction", "feature_error"), is_text),
    "without": texts,
}


def is_configs(value: Any) -> bool:
    """Whether a value is a run's options over its steps: (step from which they hold, options), from step 0 on."""

    def is_config(pair: Any) -> bool:
        whole = isinstance(pair, list) and len(pair) == 2 and is_whole(pair[0]) and dict_of(is_option)(pair[1])
        return whole and all(fits(pair[1][name]) for name, fits in OPTIONS.items() if name in pair[1])

    if not isinstance(value, list) or not value or not all(map(is_config, value)):
        return False
    starts = [start for start, _ in value]
    return starts[0] == 0 and starts == sorted(set(starts))


def is_problem(value: Any) -> bool:
    """Whether a value tells a problem: its name, and the options that made it."""
    return isinstance(value, dict) and "name" in value and isinstance(value.get("options"), dict)


def is_teacher(value: Any) -> bool:
    """Whether a value tells a teacher."""
    if not isinstance(value, dict) or not all(isinstance(value.get(what), str) for what in ("name", "task")):
        return False
    return texts(value.get("labels")) and texts(value.get("layers"))


def is_parent(value: Any) -> bool:
    """Whether a value is a run's name and a step."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and is_whole(value[1])


# What run.json must hold to be a run's, and what each field must be like; then what it may lack.
FIELDS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("name", "method", "device"), is_text),
    **dict.fromkeys(("fingerprints", "environment"), dict_of(is_text)),
    "precision": lambda value: value in ("float32", "bfloat16"),
    "problem": is_problem,
    "configs": is_configs,
    "seed": is_whole,
    "checkpoint_every": lambda value: is_whole(value, 1),
    "snapshot_every": is_whole,
    "threads": none_or(lambda value: is_whole(value, 1, MOST_TOLD)),
    "parent": none_or(is_parent),
    "tasks": none_or(texts),
}
MAY_LACK: Mapping[str, Callable[[Any], bool]] = {
    "teachers": list_of(is_teacher),
    **dict.fromkeys(("weighed_by", "soft_terms"), dict_of(is_text)),
    "uses_labels": lambda value: isinstance(value, bool),
}


def wrong_fields(about: Mapping[str, Any]) -> list[str]:
    """The fields of a ``run.json`` that are not there or not as they must be."""
    wrong = [field for field, fits in FIELDS.items() if field not in about or not fits(about[field])]
    return wrong + [field for field, fits in MAY_LACK.items() if field in about and not fits(about[field])]


def read_about(folder: Path) -> dict[str, Any]:
    """What ``run.json`` of a folder holds. Raises InputError where there is none, StoreError where it is no run's."""
    path = folder / "run.json"
    help_ = "it is not a run's, or was damaged. Take it from a copy, or make the run again in another folder."
    try:
        about = read_json(path)
        version = int(about["format"])
    except (FileNotFoundError, NotADirectoryError):
        why = f"there is no run in {folder}: expected a folder with run.json."
        raise InputError(why + left_by_a_maker(folder)) from None
    except (ValueError, KeyError, TypeError, OverflowError, OSError) as error:
        raise StoreError(f"{path} cannot be read ({error}): {help_}") from error
    if version > FORMAT:
        raise StoreError(
            f"{folder} was written in format {version}, this version reads up to {FORMAT}: update ka-explore."
        )
    if wrong := wrong_fields(about):
        raise StoreError(f"{path} lacks or garbles {', '.join(wrong)}: {help_}")
    return about


def is_examination(value: Any) -> bool:
    """Whether a value is what a diagnosis found of each teacher, as far as that is known here."""
    return isinstance(value, dict) and dict_of(lambda found: isinstance(found, dict))(value.get("teachers"))


def is_row(line: bytes, step: int) -> bool:
    """Whether a line is the whole row of that step."""
    try:
        row = parse(line)
    except ValueError:
        return False
    return (
        isinstance(row, dict)
        and is_whole(row.get("step"))
        and row["step"] == step
        and is_text(row.get("stage"))
        and all(is_number(row.get(what)) for what in ("loss", "rate"))
        and dict_of(is_number)(row.get("terms"))
        and dict_of(lambda value: isinstance(value, (int, float)))(row.get("weights", {}))
        and is_number(row.get("seconds", 0.0))
        and row.get("seconds", 0.0) >= 0
    )


# Arrays.

# By the first word of an array's name, whether the second says whose it is.
OF_A_NET = ("logits", "feature", "common", "error", "channel_error", "mmd", "entropy", "weight")


def check_stored(file: BinaryIO) -> None:
    """Raises ValueError unless a zip file holds its parts as they are: none is larger once it is read."""
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
    demand(all(part.compress_type == zipfile.ZIP_STORED for part in parts), "parts that are not compressed")
    demand(sum(part.file_size for part in parts) <= file.seek(0, os.SEEK_END), "parts no larger than the file")
    file.seek(0)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file. Raises what damaged bytes raise, which can be anything."""
    with open_regular(path, MOST_ARRAYS) as file:
        check_stored(file)
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    demand(all(isinstance(array, np.ndarray) for array in found.values()), "arrays only")
    return found


def without_tail(array: np.ndarray) -> np.ndarray:
    """An array without its last samples that are NaN throughout: many are of the first samples only."""
    if array.dtype.kind != "f" or not len(array):
        return array
    told = np.flatnonzero(~np.isnan(array).all(axis=tuple(range(1, array.ndim))))
    return array[: told[-1] + 1] if len(told) else array[:0]


def with_tail(array: np.ndarray, samples: int) -> np.ndarray:
    """The array with NaN for its last samples again. Raises ValueError for more samples than there are."""
    if array.dtype.kind != "f" or len(array) == samples:
        return array
    return np.concatenate([array, np.full((samples - len(array), *array.shape[1:]), np.nan, array.dtype)])


def check_snapshot(snapshot: Snapshot, step: int, teachers: Collection[str] | None) -> None:
    """Raises ValueError unless a snapshot is one of that step, of these teachers (None: of any), and of its own nets.

    That its arrays are of the right types and shapes it has seen to itself.
    """
    nets = ("student", *snapshot.knows)
    demand(is_whole(snapshot.step) and snapshot.step == step, f"a snapshot of step {step}")
    demand(len(snapshot.index), "images")
    check_classes(snapshot.classes)
    demand(teachers is None or sorted(snapshot.knows) == sorted(teachers), f"teachers {teachers}")
    for name in snapshot.arrays:
        kind, *rest = name.split("/")
        demand(kind not in OF_A_NET or rest[0] in nets, f"a net of the run in {name!r}")
        sigma = kind != "mmd" or (re.fullmatch(r"[0-9.e+-]+", rest[1]) and math.isfinite(float(rest[1])))
        demand(sigma, f"a bandwidth in {name!r}")
        demand(kind != "claim" or rest[1] in nets, f"a net of the run in {name!r}")
    check_widths(snapshot)


def check_classes(classes: Collection[tuple[str, str]]) -> None:
    """Raises ValueError unless classes are different and those of a task stand together."""
    tasks = [task for task, _ in classes]
    demand(len(set(classes)) == len(classes), "different classes")
    changes = sum(one != other for one, other in itertools.pairwise(tasks))
    demand(changes == len(set(tasks)) - bool(tasks), "the classes of a task beside each other")


def check_widths(snapshot: Snapshot) -> None:
    """Raises ValueError where arrays that belong together have other widths, or numbers that are places are none."""
    arrays = snapshot.arrays
    widths: dict[str, int] = {}
    for name, array in arrays.items():
        kind, _, rest = name.partition("/")
        together = {"common": "common", "code": f"code {rest}", "regressed": f"code {rest}"}.get(kind, name)
        if array.ndim == 2:
            expected = widths.setdefault(together, array.shape[1])
            demand(array.shape[1] == expected and expected, f"{expected} columns in {name!r}")
        if kind == "selected":
            places = np.arange(len(snapshot.knows))
            demand(np.isin(array, places).all(), f"places of teachers in {name!r}")
    demand(are_whole(arrays.get("neighbours", snapshot.index), 0), "indices of images as neighbours")
