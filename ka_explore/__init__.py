"""Explore knowledge amalgamation: several frozen teachers, no label, one small student, step by step.

Start with ``Run(toy.mnist()).advance(None)``; bring your own with `Problem`, `Teacher`, `Pool` and `Student`.

A name is imported when it is first used, so that a saved run can be read, probed and diagnosed without torch.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from ka_explore import toy
    from ka_explore.benchmark.evaluate import compare
    from ka_explore.diagnosis import diagnose
    from ka_explore.errors import Diverged, InputError, KaError, NotApplicable, ReplayMismatch, StoreError
    from ka_explore.methods import METHODS
    from ka_explore.methods.base import Method, Stage, StepOutput
    from ka_explore.panels import workbench
    from ka_explore.probes import PROBES
    from ka_explore.problem.labels import LabelSpace
    from ka_explore.problem.layers import Outputs
    from ka_explore.problem.pool import Batch, Pool
    from ka_explore.problem.preprocess import Preprocess
    from ka_explore.problem.problem import Labelled, Problem
    from ka_explore.problem.student import Student
    from ka_explore.problem.teachers import Teacher
    from ka_explore.run.export import export_student, load_student
    from ka_explore.run.run import Run
    from ka_explore.run.snapshot import Snapshot
    from ka_explore.run.store import Store

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
    "benchmark.evaluate": ("compare",),
    "diagnosis": ("diagnose",),
    "errors": ("Diverged", "InputError", "KaError", "NotApplicable", "ReplayMismatch", "StoreError"),
    "methods": ("METHODS",),
    "methods.base": ("Method", "Stage", "StepOutput"),
    "panels": ("workbench",),
    "probes": ("PROBES",),
    "problem.labels": ("LabelSpace",),
    "problem.layers": ("Outputs",),
    "problem.pool": ("Batch", "Pool"),
    "problem.preprocess": ("Preprocess",),
    "problem.problem": ("Labelled", "Problem"),
    "problem.student": ("Student",),
    "problem.teachers": ("Teacher",),
    "run.export": ("export_student", "load_student"),
    "run.run": ("Run",),
    "run.snapshot": ("Snapshot",),
    "run.store": ("Store",),
}
HOME = {name: module for module, names in HOMES.items() for name in names}

# Modules of version 0.1 that have moved: their old names go on working for one version.
MOVED = {
    "cache": "problem.cache",
    "config": "methods.config",
    "diagram": "report.diagram",
    "embed": "probes.jobs",
    "evaluate": "benchmark.evaluate",
    "export": "run.export",
    "film": "plots.film",
    "labels": "problem.labels",
    "layers": "problem.layers",
    "losses": "methods.losses",
    "method": "methods.base",
    "pool": "problem.pool",
    "results": "probes.results",
    "snapshot": "run.snapshot",
    "store": "run.store",
    "student": "problem.student",
    "tables": "benchmark.tables",
    "targets": "problem.targets",
    "teachers": "problem.teachers",
    "trial": "benchmark.trial",
}


class Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module by its old name: the very module, with a warning that tells the new one."""

    def find_spec(self, name: str, *_arguments: object) -> importlib.machinery.ModuleSpec | None:
        """A spec for the old names of `MOVED` alone."""
        package, _, module = name.rpartition(".")
        if package != __name__ or module not in MOVED:
            return None
        return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Any: `exec_module` puts the real one in its place."""

    def exec_module(self, module: ModuleType) -> None:
        """The module under its new name takes the place of this one."""
        new = f"{__name__}.{MOVED[module.__name__.rpartition('.')[2]]}"
        warnings.warn(f"{module.__name__} is {new} since version 0.2.", FutureWarning, stacklevel=2)
        sys.modules[module.__name__] = importlib.import_module(new)


sys.meta_path.append(Moved())


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
