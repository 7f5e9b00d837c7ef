"""A stranger's method: one file and one row, and everything that works with methods takes it without another line.

Contrastive alignment: in a common space the student's feature of an image is told from those of the other images of
the batch by each teacher's feature of the same image (InfoNCE; van den Oord, Li, Vinyals 2018).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ka_explore import METHODS, PROBES, Batch, Method, Problem, Run, Stage, StepOutput, toy
from ka_explore.cli import main
from ka_explore.methods.base import AmalgamationConfig
from ka_explore.methods.config import TrainingConfig, option
from ka_explore.panels import workbench
from ka_explore.report.diagram import diagram
from tests.contract.test_methods import *  # noqa: F403 - all that every method keeps, tested of this one too

NAME = "contrastive"


# The file ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ContrastiveConfig(AmalgamationConfig):
    """Options of `Contrastive`."""

    width: int = option(32, "channels of the common space", low=1, high=4096)
    contrast_weight: float = option(
        0.5, "weight of the contrast, sum over teachers", low=0.0, high=1000.0, log=True, weighs="contrast"
    )
    contrast_temperature: float = option(0.1, "divides the cosines", low=0.01, high=10.0, log=True)


class Contrastive(Method):
    """Contrastive alignment: every image's own pair stands out in the common space."""

    Config = ContrastiveConfig
    config: ContrastiveConfig
    needs_features = True
    forms: ClassVar[Mapping[str, Mapping[str, Any]]] = {"strong": {"contrast_weight": 5.0}}

    def __init__(self, problem: Problem, config: TrainingConfig):
        super().__init__(problem, config)
        feature = self.student(problem.pool.images[:2]).features[self.student.feature_layer]
        width = self.config.width
        self.own = nn.Conv2d(feature.shape[1], width, 1)
        self.theirs = nn.ModuleList(
            nn.Conv2d(problem.examples[t.name].features[t.feature_layer].shape[1], width, 1) for t in problem.teachers
        )
        self.weights = {"soft": 1.0, "contrast": self.config.contrast_weight}

    def stages(self) -> Sequence[Stage]:
        """One stage: the student and the maps into the common space."""
        maps = [self.map_of(name) for name in self.teaching]
        trains = (self.student, self.own, *maps) if self.weights["contrast"] else (self.student,)
        return [Stage("align", self.align, trains, self.config.steps, self.weights)]

    def align(self, batch: Batch) -> StepOutput:
        """L = soft target + w Σ_t InfoNCE(h_S, h_t)."""
        student = self.student(batch.images)
        common = {"student": self.own(student.features[self.student.feature_layer])}
        for name in self.teaching:
            common[name] = self.map_of(name)(batch.teachers[name].features[self.problem.teacher(name).feature_layer])
        rows = {name: h.mean(dim=(2, 3)) for name, h in common.items()}
        temperature = self.config.contrast_temperature
        terms = {
            "soft": self.soft_target(student.logits, batch),
            "contrast": torch.stack([info_nce(rows["student"], rows[name], temperature) for name in self.teaching]),
        }
        return StepOutput(terms, lambda: {f"common/{name}": h for name, h in rows.items()}, student=student)

    def map_of(self, teacher: str) -> nn.Module:
        """A teacher's map into the common space."""
        return self.theirs[self.problem.names.index(teacher)]


def info_nce(own: Float[Tensor, "batch _"], other: Float[Tensor, "batch _"], temperature: float) -> Float[Tensor, ""]:
    """Cross-entropy, in nats, of finding each image's own row among the other net's rows by their cosine."""
    cosines = functional.normalize(own, dim=1) @ functional.normalize(other, dim=1).T
    return functional.cross_entropy(cosines / temperature, torch.arange(len(own), device=own.device))


# What takes it without another line --------------------------------------------------------------------------------


@pytest.fixture(autouse=True, scope="module")
def row():
    METHODS[NAME] = Contrastive
    yield
    del METHODS[NAME]


@pytest.fixture(params=[None, "strong"])
def case(request) -> tuple[str, str | None]:
    return NAME, request.param


test_only_the_oracle_uses_labels = None  # of the table, not of a method


@pytest.fixture(scope="module")
def folder(row, tmp_path_factory):
    return tmp_path_factory.mktemp("newcomer")


@pytest.fixture(scope="module")
def base(folder) -> Run:
    options = {"steps": 12, "batch_size": 16, "snapshot_every": 6}
    run = Run(toy.digits(unlabelled=80), NAME, folder=folder / "base", **options).advance_to_end()
    run.save()
    return run


def test_it_learns_what_it_is_for(base):
    history = base.history()
    assert history[-1]["terms"]["contrast"] < history[0]["terms"]["contrast"]
    assert history[0]["weights"] == {"soft": 1.0, "contrast": 0.5}
    snapshot = base.snapshot()
    assert {f"gradient/contrast/{name}" for name in base.problem.names} <= set(snapshot.arrays)
    for name in ("mmd", "cka", "effective_rank", "pca", "gradient_cosine"):
        PROBES[name](snapshot)


def test_the_command_line_has_its_options_its_runs_and_its_forks(folder, capsys):
    assert main(["methods", NAME]) == 0
    assert "contrast_weight" in capsys.readouterr().out
    made = str(folder / "typed")
    options = ("--set", "steps=6", "--set", "contrast_weight=2", "--set", "batch_size=8", "--option", "unlabelled=60")
    assert main(["run", "digits", NAME, *options, "--folder", made]) == 0
    assert main(["fork", made, "colder", "--at", "3", "--set", "contrast_temperature=0.05"]) == 0
    assert Run.open(folder / "colder").config.contrast_temperature == 0.05
    assert main(["diagnose", made]) == 0


def test_it_is_drawn_and_has_sliders_and_forks_in_the_workbench(base):
    drawn = diagram(base)
    assert {"student", *base.problem.names} <= {box.name for box in drawn.boxes}
    bench = workbench(base)
    try:
        what_if = bench.panels["what_if"]
        assert "contrast_weight" in str(what_if.controls)
        assert bench.fork("plain", at=6, contrast_weight=0.0).config.contrast_weight == 0.0
    finally:
        bench.close()
