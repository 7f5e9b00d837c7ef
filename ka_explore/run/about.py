"""What a run's folder says of it: the method, the problem, the options, by names that a stranger's folder may use."""

import os
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ka_explore.errors import InputError, KaError, StoreError, brief, check_known
from ka_explore.methods import BEFORE, METHODS, of_version_1
from ka_explore.methods.base import Method
from ka_explore.methods.config import options_of
from ka_explore.problem.constancy import TENSOR_FLOAT, asked_images, says_the_same
from ka_explore.problem.layers import Outputs
from ka_explore.problem.pool import Images, Pool
from ka_explore.problem.problem import Problem
from ka_explore.problem.teachers import Teacher
from ka_explore.run.environment import MOST_THREADS
from ka_explore.run.files import LONGEST_NAME, path_of
from ka_explore.run.rng import LocalGenerator

TEMPORARY = "ka-explore-"
BY_HAND = "(made by hand)"


def asked_for(
    method: object, form: str | None, options: Mapping[str, Any]
) -> tuple[str, type[Method], str | None, dict[str, Any]]:
    """Name and class of a method, form and options; a class that is not in the table is made by hand."""
    if isinstance(method, type) and issubclass(method, Method):
        name = next((name for name, kind in METHODS.items() if kind is method), BY_HAND)
        return name, method, form, dict(options)
    if not isinstance(method, str):
        raise InputError(f"method={method!r}: expected a name of {', '.join(METHODS)}, or a class made from Method.")
    name, now, options = of_version_1(method, form, options)
    if (name, now) != (method, form):
        old, new = (f"{n!r}" + (f", form={f!r}" if f else "") for n, f in ((method, form), (name, now)))
        warnings.warn(f"{old} is {new} since version 0.2.", FutureWarning, stacklevel=3)
    check_known("method", name, METHODS)
    return name, METHODS[name], now, options


def check_made_with(**numbers: int | None) -> dict[str, Any]:
    """The seed and how often what is kept, as plain numbers. Raises InputError for one out of its range."""
    ranges = {"seed": (0, 2**63 - 1), "threads": (1, MOST_THREADS)}
    ranges |= {"checkpoint_every": (1, 2**63 - 1), "snapshot_every": (0, 2**63 - 1)}
    for name, number in numbers.items():
        low, high = ranges[name]
        if number is not None and not low <= number <= high:
            raise InputError(f"{name}={brief(number)}: expected {low} to {high}.")
    return {name: None if number is None else int(number) for name, number in numbers.items()}


def name_of_fork(name: str) -> str:
    """The name, if it can be a folder's. Raises InputError otherwise."""
    if not name.strip() or Path(name).name != name or name == ".." or len(os.fsencode(name)) > LONGEST_NAME:
        raise InputError(f"fork({brief(name)}): expected a plain name, which becomes a folder's.")
    return name


def images_like(pool: Pool, images: Any) -> Images:
    """The images, if a pool takes them. Raises InputError otherwise, and for another shape than this pool's."""
    found, wanted = Images(images, value_range=pool.images.value_range), pool.images.shape
    if found.shape != wanted:
        raise InputError(
            f"predict: images are {'×'.join(map(str, found.shape))}, expected {'×'.join(map(str, wanted))} "
            "(channel, height, width) as in the pool."
        )
    return found


def kind_of(about: Mapping[str, Any], method: type[Method] | None, folder: Path) -> type[Method]:
    """The class of a folder's method: the one given, or of the table. Raises InputError where they do not fit."""
    name = about["method"]
    if name == BY_HAND:
        if method is None or not issubclass(method, Method):
            raise InputError(
                f"the run in {folder} is of a method made by hand: give its class, Run.open(folder, problem, method=…)."
            )
        return method
    check_known("method", name, METHODS)
    if method not in (None, METHODS[name]):
        raise InputError(f"the run in {folder} is of method {name!r}, got {method!r}: leave method out.")
    return METHODS[name]


def configs_of_now(about: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """A folder's method and options (step from which they hold, options), as they are called now."""
    configs, method = [], str(about["method"])
    for step, config in about["configs"]:
        method, _, options = of_version_1(str(about["method"]), None, config)
        configs.append([step, {**BEFORE.get(method, {}), **options}])
    return method, configs


def about_method(method: Method) -> dict[str, Any]:
    """What a folder keeps of what a method declares: the options that weigh its terms, the term about the answers."""
    return {
        "weighed_by": {o.weighs: o.name for o in options_of(type(method.config)).values() if o.weighs},
        "soft_terms": {stage.name: stage.soft_term for stage in method.stages()},
        "uses_labels": method.uses_labels,
    }


def about_problem(problem: Problem) -> dict[str, Any]:
    """What a folder keeps of a problem: its name, and what tells whether another one is the same."""
    return {
        "problem": {"name": problem.name, "options": dict(problem.options)},
        "fingerprints": problem.fingerprints,
        "teachers": [
            {
                "name": t.name,
                "task": t.task,
                "labels": list(t.labels),
                "layers": list(t.layers),
                "says": said(t, problem),
            }
            for t in problem.teachers
        ],
    }


def said(teacher: Teacher, problem: Problem) -> list[str]:
    """What a teacher says of a few images of the pool, a line an image: some of its logits, six digits of each."""
    with LocalGenerator(0):  # should one draw, also in eval mode
        logits = some_of(teacher(asked_of(teacher, problem)))
    return [" ".join(f"{value:.6g}" for value in row) for row in logits.tolist()]


def asked_of(teacher: Teacher, problem: Problem) -> Float[Tensor, "image channel height width"]:
    """The images that a teacher is asked of, where its net is: another thread may be using it there."""
    images = problem.pool.images[asked_images(len(problem.pool))]
    return images.to(next((p.device for p in teacher.module.parameters()), images.device))


def some_of(outputs: Outputs) -> Float[Tensor, "image _"]:
    """At most 32 of the logits of each image."""
    return outputs.logits[:, :: -(-outputs.logits.shape[1] // 32)]


def same_problem(about: Mapping[str, Any], problem: Problem, folder: Path) -> None:
    """Raises InputError unless a problem is the one that the folder's run was made with."""
    for what, fingerprint in problem.fingerprints.items():
        if about["fingerprints"].get(what) != fingerprint:
            raise InputError(
                f"{what} of this problem is not the one the run in {folder} was made with (other weights, images, "
                "layers, labels or preprocessing): open it with the problem it was made with."
            )
    same_answers(about, problem, folder)


def same_answers(about: Mapping[str, Any], problem: Problem, folder: Path) -> None:
    """Raises InputError where a teacher says something else now of the pool than when a folder's run was made.

    What was told of it then is not there in a folder of an older version, and is left out where it is damaged.
    """
    precision = 0.0 if about["environment"].get("accelerator", "none") == "none" else TENSOR_FLOAT
    for number, teacher in enumerate(problem.teachers):
        images = asked_of(teacher, problem)
        try:
            lines = [[float(value) for value in line.split()] for line in about["teachers"][number]["says"]]
            then = torch.tensor(lines).reshape(len(images), -1)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
            continue
        if not then.numel():
            continue
        with LocalGenerator(0):
            same = says_the_same(teacher, images, [then], lambda o: [some_of(o)], kept_precision=precision)
        if not same:
            raise InputError(
                f"teacher {teacher.name!r} says something else of the pool now than when the run in {folder} was made, "
                "though its weights are the same. Something that its fingerprint does not know has changed (a global "
                "or a helper function of preprocess= or read=, an attribute or the code of the net). Put it back, or "
                "make a new run: what the student learned so far it learned from the other answers."
            )


def folder_of(run: object, folder: str | Path | None) -> Path:
    """The folder asked for, or a temporary one that is removed with the run."""
    if folder is not None:
        return path_of(folder)
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
            f"the run in {folder} is of problem {about['name'] or BY_HAND!r}, which is not one of "
            f"ka_explore.toy: make the problem and pass it, Run.open(folder, problem)."
        )
    try:
        return PROBLEMS[name](**about["options"])
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, KaError):
            raise
        raise InputError(f"the run in {folder} has options that {name} does not take: {error}.") from error
