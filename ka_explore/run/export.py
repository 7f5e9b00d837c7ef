"""A student as two files anyone can load: weights as safetensors, and a description in JSON.

A chain of standard torch modules is described by their names and arguments, so that it loads without the code
that made it, and without running any: only names in ``STANDARD`` are built. Any other student needs its module.
"""

import copy
import inspect
import io
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from ka_explore.errors import InputError, StoreError, checked
from ka_explore.problem.labels import Column, LabelSpace
from ka_explore.problem.preprocess import Preprocess
from ka_explore.problem.student import Chain, Student
from ka_explore.run.files import open_regular, path_of, sweep
from ka_explore.run.run import Run
from ka_explore.run.schema import demand, dict_of, is_text, read_json
from ka_explore.run.store import replace_file, to_json, writing

FORMAT = 1
MOST_WEIGHTS = 2**36  # bytes
STANDARD: dict[str, Callable[..., nn.Module]] = {
    kind.__name__: kind
    for kind in (
        nn.Sequential, nn.Identity, nn.Flatten, nn.Unflatten, nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d,
        nn.GroupNorm, nn.LayerNorm, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish,
        nn.Sigmoid, nn.Tanh, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout,
        nn.Dropout2d, nn.Upsample, nn.ZeroPad2d,
    )
}  # fmt: skip


class Classifier(nn.Module):
    """A deployed student: images as in the pool in, scores of the classes out."""

    def __init__(self, student: Student, labels: LabelSpace):
        super().__init__()
        self.student = student
        self.labels = labels
        self.classes = labels.classes  # (task, label) of every column
        self.names = labels.names  # readable

    def forward(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch class"]:
        """Scores; a softmax over a task's classes gives probabilities. Raises InputError as a student does."""
        return self.labels.merge(self.student(images).logits)


@checked
def export_student(run: Run, folder: str | Path) -> Path:
    """Write the student of a run: ``student.safetensors`` and ``student.json`` in a folder.

    Raises InputError for a method without a trained student, StoreError when the folder cannot be written.
    """
    folder = path_of(folder)
    student = trained(run)
    with run.turn():
        step = run.step
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in student.state_dict().items()}
    about = {
        "format": FORMAT,
        "kind": "ka_explore student",
        "name": run.name,
        "method": run.store.about["method"],
        "uses_labels": run.method.uses_labels,
        "steps": step,
        "classes": [list(pair) for pair in run.method.labels.classes],
        "columns": [asdict(column) for column in run.method.labels.columns],
        "images": {"shape": list(run.problem.pool.images.shape), "range": run.problem.pool.images.value_range},
        "architecture": describe_student(student),
    }
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        replace_file(folder / "student.safetensors", lambda file: file.write(save(tensors)))
        replace_file(folder / "student.json", lambda file: file.write(to_json(about)))
    return folder


def trained(run: Run) -> Student:
    """The student of a run. Raises InputError for a method that trains none."""
    if run.stage is None:
        raise InputError(f"{run.name!r} trains no student ({run.store.about['method']}): there is nothing to export.")
    return run.method.student


@checked
def load_student(folder: str | Path, student: Student | None = None) -> Classifier:
    """An exported student as a plain ``nn.Module`` in eval mode, from images to class scores.

    Args:
        folder: written by `export_student`.
        student: a fresh student of the same architecture; needed where it is not a chain of standard modules.

    Raises:
        InputError: nothing there, or an architecture that needs ``student``.
        StoreError: a damaged file, one of a newer version, or weights that do not fit.
    """
    folder = path_of(folder)
    if not os.path.lexists(folder / "student.json"):
        raise InputError(f"there is no exported student in {folder}: expected student.json and student.safetensors.")
    try:
        about = read_json(folder / "student.json")
        if about["format"] > FORMAT:
            raise StoreError(f"{folder} was written in format {about['format']}, this version reads up to {FORMAT}.")
        labels = labels_of(about)
        architecture = about["architecture"]
        with open_regular(folder / "student.safetensors", MOST_WEIGHTS) as file:
            weights = load(file.read())
    except StoreError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, OSError, MemoryError, SafetensorError) as error:
        raise StoreError(f"the student in {folder} cannot be read: {error}") from error
    if student is None:
        if architecture is None:
            raise InputError(
                f"the student in {folder} is not a chain of standard modules: load_student(folder, student) with a "
                "fresh one of the same architecture."
            )
        try:
            student = build_student(architecture, sum(weight.numel() for weight in weights.values()))
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, MemoryError, RecursionError) as error:
            raise StoreError(f"the description in {folder} makes no student ({error!r}): it was damaged.") from error
    try:
        student.load_state_dict(weights)
    except RuntimeError as error:
        raise StoreError(f"the weights in {folder} do not fit the student: {error}") from error
    # As in its run: another order in memory is another order of sums, and another last bit.
    nn.utils.convert_conv2d_weight_memory_format(student, torch.channels_last)
    return Classifier(student, labels).eval().requires_grad_(False)


@checked
def export_program(run: Run, path: str | Path) -> Path:
    """The deployed student as a ``torch.export`` program (``.pt2``), for any batch size.

    Raises InputError for a method without a trained student, StoreError when the file cannot be written.
    """
    path = path_of(path)
    with run.turn():
        student = copy.deepcopy(trained(run))
    if isinstance(student, Chain):  # a program is Python text, in which a task called "class" cannot be a name
        student = Chain(
            {f"segment{i}": segment for i, segment in enumerate(student.segments.values())},
            {f"head{i}": head for i, head in enumerate(student.heads.values())},
            preprocess=student.preprocess,
        )
    model = Classifier(student, run.method.labels).eval()
    nn.utils.convert_conv2d_weight_memory_format(model, torch.contiguous_format)  # torch.export.save warns otherwise
    images = run.problem.pool.images[:2].to(run.device)
    with torch.no_grad():
        program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, whole := io.BytesIO())
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        replace_file(path, lambda file: file.write(whole.getbuffer()))
    return path


def describe_student(student: Student) -> dict[str, Any] | None:
    """A chain of standard modules in plain words; None for any other student."""
    if not isinstance(student, Chain) or not isinstance(student.preprocess, (Preprocess, type(None))):
        return None
    try:
        return {
            "segments": {name: describe_module(module) for name, module in student.segments.items()},
            "heads": {name: describe_module(module) for name, module in student.heads.items()},
            "preprocess": None if student.preprocess is None else asdict(student.preprocess),
        }
    except InputError:
        return None


def describe_module(module: nn.Module) -> dict[str, Any]:
    """A standard module's name and arguments, read from the attributes of the same names."""
    kind = type(module).__name__
    known: object = STANDARD.get(kind)
    if known is not type(module):
        raise InputError(f"{kind} is not a standard module.")
    if isinstance(module, nn.Sequential):
        return {"kind": kind, "modules": {name: describe_module(child) for name, child in module.named_children()}}
    arguments = {}
    for name in inspect.signature(type(module).__init__).parameters:
        if name in ("self", "device", "dtype", "inplace"):
            continue
        value = getattr(module, name, None)
        if name == "bias":
            value = value is not None
        if isinstance(value, (int, float, str, bool, type(None), tuple, list)) and hasattr(module, name):
            arguments[name] = list(value) if isinstance(value, tuple) else value
    return {"kind": kind, "arguments": arguments}


def labels_of(about: Mapping[str, Any]) -> LabelSpace:
    """The label space of a described student. Raises ValueError or TypeError where its columns are none."""
    columns = about["columns"]
    demand(columns and all(dict_of(is_text)(column) for column in columns), "columns of words")
    return LabelSpace(tuple(Column(**column) for column in columns))


def build_student(description: Mapping[str, Any], most: int) -> Chain:
    """A fresh chain of at most so many numbers from its description.

    Raises StoreError for a module that is not standard, ValueError for more numbers than that, before they take room.
    """
    with torch.device("meta"):
        chain = chain_of(description)
    demand(sum(t.numel() for t in chain.state_dict().values()) <= most, "no larger net than the weights are of")
    return chain_of(description)


def chain_of(description: Mapping[str, Any]) -> Chain:
    """The described segments and heads."""
    preprocess = description["preprocess"]
    if preprocess is not None:
        preprocess = Preprocess(**preprocess)
    return Chain(
        {name: build_module(segment) for name, segment in description["segments"].items()},
        {name: build_module(head) for name, head in description["heads"].items()},
        preprocess=preprocess,
    )


def build_module(description: Mapping[str, Any]) -> nn.Module:
    """A standard module from its name and arguments."""
    kind = STANDARD.get(str(description["kind"]))
    if kind is None:
        raise StoreError(f"{description['kind']!r} is not a standard module: the description is damaged or foreign.")
    if kind is nn.Sequential:
        return nn.Sequential(OrderedDict((n, build_module(inner)) for n, inner in description["modules"].items()))
    arguments = {n: tuple(v) if isinstance(v, list) else v for n, v in description["arguments"].items()}
    if any(isinstance(v, (int, float)) and not math.isfinite(v) for v in arguments.values()):
        raise StoreError(f"{description['kind']} has an argument that is not finite: the description is damaged.")
    return kind(**arguments)
