"""True labels of images, for marking only: by name, or as whole numbers.

Names do not depend on the order of the teachers. Whole numbers do: they index the union of the teachers' labels in
their order, and with two teachers exchanged the same numbers mean other classes. So whoever has whole numbers can tell
what they index (``classes``), and a `Problem` remembers it beside its own: one that is made of its pool with other
teachers, or with these in another order, reads them by name.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from ka_explore.errors import InputError, check_known, unknown
from ka_explore.problem.arrays import as_array
from ka_explore.problem.labels import LabelSpace, spelling

Labels = Mapping[str, np.ndarray]
"""By task one label an image: names (or None) in an array of objects, or whole numbers (or -1)."""
Classes = Mapping[str, Sequence[str]]
"""By task, the names that the whole numbers index."""


def as_labels(labels: Mapping[str, Any], classes: Classes | None, images: int) -> tuple[Labels, Classes]:
    """Labels as arrays, and what they index. Raises InputError unless there is a name or whole number an image."""
    classes = {task: tuple(names) for task, names in (classes or {}).items()}
    for task in classes:
        check_known("task", task, labels, where=" of classes=")
    made = {task: labels_of(task, given, images) for task, given in labels.items()}
    for task, names in classes.items():
        if made[task].dtype == object:
            raise InputError(f"labels of task {task!r} are names, which index nothing: leave its classes out.")
        check_range(f"labels of task {task!r}", made[task], names, f"classes[{task!r}]")
    return made, classes


def labels_of(task: str, labels: Any, images: int) -> np.ndarray:
    """The labels of one task, see `as_labels`."""
    array = as_array(labels)
    fits = array.dtype.kind in "iu"
    if array.dtype.kind in "UO":
        array = np.array(labels, dtype=object)  # as they are: numpy makes texts of numbers among texts
        fits = all(name is None or isinstance(name, str) for name in array.flat)
    if array.ndim != 1 or not fits:
        raise InputError(
            f"labels of task {task!r} are {array.dtype} of shape {array.shape}: expected one an image, the name of its "
            "class (None where it is not known), or a whole number, the index of its class (-1)."
        )
    if len(array) != images:
        raise InputError(f"labels of task {task!r} have shape {array.shape} for {images} images.")
    return array if array.dtype == object else array.astype(np.int64)


def indexed(labels: Labels, classes: Classes, space: LabelSpace, where: str) -> tuple[Labels, Classes]:
    """The labels as indices into ``space.class_names(task)``, and these names.

    A class that is told in ``classes`` but that no teacher knows becomes -1. Raises InputError for an unknown task, a
    name that no teacher knows, ``classes`` of which none is known, a class that is spelled nearly as one of theirs, an
    index out of range, or one that is another class's name.
    """
    made = {}
    for task, given in labels.items():
        names, what = space.class_names(task), f"labels of task {task!r} in the {where}"
        if given.dtype == object:
            place = places_of(dict.fromkeys(name for name in given if name is not None), names, what)
            made[task] = np.array([place.get(name, -1) for name in given], dtype=np.int64)
        elif task in classes:
            place = places_of(classes[task], names, what, needed=False)
            made[task] = np.array([*(place[name] for name in classes[task]), -1], dtype=np.int64)[given]
        else:
            check_range(what, given, names, f"problem.labels.class_names({task!r}), the union of the teachers' labels")
            check_meant(what, given, names)
            made[task] = given
    return made, {task: space.class_names(task) for task in labels}


def places_of(mine: Collection[str], names: Sequence[str], what: str, *, needed: bool = True) -> dict[str, int]:
    """Where classes stand among those that the teachers know, or -1; see `indexed`."""
    place = {name: i for i, name in enumerate(names)}
    spelled = {spelling(name): name for name in names if needed or name not in mine}
    for name in mine:
        near = None if name in place else spelled.get(spelling(name))
        if near:
            raise InputError(f"{what}: {name!r} is no teacher's label, {near!r} is one: spell both alike.")
        if needed and name not in place:
            raise unknown("class", name, names, where=f" in {what}")
    if mine and not any(name in place for name in mine):
        raise InputError(
            f"{what} index {', '.join(list(mine)[:3])} …, of which no teacher knows any: theirs are "
            f"{', '.join(names[:3])} …. Give them the same names, or leave these labels out."
        )
    return {name: place.get(name, -1) for name in mine}


def check_meant(what: str, labels: Int64[np.ndarray, "_"], names: Sequence[str]) -> None:
    """Raises InputError for numbers that are names of classes as well, and then of other ones."""
    used = [int(label) for label in np.unique(labels) if label >= 0]
    other = next((label for label in used if names[label] != str(label)), None)
    if other is not None and {str(label) for label in used} <= set(names):
        raise InputError(
            f"{what}: {other} may be the class called '{other}', or the one with this index, {names[other]!r}. Give "
            "names, labels.astype(str), or say what the numbers index with classes=."
        )


def check_range(what: str, labels: Int64[np.ndarray, "_"], names: Sequence[str], index: str) -> None:
    """Raises InputError for an index that is out of range; ``index`` says what they index."""
    if len(labels) and (int(labels.min()) < -1 or int(labels.max()) >= len(names)):
        few = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        raise InputError(
            f"{what} go from {labels.min()} to {labels.max()}, expected 0 to {len(names) - 1} (or -1 for unknown): "
            f"they index {index} ({few}). Labels by name need no order."
        )
