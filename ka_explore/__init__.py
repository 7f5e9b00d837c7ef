"""Explore knowledge amalgamation: several frozen teachers, no label, one small student, step by step.

Start with ``Run(toy.mnist()).advance(None)``; bring your own with `Problem`, `Teacher`, `Pool` and `Student`.
"""

__version__ = "0.1.0"

from ka_explore import toy
from ka_explore.errors import Diverged, InputError, KaError, NotApplicable, ReplayMismatch, StoreError
from ka_explore.evaluate import compare
from ka_explore.export import export_student, load_student
from ka_explore.labels import LabelSpace
from ka_explore.layers import Outputs
from ka_explore.method import Method, Stage, StepOutput
from ka_explore.methods import METHODS
from ka_explore.pool import Batch, Pool
from ka_explore.problem import Labelled, Problem
from ka_explore.run import Run
from ka_explore.snapshot import Snapshot
from ka_explore.student import Student
from ka_explore.teachers import Preprocess, Teacher

__all__ = [
    "METHODS",
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
    "StoreError",
    "Student",
    "Teacher",
    "compare",
    "export_student",
    "load_student",
    "toy",
]
