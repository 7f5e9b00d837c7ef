"""Every method and baseline on every toy problem without a download, over seeds, as one page of tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ka_explore.benchmark.trial import BASELINE, Candidate, Trial, table, trial
from ka_explore.errors import unknown

METHODS_AND_BASELINES = (
    Candidate("A: common feature learning", "common_feature"),
    Candidate("A, the published terms at a tenth", "common_feature", "clouds"),
    Candidate("B: layer-wise, in stages", "layer_wise"),
    Candidate("B in one stage, paired", "one_stage"),
    Candidate("C: adaptive", "adaptive"),
    Candidate("logit-space branches", "logit_space"),
    Candidate("permutation merging", "permutation_merging"),
    Candidate(BASELINE, "distillation"),
    Candidate("distillation, temperature 0.5", "distillation", None, {"temperature": 0.5}),
    Candidate("distillation, temperature 2", "distillation", None, {"temperature": 2.0}),
    Candidate("distillation, temperature 4", "distillation", None, {"temperature": 4.0}),
    Candidate("distillation, consistent targets (ours)", "distillation", None, {"targets": "consistent"}),
    Candidate("B, consistent targets (ours)", "layer_wise", None, {"targets": "consistent"}),
    Candidate("ensemble", "ensemble"),
    Candidate("ensemble, mean of logits", "ensemble", None, {"join": "mean"}),
    Candidate("oracle (true labels)", "oracle"),
)

# What only one or two tables have: another setting, or more of a baseline.
QUARTER = Candidate("distillation, temperature 0.25", "distillation", None, {"temperature": 0.25})
EIGHT = Candidate("distillation, temperature 8", "distillation", None, {"temperature": 8.0})
AT_ONE = {"mmd_weight": 1.0, "reconstruction_weight": 1.0}
EQUAL = Candidate("A, the published terms at equal weights", "common_feature", "clouds", AT_ONE)
AS_PUBLISHED = {"mmd_weight": 10.0, "reconstruction_weight": 10.0, "reconstruction": "mean", "norm": "none"}
PUBLISHED = Candidate("A at the published code's weights", "common_feature", "clouds", AS_PUBLISHED)
LONGER = Candidate("distillation, 1200 steps", "distillation", None, {"steps": 1200})
WITHOUT = Candidate("C without selection", "adaptive", "without_selection")

VARIANTS = (
    Candidate("A, class-wise MMD", "common_feature", "clouds", {"classwise_weight": 0.1}),
    Candidate("B as published", "layer_wise", "paper"),
    Candidate("B, incremental", "layer_wise", "incremental"),
    Candidate("B, trained auto-encoders", "layer_wise", None, {"amalgamation": "autoencoder"}),
    Candidate("B, trained auto-encoders, incremental", "layer_wise", "incremental", {"amalgamation": "autoencoder"}),
    Candidate("B without adaption modules", "layer_wise", "without_adaption"),
    Candidate("merging without alignment", "permutation_merging", "unaligned"),
    Candidate("distillation, standardised targets", "distillation", None, {"targets": "standardised"}),
    Candidate("distillation, joint posterior (UHC)", "distillation", None, {"soft_target": "joint_posterior"}),
    Candidate("distillation, restricted", "distillation", None, {"soft_target": "restricted"}),
)


@dataclass(frozen=True)
class Section:
    """One table of the page: a problem, what is compared on it besides the methods and baselines, and how often."""

    title: str
    problem: str
    options: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] | None = None
    more: tuple[Candidate, ...] = ()
    seeds: int = 5

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All that is compared, in the table's order."""
        return (*METHODS_AND_BASELINES, *self.more)

    def trial(
        self, seeds: Sequence[int], jobs: int = 1, kept: Path | None = None, *, validation: bool = False
    ) -> Trial:
        """All of it over these seeds; what does not apply is left out."""
        return trial(
            self.problem,
            options=dict(self.options) | ({"validation": True} if validation else {}),
            tasks=self.tasks,
            candidates=self.candidates,
            seeds=seeds,
            jobs=jobs,
            skip_refused=True,
            kept=kept,
        )


SECTIONS = {
    "noisy_teachers": Section(
        "`mnist`, noisy_teachers", "mnist", {"preset": "noisy_teachers"}, more=(QUARTER, EQUAL, PUBLISHED), seeds=8
    ),
    "few_images": Section("`mnist`, few_images", "mnist", {"preset": "few_images"}, more=(EIGHT,), seeds=8),
    "plenty": Section("`mnist`, plenty", "mnist", {"preset": "plenty"}, seeds=8),
    "four_teachers": Section("`four_teachers`", "four_teachers", more=VARIANTS),
    "shared_digits": Section("`shared_digits`", "shared_digits", more=(LONGER, WITHOUT)),
    "sprites": Section("`sprites`, three of five tasks", "sprites", tasks=("shape", "colour", "size"), more=(LONGER,)),
}


def section(name: str, *, seeds: Sequence[int], jobs: int = 1, validation: bool = False) -> str:
    """One table as Markdown, with its title and what did not apply; marked on the validation split where asked.

    Raises InputError for a name that is not in ``SECTIONS``.
    """
    if name not in SECTIONS:
        raise unknown("table", name, SECTIONS)
    result = SECTIONS[name].trial(seeds, jobs, validation=validation)
    return f"## {SECTIONS[name].title}\n\n{with_refusals(result)}\n"


def with_refusals(result: Trial) -> str:
    """The whole table, and below it what did not apply."""
    text = table(result, each=True)
    if result.refused:
        text += "\n\nNot applicable:\n\n" + "\n".join(f"- {label}: {why}" for label, why in result.refused.items())
    return text
