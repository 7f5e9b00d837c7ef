"""Method A, common feature learning: teachers and student meet in a space that is learned with them.

Luo, Wang, Fang, Hu, Tao, Song: Knowledge Amalgamation from Heterogeneous Networks by Common Feature Learning,
IJCAI 2019 (arXiv 1906.10546). Symbols as in its figure: F a net's last feature, f after adaption, h in the common
space, F' rebuilt from it.

    image → T_i → F_Ti → adaption → f_Ti → shared extractor → h_Ti → decoder → F'_Ti   ← reconstruction → F_Ti
    image → S   → F_S  → adaption → f_S  → shared extractor → h_S                       ← MMD            → h_Ti
    logits of T_1 … T_N side by side                                                    ← soft target    → logits of S

`forms` holds the two published codes' settings and the paper's loss. The default is ours. An MMD sees clouds: after it
the student's points lie among the teachers' and next to the same image's hardly more often than by chance
(``form="clouds"``, the default of version 0.1). Here every image meets itself, and the student pays little for it:

    L = L_C + L_paired + L_cross + L_R + L_M / 10     first half: moves the student
    L_C moves the student, the rest its common space   second half

where L_paired is the distance of student's and teacher's point of the same image, L_cross rebuilds the teacher's
feature from the student's point, both as far as that teacher claims the image. Errors of reconstruction are divided by
the feature's variance, as features have any scale. Settings were chosen on the validation images of seeds 100 and up of
the toy problems; no reported number is of those seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ka_explore.methods import losses
from ka_explore.methods.base import AmalgamationConfig, Method, Stage, StepOutput
from ka_explore.methods.config import TrainingConfig, factor, option, weight
from ka_explore.problem.layers import Outputs
from ka_explore.problem.pool import Batch
from ka_explore.problem.problem import Problem


@dataclass(frozen=True)
class CommonFeatureConfig(AmalgamationConfig):
    """Options of `CommonFeature`; "code" is the authors' code of Luo 2019."""

    # The loss.
    soft_weight: float = weight(1.0, "weight of the soft target (code: 1)", "soft")
    mmd_weight: float = weight(0.1, "weight of the MMD, L_M (code: 10)", "mmd")
    reconstruction_weight: float = weight(1.0, "weight of the reconstruction, L_R (code: 10)", "reconstruction")
    paired_weight: float = weight(
        1.0, "weight of the paired distance in the common space (ours; sees which feature is of which image)", "paired"
    )
    cross_weight: float = weight(
        1.0,
        "weight of the cross-reconstruction: every teacher's feature rebuilt from the student's point (ours)",
        "cross",
    )
    classwise_weight: float = weight(
        0.0, "weight of the MMD a class, of student and the teacher that knows it (after DDFA)", "classwise"
    )
    alpha: float | None = option(
        None, "the paper's α: if set, the weights are α for the soft target, 1−α for MMD and reconstruction",
        low=0.0, high=1.0,
    )  # fmt: skip
    reconstruction: Literal["relative", "mean", "sum"] = option(
        "relative", "error divided by the feature's variance (ours), mean over elements (code), squared norm (paper)"
    )
    bandwidths: tuple[float, ...] = option(
        losses.BANDWIDTHS, "σ of the MMD's Gaussian kernels, summed (code)", low=1e-6, high=1e3
    )
    pull: Literal["alike", "claim"] = option(
        "claim",
        "how far a teacher's point pulls at the student's: all alike, or claim: as far as the teacher claims the image "
        "beside the others (ours)",
    )
    hand_over: float = option(
        0.5, "last share of the steps in which the soft target alone moves the student, and the common space follows",
        low=0.0, high=1.0,
    )  # fmt: skip
    # Where the nets meet.
    pooling: Literal["flatten", "mean", "vector"] = option(
        "mean",
        "flatten: rows of MMD and pairing are whole maps (code); mean: their means over space; "
        "vector: the nets' features are averaged over space before adaption (KamalEngine's example)",
    )
    width: int = option(
        -1, "channels of the common space (0: a quarter of the student's, KamalEngine; -1: half of them; code: 128)",
        low=-1, high=4096,
    )  # fmt: skip
    adaption_width: int = option(
        0, "channels after adaption (code: 256; 0: twice the width; -1: the width itself, KamalEngine)",
        low=-1, high=4096,
    )  # fmt: skip
    blocks: int = option(
        3, "residual blocks of the shared extractor (code and paper: 3, KamalEngine: 2)", low=1, high=16
    )
    extractor: Literal["residual", "perceptron"] = option(
        "residual",
        "residual blocks of 3×3 convolutions, or linear-ReLU-linear at each place (KamalEngine's for vectors)",
    )
    norm: Literal["batch", "none"] = option(
        "batch", "batch norm in adaption, extractor and narrow decoder (KamalEngine), or none (code)"
    )
    bias: bool = option(False, "bias in adaption and decoders (code: no, KamalEngine: yes)")
    decoder: Literal["wide", "narrow", "pointwise"] = option(
        "wide",
        "wide: 3×3 to the teacher's width, ReLU, 1×1 (code); narrow: 1×1 at the common width, norm, ReLU, 1×1 "
        "(KamalEngine, maps); pointwise: 1×1 to the teacher's width, ReLU, 1×1 (KamalEngine, vectors)",
    )
    common_rate: float = factor(1.0, "factor on the learning rate of adaption, extractor and decoders (code: 5 to 10)")

    @property
    def weights(self) -> dict[str, float]:
        """L = w_C L_C + w_M L_M + w_R L_R; the paper's α L_C + (1−α)(L_M + L_R) where α is set. Beside them, ours."""
        luo = self.soft_weight, self.mmd_weight, self.reconstruction_weight
        if self.alpha is not None:
            luo = self.alpha, 1 - self.alpha, 1 - self.alpha
        named = dict(zip(("soft", "mmd", "reconstruction"), luo, strict=True))
        ours = {"paired": self.paired_weight, "cross": self.cross_weight, "classwise": self.classwise_weight}
        return named | ours


# The published loss has the soft target, the MMD of whole maps and the reconstruction, from the first step to the last.
PUBLISHED_TERMS = {"paired_weight": 0.0, "cross_weight": 0.0, "pull": "alike", "hand_over": 0.0, "pooling": "flatten"}


class CommonFeature(Method):
    """Common feature learning (Luo 2019): one stage, end to end; a second one where alignment hands over (ours)."""

    Config = CommonFeatureConfig
    config: CommonFeatureConfig
    needs_features = True
    forms: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # The authors' code: what produced the published logs.
        "code": PUBLISHED_TERMS | {
            "mmd_weight": 10.0, "reconstruction_weight": 10.0, "reconstruction": "mean", "norm": "none",
            "width": 128, "adaption_width": 256, "blocks": 3, "decoder": "wide", "bias": False,
            "schedule": "step", "learning_rate": 1e-4, "common_rate": 5.0,
        },
        # KamalEngine on maps, and on the pooled vector before the classifier, as its example does.
        "kamal": PUBLISHED_TERMS | {
            "mmd_weight": 10.0, "reconstruction_weight": 10.0, "reconstruction": "mean", "norm": "batch", "width": 0,
            "adaption_width": -1, "blocks": 2, "decoder": "narrow", "bias": True, "learning_rate": 1e-3,
        },
        "kamal_vector": PUBLISHED_TERMS | {
            "mmd_weight": 10.0, "reconstruction_weight": 10.0, "reconstruction": "mean", "norm": "none", "width": 0,
            "adaption_width": -1, "extractor": "perceptron", "decoder": "pointwise", "bias": True, "pooling": "vector",
            "learning_rate": 1e-3,
        },
        # The paper's loss as remembered: α L_C + (1−α)(L_M + L_R). Its α is not known; one half is ours.
        "paper": PUBLISHED_TERMS | {
            "alpha": 0.5, "soft_target": "score_distance", "reconstruction": "sum", "norm": "none", "width": 128,
            "adaption_width": 256, "blocks": 3, "learning_rate": 1e-4,
        },
        # Ours, the default of version 0.1: the published terms at a tenth, which a student from scratch hardly feels.
        "clouds": PUBLISHED_TERMS | {"mmd_weight": 0.1, "reconstruction_weight": 0.1, "width": 0},
    }  # fmt: skip

    def __init__(self, problem: Problem, config: TrainingConfig):
        super().__init__(problem, config)
        options = self.config
        student = self.student(problem.pool.images[:2]).features[self.student.feature_layer]
        features = [problem.examples[t.name].features[t.feature_layer] for t in problem.teachers]
        self.size = (min(f.shape[2] for f in [student, *features]), min(f.shape[3] for f in [student, *features]))
        if options.pooling == "vector":
            self.size = (1, 1)
        width = {0: max(student.shape[1] // 4, 1), -1: max(student.shape[1] // 2, 1)}.get(options.width, options.width)
        between = {0: 2 * width, -1: width}.get(options.adaption_width, options.adaption_width)
        self.adaptions = nn.ModuleList(
            nn.Sequential(*convolution(f.shape[1], between, norm=options.norm, bias=options.bias), nn.ReLU())
            for f in [student, *features]
        )
        self.extractor = (
            nn.Sequential(
                *(ResidualBlock(width if i else between, width, norm=options.norm) for i in range(options.blocks))
            )
            if options.extractor == "residual"
            else nn.Sequential(nn.Conv2d(between, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1))
        )
        self.decoders = nn.ModuleList(decoder(width, f.shape[1], options) for f in features)
        self.weights = options.weights
        self.adaption_of: dict[str, nn.Module] = dict(zip(("student", *problem.names), self.adaptions, strict=True))
        self.decoder_of: dict[str, nn.Module] = dict(zip(problem.names, self.decoders, strict=True))

    def stages(self) -> Sequence[Stage]:
        """One stage, or two where the student is handed over to the soft target.

        What no weight reaches does not learn: no alignment, no student's adaption, and so on.
        """
        align = sum(self.weights[term] for term in ("mmd", "paired", "cross", "classwise"))
        rebuild = self.weights["reconstruction"] + self.weights["cross"]
        trains: list[nn.Module] = [self.student, *([self.adaption_of["student"]] if align else [])]
        if align or rebuild:
            trains += [*(self.adaption_of[name] for name in self.teaching), self.extractor]
        if rebuild:
            trains += [self.decoder_of[name] for name in self.teaching]
        rates = (1.0,) + (self.config.common_rate,) * (len(trains) - 1)
        last = round(self.config.steps * self.config.hand_over)
        stages = (
            Stage("joint", self.joint, tuple(trains), self.config.steps - last, self.weights, rates=rates),
            # what follows does not reach the student, so that nothing there competes with the soft target
            Stage("follow", self.follow, tuple(trains), last, self.weights, rates=rates, competes=False),
        )
        return [stage for stage in stages if stage.steps]

    def joint(self, batch: Batch) -> StepOutput:
        """The terms of the loss on a batch."""
        return self.terms(batch, self.student(batch.images))

    def follow(self, batch: Batch) -> StepOutput:
        """The same terms; the common space takes the student's feature as it is, and does not move the student."""
        student = self.student(batch.images)
        return self.terms(batch, student, follows=True)

    def terms(self, batch: Batch, student: Outputs, *, follows: bool = False) -> StepOutput:
        """The terms of the loss on a batch of which the student's outputs are known."""
        features = self.features(student, batch.teachers, self.teaching)
        if follows:
            features["student"] = features["student"].detach()
        common = self.common(features)
        rebuilt = {name: self.decoder_of[name](common[name]) for name in self.teaching}
        targets = {name: features[name] for name in self.teaching}
        rows = {name: self.row(h) for name, h in common.items()}
        own, others = rows["student"], [rows[name] for name in self.teaching]
        share = self.shares(batch)

        def pulls(point: Tensor, by: Sequence[Any]) -> list[tuple[Tensor, Any]]:
            """The student's point once a teacher, as far as that one pulls at it, and what it is held against."""
            mine = [losses.pulled(point, share[name]) if share else point for name in self.teaching]
            return list(zip(mine, by, strict=True))

        @cache
        def by_image() -> Tensor:
            """What every image adds, by teacher and bandwidth."""
            return losses.mmd_by_sample(own, others, self.config.bandwidths)

        # Of a large probe set one Gram matrix of all nets need not fit: without gradients it is taken in blocks.
        if not own.requires_grad:
            by_bandwidth = by_image().mean(dim=2)
        elif share:
            by_bandwidth = torch.cat([losses.mmd(mine, [h], self.config.bandwidths) for mine, h in pulls(own, others)])
        else:
            by_bandwidth = losses.mmd(own, others, self.config.bandwidths)
        terms = {
            "soft": self.soft_target(student.logits, batch),
            "mmd": losses.mmd_sum(by_bandwidth),
            "reconstruction": losses.reconstruction(rebuilt, targets, kind=self.config.reconstruction),
            "paired": torch.cat([losses.paired(mine, [h]) for mine, h in pulls(own, others)])
            if share
            else losses.paired(own, others),
        }
        if self.config.cross_weight:
            points = pulls(common["student"], self.teaching)
            crossed = {name: self.decoder_of[name](h) for h, name in points}
            terms["cross"] = losses.reconstruction(crossed, targets, kind=self.config.reconstruction)
        if self.config.classwise_weight:
            terms["classwise"] = self.classwise(rows, batch)

        def seen() -> dict[str, Tensor]:
            """Where the common space puts every net, also those that do not teach; errors; the MMD of every image."""
            everyone = self.common(self.features(student, batch.teachers)) if self.without else common
            found = {f"common/{name}": h.mean(dim=(2, 3)) for name, h in everyone.items()}
            found |= losses.errors_by_image(self.teaching, rebuilt.values(), targets.values())
            for i, name in enumerate(targets):
                found |= {f"mmd/{name}/{b:g}": by_image()[i, k] for k, b in enumerate(self.config.bandwidths)}
            return found

        return StepOutput(terms, seen, student=student)

    def shares(self, batch: Batch) -> dict[str, Float[Tensor, "batch"]]:
        """How far each teacher's point of an image pulls at the student's: its claim beside those of its task.

        Empty where all pull alike.
        """
        if self.config.pull == "alike":
            return {}
        found: dict[str, Tensor] = {}
        for task in self.taught.tasks:
            names = self.taught.teachers_of(task)
            claims = losses.selection_weights([batch.teachers[name].logits for name in names], "claim")
            found |= dict(zip(names, claims.unbind(dim=1), strict=True))
        return found

    def features(
        self, student: Outputs, teachers: Mapping[str, Outputs], names: Sequence[str] | None = None
    ) -> dict[str, Float[Tensor, "batch _ _ _"]]:
        """F of every net (or of the student and these teachers), maps of different size averaged to the smallest."""
        chosen = [t for t in self.problem.teachers if names is None or t.name in names]
        raw = {"student": student.features[self.student.feature_layer]}
        raw |= {t.name: teachers[t.name].features[t.feature_layer] for t in chosen}
        return {name: losses.averaged_to(f, self.size) for name, f in raw.items()}

    def classwise(self, rows: Mapping[str, Float[Tensor, "batch feature"]], batch: Batch) -> Float[Tensor, ""]:
        """The MMD a class, mean over tasks; the class of an image is the best-scored of all teachers' columns."""
        parts = []
        for task in self.taught.tasks:
            names = self.taught.teachers_of(task)
            logits = [batch.teachers[name].logits for name in names]
            owner = torch.cat([torch.full((z.shape[1],), i, device=z.device) for i, z in enumerate(logits)])
            label = torch.cat(logits, dim=1).argmax(dim=1)
            others = [rows[name] for name in names]
            parts.append(losses.classwise_mmd(rows["student"], others, label, owner[label], self.config.bandwidths))
        return torch.stack(parts).mean()

    def row(self, common: Float[Tensor, "batch width height width2"]) -> Float[Tensor, "batch feature"]:
        """h of a net as one row an image: its mean over space, or the whole map, in an order that needs no copy."""
        return common.mean(dim=(2, 3)) if self.config.pooling == "mean" else common.permute(0, 2, 3, 1).flatten(1)

    def common(
        self, features: Mapping[str, Float[Tensor, "batch _ _ _"]]
    ) -> dict[str, Float[Tensor, "batch width height width2"]]:
        """h of every net: its own adaption, then the shared extractor once for all nets.

        One pass also means that batch norm sees all nets together; a pass a net would mix their running averages
        into statistics that fit none.
        """
        adapted = [self.adaption_of[name](f) for name, f in features.items()]
        parts = self.extractor(torch.cat(adapted)).split(len(adapted[0]))
        return dict(zip(features, parts, strict=True))


def convolution(channels: int, width: int, size: int = 1, *, norm: str, bias: bool = False) -> list[nn.Module]:
    """A convolution that keeps the map's size, and a batch norm if there is to be one."""
    layer = nn.Conv2d(channels, width, size, padding=size // 2, bias=bias)
    return [layer, *([nn.BatchNorm2d(width)] if norm == "batch" else [])]


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut, ReLU last, so that common features are not negative."""

    def __init__(self, channels: int, width: int, *, norm: str):
        super().__init__()
        self.first = nn.Sequential(*convolution(channels, width, 3, norm=norm))
        self.second = nn.Sequential(*convolution(width, width, 3, norm=norm))
        same = channels == width
        self.shortcut = nn.Identity() if same else nn.Sequential(*convolution(channels, width, norm=norm))

    def forward(self, feature: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch _ height width"]:
        """The feature plus its correction."""
        inner = functional.relu(self.first(feature))
        return functional.relu(self.second(inner) + self.shortcut(feature))


def decoder(width: int, channels: int, options: CommonFeatureConfig) -> nn.Sequential:
    """From the common space back to a teacher's feature."""
    narrow, bias = options.decoder == "narrow", options.bias
    hidden, norm = (width, options.norm) if narrow else (channels, "none")
    first = convolution(width, hidden, 3 if options.decoder == "wide" else 1, norm=norm, bias=bias)
    return nn.Sequential(*first, nn.ReLU(), nn.Conv2d(hidden, channels, 1, bias=bias))
