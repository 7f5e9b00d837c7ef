"""Faults, each injected at several strengths into several problems, and the finding that should be named.

``make faults`` injects all of them (`experiment.py`).
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import spoil
import spoil_images
import spoil_nets
from spoil import Case

from ka_explore import Diverged, Problem, Run, toy
from ka_explore.diagnosis import Findings, diagnose
from ka_explore.problem.teachers import rebuilt


def overlapping() -> Problem:
    """The digits with a second teacher for 0 to 4, which learned from other images."""
    first, other = toy.digits(), toy.digits(seed=1)
    teachers = [*first.teachers, rebuilt(other.teachers[0], name="digits 0-4 again")]
    return dataclasses.replace(first, teachers=teachers, name="", options={})


PROBLEMS: Mapping[str, Callable[[], Problem]] = {
    "digits": toy.digits,
    "mnist": toy.mnist,
    "few": lambda: toy.mnist("few_images"),
    "fashion": toy.fashion,
    "four": toy.four_teachers,
    "shared": toy.shared_digits,
    "clothes": toy.digits_and_clothes,
    "sprites": toy.sprites,
    "overlap": overlapping,
}


@dataclass(frozen=True)
class Fault:
    """A way to spoil a run.

    Attributes:
        named: findings that name it; one of them must be first or second where it is strong.
        strengths: from weak to strong, by what the table calls them.
        strong: which of these are strong.
        problems: names in `PROBLEMS`.
        make: the case, of a healthy problem and a strength.
    """

    named: tuple[str, ...]
    strengths: Mapping[str, Any]
    strong: tuple[str, ...]
    problems: tuple[str, ...]
    make: Callable[[Problem, Any], Case]


FED = ("wrong_preprocessing",)
WEIGHTS = ("weights_not_loaded", "mixed_weights")
IMAGES = {
    "blurred": spoil_images.blurred,
    "least to most": spoil_images.least_to_most,
    "two levels": spoil_images.two_levels,
    "whole numbers": spoil_images.whole_numbers,
    "cut to one": spoil_images.cut_to_one,
    "squashed": spoil_images.squashed,
    "zoomed": spoil_images.zoomed,
    "interlaced": spoil_images.interlaced,
}
MORE_PIXELS = {"bytes wrapped": spoil_images.wrapped, "grainy": spoil_images.grainy}  # weak on 8×8 digits
NETS = {
    "three levels": spoil_nets.three_levels,
    "large eps": spoil_nets.large_eps,
    "scale and shift swapped": spoil_nets.swapped,
    "means lost": spoil_nets.means_lost,
    "kernels transposed": spoil_nets.transposed,
    "padded after": spoil_nets.padded_after,
}
FAULTS: Mapping[str, Fault] = {
    "activation lost in a port": Fault(
        (*FED, *WEIGHTS), {"0.5": None}, ("0.5",), ("digits", "mnist"), spoil.changed(spoil.leaky)
    ),
    "deviations for variances": Fault(
        (*FED, *WEIGHTS), {"all": None}, ("all",), ("digits",), spoil.changed(spoil.deviations)
    ),
    "student ends in a softmax": Fault(
        ("normalised_answers",),
        {"its end": None},
        ("its end",),
        ("digits", "mnist"),
        spoil.of_students(spoil.ends_in_softmax),
    ),
    "augmented beyond recognition": Fault(
        ("augment_hides",), {"noise": None}, ("noise",), ("digits", "mnist"), spoil.hidden
    ),
    "part of the pool is black": Fault(
        ("few_distinct_images",), {"0.2": 0.2, "0.5": 0.5}, ("0.5",), ("digits", "mnist"), spoil.black
    ),
    "images offset": Fault(
        FED,
        {"1": {"after": (1.0, 1.0)}, "3": {"after": (1.0, 3.0)}},
        ("3",),
        ("digits", "mnist", "fashion"),
        spoil.fed(),
    ),
    "images scaled": Fault(
        FED,
        {"2": {"after": (2.0, 0.0)}, "5": {"after": (5.0, 0.0)}, "0.1": {"after": (0.1, 0.0)}},
        ("5", "0.1"),
        ("digits", "mnist", "sprites"),
        spoil.fed(),
    ),
    "images times 255": Fault(
        FED, {"255": {"before": (255.0, 0.0)}}, ("255",), ("digits", "few", "shared"), spoil.fed()
    ),
    "images over 255": Fault(
        FED, {"1/255": {"before": (1 / 255, 0.0)}}, ("1/255",), ("digits", "fashion", "shared"), spoil.fed()
    ),
    "images inverted": Fault(
        FED, {"inverted": {"before": (-1.0, 1.0)}}, ("inverted",), ("digits", "mnist", "fashion"), spoil.fed()
    ),
    "images unnormalised": Fault(
        FED,
        {"as in the pool": None, "of ImageNet": (0.45, 0.225)},
        ("as in the pool",),
        ("digits", "mnist", "fashion", "four", "shared"),
        spoil.unnormalised,
    ),
    "channels swapped": Fault(FED, {"swapped": {"flip": True}}, (), ("sprites",), spoil.fed()),
    "images of another size": Fault(
        FED, {"0.7": 0.7, "0.5": 0.5, "2": 2.0}, ("2",), ("digits", "mnist", "four"), spoil.sized
    ),
    "batch norm in training mode": Fault(
        ("train_mode_batch_norm",),
        {"the last": "the last", "all": "all", "functional": "functional"},
        ("all", "functional"),
        ("digits", "mnist", "shared"),
        spoil.batch_normed,
    ),
    "dropout left on": Fault(("random_answers",), {"0.1": 0.1, "0.5": 0.5}, ("0.5",), ("digits", "mnist"), spoil.noisy),
    "images turned over": Fault(
        FED,
        {
            "by 180°": ("flip", (2, 3)),
            "upside down": ("flip", (2,)),
            "moved": ("roll", ((2, 2), (2, 3))),
            "by 90°": ("rot90", (1, (2, 3))),
            "transposed": ("transpose", (2, 3)),
        },
        ("upside down", "by 90°", "transposed"),
        ("digits", "mnist", "few"),
        spoil.turned,
    ),
    "images cut": Fault(
        FED,
        {"1/8": (0.125, 0.125), "top": (0.25, 0.0), "1/4": (0.25, 0.25)},
        ("top", "1/4"),
        ("digits", "mnist", "four"),
        spoil.cut,
    ),
    "teacher half loaded": Fault(
        ("weights_not_loaded",),
        {k: k for k in ("first convolution", "last convolutions", "last block", "statistics", "half")},
        ("first convolution", "last convolutions", "last block", "statistics", "half"),
        ("digits", "mnist", "four"),
        spoil.spoilt(spoil.half_loaded),
    ),
    "statistics of other channels": Fault(
        ("mixed_weights",),
        {k: k for k in ("last", "first", "middle", "all")},
        ("first", "middle", "all"),
        ("digits", "mnist", "four"),
        spoil.spoilt(spoil.shuffled),
    ),
    "answers normalised": Fault(
        ("normalised_answers",),
        {
            "all log_softmax": ("log_softmax", 99),
            "one log_softmax": ("log_softmax", 1),
            "one softmax": ("softmax", 1),
            "all softmax": ("softmax", 99),
        },
        ("one log_softmax", "one softmax", "all softmax"),
        ("digits", "mnist", "four"),
        spoil.normalised,
    ),
    "teacher untrained": Fault(
        ("weights_not_loaded", "says_nothing", "wrong_preprocessing"),
        {"head": "head", "all": "all"},
        ("all",),
        ("digits", "four", "fashion"),
        spoil.untrained,
    ),
    "layer too early": Fault(
        ("too_early_layer", "wrong_layer"),
        {"early": "early", "earliest": "earliest"},
        ("earliest",),
        ("digits", "mnist", "fashion"),
        spoil.with_layer,
    ),
    "layer is the logits": Fault(
        ("wrong_layer",), {"logits": "logits"}, ("logits",), ("digits", "shared"), spoil.with_layer
    ),
    "layer degenerate": Fault(
        ("wrong_layer",),
        {k: k for k in ("one channel", "nearly constant", "constant", "probabilities")},
        ("one channel", "constant", "probabilities"),
        ("digits", "mnist"),
        spoil.degenerate,
    ),
    "dead channels of a teacher": Fault(
        ("dead_channels",), {"0.4": 0.4, "0.8": 0.8}, ("0.8",), ("digits", "mnist"), spoil.dead_teacher
    ),
    "dead channels of the student": Fault(
        ("dead_channels",), {"0.4": 0.4, "0.8": 0.8}, ("0.8",), ("digits", "four", "fashion"), spoil.dead_student
    ),
    "labels permuted": Fault(
        ("labels_permuted",),
        {"2": 2, "all": 99},
        ("2", "all"),
        ("digits", "mnist", "fashion", "shared"),
        spoil.permuted,
    ),
    "teachers disagree": Fault(
        ("teachers_disagree",), {"3": 3, "all": 99}, ("all",), ("overlap", "shared"), spoil.disagreeing
    ),
    "teacher over-confident": Fault(
        ("overconfident",),
        {
            "3": {"factor": 3.0},
            "5": {"factor": 5.0},
            "10": {"factor": 10.0},
            "20": {"factor": 20.0},
            "+10": {"bias": 10.0},
        },
        ("10", "20", "+10"),
        ("digits", "mnist", "four", "shared"),
        spoil.louder,
    ),
    "teacher under-confident": Fault(
        ("underconfident", "starved_teacher"),
        {"0.2": {"factor": 0.2}, "0.05": {"factor": 0.05}},
        ("0.05",),
        ("digits", "shared"),
        spoil.louder,
    ),
    "the same teacher twice": Fault(
        ("same_teacher_twice",), {"twice": 0}, ("twice",), ("digits", "shared"), spoil.twice
    ),
    "pool foreign to a teacher": Fault(
        ("foreign_pool",), {"0.2": 0.2, "0": 0.0}, ("0",), ("digits", "four", "fashion"), spoil.foreign
    ),
    "term dominates": Fault(
        ("dominating_term",),
        {
            "mmd 10": {"mmd_weight": 10.0},
            "mmd 100": {"mmd_weight": 100.0},
            "mmd 1000": {"mmd_weight": 1000.0},
            "rec 100": {"reconstruction_weight": 100.0},
            "rec 1000": {"reconstruction_weight": 1000.0},
        },
        ("mmd 100", "mmd 1000", "rec 1000"),
        ("digits", "mnist"),
        spoil.options(),
    ),
    "teacher dominates": Fault(
        ("dominating_teacher",), {"3": 3.0, "30": 30.0}, ("30",), ("digits", "mnist"), spoil.loud_feature
    ),
    "common space collapses": Fault(
        ("collapsed", "dominating_term"),
        {
            "aligned only": {"mmd_weight": 100.0, "paired_weight": 100.0, "reconstruction_weight": 0.0},
            "decay 1": {"weight_decay": 1.0},
        },
        ("aligned only", "decay 1"),
        ("digits", "mnist"),
        spoil.options(steps=200),
    ),
    "bandwidths": Fault(
        ("mmd_saturated",),
        {
            "1e-6": {"bandwidths": (1e-6,)},
            "1e-3": {"bandwidths": (1e-3,)},
            "100": {"bandwidths": (100.0,)},
            "1000": {"bandwidths": (1000.0,)},
        },
        ("1e-6", "1e-3", "1000"),
        ("digits", "mnist", "four"),
        spoil.options(),
    ),
    "common width too small": Fault(
        ("not_reconstructable",),
        {"2": {"width": 2}, "1": {"width": 1}},
        ("1",),
        ("four", "fashion", "digits"),
        spoil.options(steps=200),
    ),
    "student too small": Fault(
        ("student_too_small",),
        {"0.3": {"student_width": 0.3}, "0.1": {"student_width": 0.1}},
        ("0.1",),
        ("digits", "mnist", "four"),
        spoil.options(steps=300),
    ),
    "stopped early": Fault(
        ("stopped_early",),
        {"40": {"steps": 40}, "10": {"steps": 10}},
        ("10",),
        ("digits", "mnist", "shared"),
        spoil.options(),
    ),
    "learning rate too high": Fault(
        ("rate_too_high",),
        {"0.1": {"learning_rate": 0.1}, "1": {"learning_rate": 1.0}, "10": {"learning_rate": 10.0}},
        ("1", "10"),
        ("digits", "mnist", "four"),
        spoil.options(),
    ),
    "learning rate too low": Fault(
        ("rate_too_low",),
        {"1e-4": {"learning_rate": 1e-4}, "1e-5": {"learning_rate": 1e-5}, "1e-6": {"learning_rate": 1e-6}},
        ("1e-5", "1e-6"),
        ("digits", "mnist", "four"),
        spoil.options(),
    ),
    "weight makes a term inert": Fault(
        ("inert_term",),
        {
            "mmd 1e-4": {"mmd_weight": 1e-4},
            "mmd 1e-6": {"mmd_weight": 1e-6},
            "rec 1e-6": {"reconstruction_weight": 1e-6},
        },
        ("mmd 1e-6", "rec 1e-6"),
        ("digits", "four", "fashion"),
        spoil.options(),
    ),
    "selection starves": Fault(
        ("starved_teacher", "overconfident", "underconfident"),
        {"0.5": 0.5, "0.1": 0.1},
        ("0.1",),
        ("digits", "shared"),
        spoil.starved,
    ),
    "selection starves by bias": Fault(
        ("starved_teacher", "overconfident", "says_nothing"),
        {"3": 3.0, "10": 10.0},
        ("10",),
        ("digits", "shared"),
        spoil.biased,
    ),
    "student frozen": Fault(
        ("student_frozen", "student_not_moving"),
        {"first layer": slice(1), "body": slice(-2)},
        ("body",),
        ("digits", "mnist"),
        spoil.frozen,
    ),
    "student detached": Fault(
        ("student_not_moving",),
        {"first layer": 0, "body": -1},
        ("first layer", "body"),
        ("digits", "mnist"),
        spoil.detached,
    ),
    "student in eval mode": Fault(
        ("student_not_moving",), {"eval": None}, ("eval",), ("digits", "mnist"), spoil.evaluating
    ),
    "pool of few images": Fault(
        ("few_distinct_images",),
        {"100": (100, 0.0), "30": (30, 0.0), "8": (8, 0.0), "8 and noise": (8, 0.01)},
        ("30", "8", "8 and noise"),
        ("digits", "mnist"),
        spoil.repeated,
    ),
    "whose image it is": Fault(
        ("whose_image", "overconfident"), {"3": 3.0, "30": 30.0}, ("30",), ("digits", "mnist"), spoil.moody
    ),
    "images prepared otherwise": Fault(
        FED, IMAGES, tuple(name for name in IMAGES if name != "two levels"), ("digits", "mnist"), spoil_images.prepared
    ),
    "images of more pixels": Fault(
        (*FED, "wrong_answers"), MORE_PIXELS, tuple(MORE_PIXELS), ("mnist",), spoil_images.prepared
    ),
    "images scrambled": Fault(
        (*FED, *WEIGHTS, "wrong_answers"),
        {"rows": spoil_images.halves_mixed},
        ("rows",),
        ("digits", "mnist"),
        spoil_images.prepared,
    ),
    "net ported otherwise": Fault((*FED, *WEIGHTS), NETS, tuple(NETS), ("digits", "mnist"), spoil_nets.ported),
    "weights of few bits": Fault(
        (*FED, *WEIGHTS), {"7 levels": spoil_nets.few_bits}, ("7 levels",), ("mnist",), spoil_nets.ported
    ),
    "labels off by one": Fault(
        ("labels_permuted",), {"one": None}, ("one",), ("digits", "mnist"), spoil_nets.off_by_one
    ),
    "teachers that do not compare": Fault(
        ("whose_image",), {"by nature": None}, ("by nature",), ("clothes",), spoil.as_it_is
    ),
}


def outcome(case: Case, folder: Path | None = None, seed: int = 0, *, form: str | None = "clouds") -> Findings:
    """The diagnosis of a case, run to its end or to where it diverges; common feature learning in this form."""
    every = max(case.steps // 3, 1)
    options = dict(case.options) | ({"form": form} if case.method == "common_feature" else {})
    run = Run(case.problem, case.method, seed=seed, folder=folder, steps=case.steps, snapshot_every=every, **options)
    with contextlib.suppress(Diverged):
        run.advance(None, progress=False)
    return diagnose(run)


def place_of(fault: Fault, findings: Findings) -> int:
    """Where the first finding that names the fault stands, from 1; 0 if none of warning grade does."""
    named = [i for i, f in enumerate(findings, start=1) if f.name in fault.named and f.grade == "warning"]
    return named[0] if named else 0


@cache
def problem_named(name: str) -> Problem:
    """A healthy problem, made once a process: a fault rebuilds what it breaks."""
    return PROBLEMS[name]()
