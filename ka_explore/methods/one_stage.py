"""Layer-wise amalgamation in one stage: the student's own features are paired with the codes while everything trains.

KamalEngine (zju-vipa/KamalEngine) trains method B so: where Shen et al., AAAI 2019 (see `layer_wise`), compress,
regress and fine-tune one after the other, here auto-encoders, adaption modules and student learn at once,

    L = w_C L_C + w_F Σ_l ‖FAM^l(F_S^l) − F_a^l‖² + w_R Σ_l ‖[F_1^l; …; F_N^l] − Dec^l(F_a^l)‖²,     F_a^l detached.

It is strong when unlabelled images are few. ``form="kamal"`` has the published settings; the default is ours, chosen on
validation images (seeds 100 to 103 of few_images): components in closed form, errors relative to the code's variance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ka_explore.methods.base import Batches, Stage, StepOutput
from ka_explore.methods.compress import Coded, CodedConfig, Map
from ka_explore.methods.config import TrainingConfig, factor, option, weight
from ka_explore.methods.losses import errors_by_image, variance
from ka_explore.problem.pool import Batch
from ka_explore.problem.problem import Problem


@dataclass(frozen=True)
class OneStageConfig(CodedConfig):
    """Options of `OneStage`."""

    temperature: float = factor(4.0, "divides the logits of teacher and student", low=0.05)
    soft_weight: float = weight(1.0, "weight of the soft target", "soft")
    feature_weight: float = weight(
        3.0, "weight of the distance to the codes, sum over layers (KamalEngine: 1)", "feature"
    )
    reconstruction_weight: float = weight(1.0, "weight of the auto-encoders' error, sum over layers", "reconstruction")
    feature_error: Literal["relative", "mean"] = option(
        "relative", "squared errors divided by the code's (or feature's) variance (ours), or their mean (KamalEngine)"
    )


class OneStage(Coded):
    """Layer-wise amalgamation in one stage (KamalEngine): features paired with codes, end to end."""

    Config = OneStageConfig
    config: OneStageConfig
    forms: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "kamal": {
            "amalgamation": "autoencoder", "temperature": 1.0, "feature_weight": 1.0, "feature_error": "mean",
            "learning_rate": 1e-3,
        },
    }  # fmt: skip

    def __init__(self, problem: Problem, config: TrainingConfig):
        super().__init__(problem, config)
        options = self.config
        self.weights = {
            "soft": options.soft_weight,
            "feature": options.feature_weight,
            "reconstruction": 0.0 if options.amalgamation == "pca" else options.reconstruction_weight,
        }

    def stages(self) -> Sequence[Stage]:
        """Student, adaption modules (thrown away afterwards) and auto-encoders together."""
        trains: list[nn.Module] = [self.student]
        if self.weights["feature"]:
            trains += self.adaptions.values()
        if self.weights["reconstruction"]:
            trains += self.compressors.values()
        closed = self.config.amalgamation == "pca"
        begin, changes = (self.take_all_components, (self.compressors,)) if closed else (None, ())
        modules, steps = tuple(trains), self.config.steps
        return [Stage("joint", self.joint, modules, steps, self.weights, begin=begin, changes=changes)]

    def take_all_components(self, batches: Batches) -> None:
        """The principal components of every layer."""
        for layer in self.layers:
            for level in range(self.compressor(layer).levels):
                self.take_components(batches, layer=layer, level=level)

    def joint(self, batch: Batch) -> StepOutput:
        """The terms of the loss on a batch."""
        student = self.student(batch.images)
        features = {layer: self.features(batch.teachers, layer) for layer in self.layers}
        codes = {layer: self.compressor(layer).code(own) for layer, own in features.items()}
        rebuilt = {layer: self.compressor(layer).rebuilt(code) for layer, code in codes.items()}
        own = {layer: f for layer, f in student.features.items() if layer in self.layers}
        adapted = {layer: self.adaptions[layer](f) if layer in self.adaptions else f for layer, f in own.items()}
        distances = [self.error(adapted[layer], code.detach()) for layer, code in codes.items()]
        errors = [self.error(torch.cat(rebuilt[n], dim=1), torch.cat(own, dim=1)) for n, own in features.items()]
        terms = {
            "soft": self.soft_target(student.logits, batch),
            "feature": torch.stack(distances).sum(),
            "reconstruction": torch.stack(errors).sum(),
        }

        def seen() -> dict[str, Tensor]:
            """The codes, what the student makes of them, and the auto-encoders' errors at the last layer."""
            found = {f"code/{layer}": code.mean(dim=(2, 3)) for layer, code in codes.items()}
            found |= {f"regressed/{layer}": f.mean(dim=(2, 3)) for layer, f in adapted.items()}
            return found | errors_by_image(self.teaching, rebuilt[self.layers[-1]], features[self.layers[-1]])

        return StepOutput(terms, seen, student=student)

    def error(self, given: Map, target: Map) -> Float[Tensor, ""]:
        """Mean squared error, divided by the target's variance unless the options ask for the plain mean."""
        error = functional.mse_loss(given, target)
        return error / variance(target.detach()) if self.config.feature_error == "relative" else error
