"""Explore knowledge amalgamation: several frozen teachers, no label, one small student, step by step.

Start with ``Run(toy.mnist()).advance(None)``; bring your own with `Problem`, `Teacher`, `Pool` and `Student`.

A name is imported when it is first used, so that a saved run can be read, probed and diagnosed without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ka_explore import toy
    from ka_explore.diagnosis import diagnose
    from ka_explore.errors import Diverged, InputError, KaError, NotApplicable, ReplayMismatch, StoreError
    from ka_explore.evaluate import compare
    from ka_explore.export import export_student, load_student
    from ka_explore.labels import LabelSpace
    from ka_explore.layers import Outputs
    from ka_explore.method import Method, Stage, StepOutput
    from ka_explore.methods import METHODS
    from ka_explore.panels import workbench
    from ka_explore.pool import Batch, Pool
    from ka_explore.probes import PROBES
    from ka_explore.problem import Labelled, Problem
    from ka_explore.run import Run
    from ka_explore.snapshot import Snapshot
    from ka_explore.store import Store
    from ka_explore.student import Student
    from ka_explore.teachers import Preprocess, Teacher

__all__ = [
    "METHODS",
    "PROBES",
    "Batch",
    "Diverged",
    "InputError",
    "KaError",
    "LabelSpace",
    "Labelled",
    "Method",
    "NotApplicable",
    "Outputs",
    "Pool",
    "Preprocess",
    "Problem",
    "ReplayMismatch",
    "Run",
    "Snapshot",
    "Stage",
    "StepOutput",
    "Store",
    "StoreError",
    "Student",
    "Teacher",
    "compare",
    "diagnose",
    "export_student",
    "load_student",
    "toy",
    "workbench",
]

# Where each public name lives.
HOMES = {
    "evaluate": ("compare",),
    "diagnosis": ("diagnose",),
    "errors": ("Diverged", "InputError", "KaError", "NotApplicable", "ReplayMismatch", "StoreError"),
    "export": ("export_student", "load_student"),
    "labels": ("LabelSpace",),
    "layers": ("Outputs",),
    "method": ("Method", "Stage", "StepOutput"),
    "methods": ("METHODS",),
    "pool": ("Batch", "Pool"),
    "probes": ("PROBES",),
    "problem": ("Labelled", "Problem"),
    "run": ("Run",),
    "snapshot": ("Snapshot",),
    "panels": ("workbench",),
    "store": ("Store",),
    "student": ("Student",),
    "teachers": ("Preprocess", "Teacher"),
}
HOME = {name: module for module, names in HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used."""
    if name == "toy":
        return importlib.import_module("ka_explore.toy")
    if name not in HOME:
        raise AttributeError(f"module 'ka_explore' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ka_explore.{HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted([*__all__, "__version__"])
