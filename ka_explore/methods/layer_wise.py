"""Method B, layer-wise amalgamation: compress the teachers' features, regress them layer by layer, fine-tune.

Shen, Wang, Song, Sun, Song: Amalgamating Knowledge towards Comprehensive Classification, AAAI 2019 (arXiv 1811.02796).
Symbols as in its figure: F_i^l the features of teacher i at layer l, before the activation; F_a^l their code; z logits.

1.  compress, a layer at a time: a linear auto-encoder on the teachers' features side by side,
    F_a^l = Enc^l([F_1^l; …; F_N^l]) as wide as the student's layer, min ‖[F_1^l; …] − Dec^l(F_a^l)‖².
    Direct: all teachers at once. Incremental: two teachers, then their code with the third, and so on.
2.  regress, a layer at a time: the student's layer alone maps the *code* of the layer before to the code of its own,
    min ‖F_a^l − Conv^l(pool(ReLU(FAM(F_a^{l−1}))))‖², where the feature adaption module FAM is a 1×1 convolution
    between convolution and activation. It is then folded into the convolution before it. The heads regress the scores.
3.  joint: the whole student on the stacked scores, min ‖z_S − [z_1; …; z_N]‖².

As no activation stands between Enc and Dec, their optimum is the principal components of the stacked channels;
``amalgamation="pca"`` takes these in closed form. ``form="paper"`` trains auto-encoders and fine-tunes on squared
distances of the scores; the default, which takes components and a cross-entropy at temperature 0.5, did better on
validation images (seeds 100 to 103 of noisy_teachers). Where the paper's teachers are alike, ours may differ: their
blocks are matched to the student's one for one, and larger maps are averaged to the student's size.

`one_stage` holds the form in which everything trains at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ka_explore.errors import InputError
from ka_explore.methods.base import Batches, Stage, StepOutput, share_of
from ka_explore.methods.compress import Coded, CodedConfig, Map, identity, moments
from ka_explore.methods.config import TrainingConfig, factor, option
from ka_explore.methods.fold import assign, fold, linear_end
from ka_explore.methods.losses import SoftTarget, errors_by_image, variance
from ka_explore.problem.layers import Outputs, to_map
from ka_explore.problem.pool import Batch
from ka_explore.problem.problem import Problem
from ka_explore.problem.student import Chain


@dataclass(frozen=True)
class LayerWiseConfig(CodedConfig):
    """Options of `LayerWise`; "lab's code" is the public code of the paper's group, "KamalEngine" their later form."""

    adaption: bool = option(True, "feature adaption modules, folded into the convolutions once a layer is learned")
    soft_target: SoftTarget = option(
        "stacked",
        "of the joint stage: score_distance: squared distance of the logits (the paper); stacked, restricted, "
        "joint_posterior: cross-entropies",
    )
    temperature: float = factor(0.5, "divides the logits of teacher and student in the joint stage", low=0.05)
    compress_share: float = option(0.15, "share of the steps that compress, all layers together", low=0.0, high=1.0)
    regress_share: float = option(0.35, "share of the steps that regress, all layers together", low=0.0, high=1.0)
    compress_rate: float = factor(10.0, "factor on the learning rate of the auto-encoders", high=1000.0)
    regress_rate: float = factor(3.0, "factor on the learning rate of the layer-wise regression", high=1000.0)


class LayerWise(Coded):
    """Layer-wise amalgamation (Shen, AAAI 2019): compress, regress, fold, fine-tune."""

    Config = LayerWiseConfig
    config: LayerWiseConfig
    forms: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"amalgamation": "autoencoder", "soft_target": "score_distance"},
        "incremental": {"order": "incremental"},
        "without_adaption": {"adaption": False},
    }

    student: Chain

    def __init__(self, problem: Problem, config: TrainingConfig):
        super().__init__(problem, config)
        self.vectors: dict[str, bool] = {}  # by layer, whether its output is one
        feature = self.input_of(problem.pool.images[:2])
        for name, segment in self.student.segments.items():
            feature = segment(feature)
            if name in self.layers:
                if feature.ndim not in (2, 4):
                    raise InputError(
                        f"layer {name!r} of the student puts out {tuple(feature.shape)}: layer-wise regression takes "
                        "maps (batch, channel, height, width) and vectors (batch, channel)."
                    )
                self.vectors[name] = feature.ndim == 2
                if self.config.adaption:
                    linear_end(name, segment)

    def make_student(self) -> Chain:
        """The problem's own student. Raises InputError unless it is a chain, as regression needs its segments."""
        student = super().make_student()
        if isinstance(student, Chain):
            return student
        raise InputError(
            "layer-wise regression trains a student segment by segment: make it with Student.chain, or use the "
            "method 'one_stage', which takes any student."
        )

    # The table of contents.

    def stages(self) -> Sequence[Stage]:
        """Compress every layer, regress every layer and the scores, train end to end."""
        total = self.config.steps
        compressions = [(layer, level) for layer in self.layers for level in range(self.compressor(layer).levels)]
        compress = share_of(total, self.config.compress_share, len(compressions))
        if self.config.amalgamation == "pca":
            compress = min(total, 1)
        regress = share_of(total, self.config.regress_share, len(self.layers) + 1)
        done = compress * len(compressions) + regress * (len(self.layers) + 1)
        return [
            *(self.compress_stage(layer, level, compress) for layer, level in compressions),
            *(self.regress_stage(layer, regress) for layer in (*self.layers, None)),
            Stage("joint", self.joint, (self.student,), max(total - done, min(total, 1))),
        ]

    # 1. Compress.

    def compress_stage(self, layer: str, level: int, steps: int) -> Stage:
        """A linear auto-encoder is trained, or the principal components are taken at once."""
        compressor = self.compressor(layer)
        name = f"compress {layer}"
        if compressor.levels > 1:
            name += f" with {self.teaching[compressor.groups[level][-1]]}"
        forward = partial(self.compress, layer=layer, level=level)
        parts, weights = (compressor.encoders[level], compressor.decoders[level]), {"reconstruction": 1.0}
        if self.config.amalgamation == "pca":
            begin = partial(self.take_components, layer=layer, level=level)
            return Stage(name, forward, (), steps, weights, begin=begin, changes=parts)
        return Stage(name, forward, parts, steps, weights, rates=(self.config.compress_rate,) * 2)

    def compress(self, batch: Batch, *, layer: str, level: int) -> StepOutput:
        """L_amal of a layer: mean squared error of what the decoder gives back."""
        compressor, features = self.compressor(layer), self.features(batch.teachers, layer)
        stacked = compressor.stacked(features, level)
        code = compressor.encoders[level](stacked)
        error = functional.mse_loss(compressor.decoders[level](code), stacked)
        return StepOutput(
            {"reconstruction": error, "unexplained": error / variance(stacked)},
            lambda: (
                errors_by_image(self.teaching, compressor.rebuilt(compressor.code(features)), features)
                | {f"code/{layer}": code.mean(dim=(2, 3))}
            ),
        )

    # 2. Regress, then fold.

    def regress_stage(self, layer: str | None, steps: int) -> Stage:
        """The student's layer (None: its heads) with the adaption module of the layer before, which is then folded."""
        before = self.before(layer)
        trains = list(self.between(before, layer))
        finish, folded = None, []
        if before is not None and self.config.adaption:
            trains.append(self.adaptions[before])
            finish, folded = partial(self.fold, layer=before), [self.student.segments[before], self.adaptions[before]]
        return Stage(
            name=f"regress {layer or 'scores'}",
            forward=partial(self.regress, layer=layer),
            trains=tuple(trains),
            steps=steps,
            weights={"regression": 1.0},
            rates=(self.config.regress_rate,) * len(trains),
            begin=partial(self.to_scale, layer=layer) if layer is not None and self.config.adaption else None,
            finish=finish,
            changes=tuple(folded),
        )

    def to_scale(self, batches: Batches, *, layer: str) -> None:
        """The layer's last module puts out the code's mean and deviation a channel from the first step on.

        Ours: a fresh layer puts out values of another size than the code, and learning the size alone takes hundreds
        of steps at the rate the rest can bear.
        """
        linear, norm = linear_end(layer, self.student.segments[layer])
        mean, covariance = moments(self.code(batch, layer) for batch in batches())
        if norm is not None:
            assign(norm.weight, covariance.diagonal().clamp_min(0).sqrt())
            assign(norm.bias, mean)
            return
        now, spread = moments(to_map(self.onward(batch, layer)) for batch in batches())
        factor = (covariance.diagonal() / spread.diagonal().clamp_min(1e-12)).clamp_min(0).sqrt()
        assert linear.bias is not None
        assign(linear.bias, (linear.bias.double() - now) * factor + mean)
        assign(linear.weight, linear.weight.double() * factor.view(-1, *(1,) * (linear.weight.ndim - 1)))

    def regress(self, batch: Batch, *, layer: str | None) -> StepOutput:
        """‖F_a^l − F̂_a^l‖², F̂ from the code of the layer before; for the heads the same with the stacked scores."""
        if layer is None:
            logits = self.of_teaching(self.heads(self.onward(batch, None)))
            target = self.taught.stack({name: o.logits for name, o in batch.teachers.items()})
            error = functional.mse_loss(logits, target)
            spread = target.var(dim=0, unbiased=False).mean().clamp_min(1e-8)
            return StepOutput({"regression": error, "unexplained": error / spread})
        with torch.no_grad():
            target = self.code(batch, layer)
        regressed = to_map(self.onward(batch, layer))
        error = functional.mse_loss(regressed, target)
        return StepOutput(
            {"regression": error, "unexplained": error / variance(target)},
            lambda: {f"code/{layer}": target.mean(dim=(2, 3)), f"regressed/{layer}": regressed.mean(dim=(2, 3))},
        )

    def onward(self, batch: Batch, layer: str | None) -> Tensor:
        """The code of the layer before (or the images) through its adaption module and the student's next segments."""
        before = self.before(layer)
        with torch.no_grad():
            feature = self.input_of(batch.images) if before is None else self.code(batch, before)
        if before is not None:
            feature = self.adapted(before, feature)
        for module in self.between(before, layer, heads=False):
            feature = module(feature)
        return feature

    def fold(self, batches: Batches, *, layer: str) -> None:
        """W'_i = Σ_j A_ij W_j, b'_i = a_i + Σ_j A_ij b_j; the adaption module is the identity from here on."""
        linear, norm = linear_end(layer, self.student.segments[layer])
        adaption = self.adaptions[layer]
        assert isinstance(adaption, nn.Conv2d)
        inputs: list[Tensor] = []
        hook = linear.register_forward_hook(lambda _module, given, _output: inputs.append(given[0]))

        def seen() -> Iterator[Tensor]:
            for batch in batches():
                inputs.clear()
                self.student(batch.images)
                yield inputs[0]

        try:
            fold(linear, norm, adaption, seen)
        finally:
            hook.remove()
        adaption.load_state_dict(identity(adaption.in_channels).state_dict())

    # 3. Joint.

    def joint(self, batch: Batch) -> StepOutput:
        """‖z_S − [z_1; …; z_N]‖², or another soft target, end to end."""
        student = self.student(batch.images)
        return StepOutput({"soft": self.soft_target(student.logits, batch)}, student=student)

    # What the student is made of.

    def before(self, layer: str | None) -> str | None:
        """The chosen layer before this one (None: the images; of None: the last)."""
        if layer is None:
            return self.layers[-1]
        index = self.layers.index(layer)
        return self.layers[index - 1] if index else None

    def between(self, before: str | None, layer: str | None, *, heads: bool = True) -> Iterator[nn.Module]:
        """The student's segments after ``before`` up to ``layer``; with None all to the end, and the heads."""
        names = list(self.student.segments)
        start = 0 if before is None else names.index(before) + 1
        end = len(names) if layer is None else names.index(layer) + 1
        for name in names[start:end]:
            yield self.student.segments[name]
        if layer is None and heads:
            yield self.student.heads

    def input_of(self, images: Map) -> Tensor:
        """What the first segment is given."""
        return images if self.student.preprocess is None else self.student.preprocess(images)

    def heads(self, feature: Tensor) -> Float[Tensor, "batch column"]:
        """The logits of all heads."""
        return torch.cat([head(feature) for head in self.student.heads.values()], dim=1)

    def adapted(self, layer: str, feature: Tensor) -> Tensor:
        """The feature (or code) of a layer through its adaption module, as the next segment takes it."""
        if layer in self.adaptions:
            feature = self.adaptions[layer](to_map(feature))
        return feature.flatten(1) if self.vectors[layer] else feature

    def outputs(self, images: Map) -> Outputs:
        """The student with the adaption modules that are not folded yet: the identity before and after their stage."""
        if not self.adaptions:
            return self.student(images)
        feature = self.input_of(images)
        features = {}
        for name, segment in self.student.segments.items():
            feature = segment(feature)
            if name in self.layers:
                feature = self.adapted(name, feature)
            features[name] = to_map(feature.clone() if self.student.in_place else feature)
        return Outputs(self.heads(feature), features)

    def code(self, batch: Batch, layer: str) -> Map:
        """F_a^l."""
        return self.compressor(layer).code(self.features(batch.teachers, layer))
