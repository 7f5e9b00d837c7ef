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

``training="one_stage"`` is another method under the same roof: the student's own features are paired with the code
while everything trains at once (KamalEngine's form, ``form="kamal"``). It is strong when unlabelled images are few.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ka_explore.errors import InputError, unknown
from ka_explore.methods.base import AmalgamationConfig, Batches, Method, Stage, StepOutput, share_of
from ka_explore.methods.compress import Compressor, Map, moments
from ka_explore.methods.config import TrainingConfig, option
from ka_explore.methods.fold import assign, fold, linear_end
from ka_explore.methods.losses import SoftTarget, channel_error, variance
from ka_explore.problem.layers import Outputs, to_map
from ka_explore.problem.pool import Batch
from ka_explore.problem.problem import Problem
from ka_explore.problem.student import Chain


@dataclass(frozen=True)
class LayerWiseConfig(AmalgamationConfig):
    """Options of `LayerWise`; "lab's code" is the public code of the paper's group, "KamalEngine" their later form."""

    training: Literal["staged", "one_stage"] = option(
        "staged", "staged: compress, regress, fine-tune (the paper); one_stage: all at once, features paired"
    )
    layers: tuple[str, ...] = option((), "the student's layers that regress a code; none named: all its blocks")
    amalgamation: Literal["autoencoder", "pca"] = option(
        "pca", "how features are compressed: a linear auto-encoder is trained, or its optimum in closed form"
    )
    order: Literal["direct", "incremental"] = option(
        "direct", "teachers compressed all at once, or one after the other"
    )
    adaption: bool = option(True, "feature adaption modules, folded into the convolutions once a layer is learned")
    soft_target: SoftTarget = option(
        "stacked",
        "of the joint stage: score_distance: squared distance of the logits (the paper); stacked, restricted, "
        "joint_posterior: cross-entropies",
    )
    temperature: float = option(
        0.5, "divides the logits of teacher and student in the joint stage", low=0.05, high=100.0, log=True
    )
    compress_share: float = option(0.15, "share of the steps that compress, all layers together", low=0.0, high=1.0)
    regress_share: float = option(0.35, "share of the steps that regress, all layers together", low=0.0, high=1.0)
    compress_rate: float = option(
        10.0, "factor on the learning rate of the auto-encoders", low=0.0, high=1000.0, log=True
    )
    regress_rate: float = option(
        3.0, "factor on the learning rate of the layer-wise regression", low=0.0, high=1000.0, log=True
    )
    soft_weight: float = option(1.0, "one stage: weight of the soft target", low=0.0, high=1000.0, log=True)
    feature_weight: float = option(
        1.0, "one stage: weight of the distance to the codes, sum over layers", low=0.0, high=1000.0, log=True
    )
    reconstruction_weight: float = option(
        1.0, "one stage: weight of the auto-encoders' error, sum over layers", low=0.0, high=1000.0, log=True
    )
    feature_error: Literal["relative", "mean"] = option(
        "relative",
        "one stage: squared errors divided by the code's (or feature's) variance (ours), or their plain mean "
        "(KamalEngine)",
    )


class LayerWise(Method):
    """Layer-wise amalgamation (Shen, AAAI 2019): compress, regress, fold, fine-tune."""

    Config = LayerWiseConfig
    config: LayerWiseConfig
    needs_features = True
    forms: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"amalgamation": "autoencoder", "soft_target": "score_distance"},
        "incremental": {"order": "incremental"},
        "without_adaption": {"adaption": False},
        "paired": {
            "training": "one_stage", "temperature": 4.0, "feature_weight": 3.0,
        },
        "kamal": {
            "training": "one_stage", "amalgamation": "autoencoder", "temperature": 1.0, "feature_error": "mean",
            "learning_rate": 1e-3,
        },
    }  # fmt: skip

    def __init__(self, problem: Problem, config: TrainingConfig):
        super().__init__(problem, config)
        options = self.config
        blocks = self.student.blocks
        self.check_blocks("layer-wise amalgamation")
        for layer in options.layers:
            if layer not in blocks:
                raise unknown("layer", layer, blocks, where=" of the student")
        self.layers = tuple(block for block in blocks if block in (options.layers or blocks))
        sample = problem.pool.images[:2]
        self.shapes = {name: f.shape[1:] for name, f in self.student(sample).features.items()}
        self.vectors = self.check_student(sample) if options.training == "staged" else {}
        self.compressors = nn.ModuleDict(
            {
                layer: Compressor(
                    [
                        self.fits(teacher.name, layer, problem.examples[teacher.name].features[name])
                        for teacher in map(problem.teacher, self.teaching)
                        for name in [self.block_of(teacher.name, layer)]
                    ],
                    self.shapes[layer][0],
                    order=options.order,
                )
                for layer in self.layers
            }
        )
        self.adaptions = nn.ModuleDict(
            {layer: identity(self.shapes[layer][0]) for layer in self.layers} if options.adaption else {}
        )
        self.weights = {
            "soft": options.soft_weight,
            "feature": options.feature_weight,
            "reconstruction": 0.0 if options.amalgamation == "pca" else options.reconstruction_weight,
        }
        self.balancer("joint", self.weights if options.training == "one_stage" else {})

    # The table of contents.

    def stages(self) -> Sequence[Stage]:
        """Compress every layer, regress every layer and the scores, train end to end; or the one stage."""
        if self.config.training == "one_stage":
            return [self.balanced(self.one_stage())]
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

    def teacher_layers(self) -> Mapping[str, Sequence[str]]:
        """The blocks of every teacher that teaches which are matched to the student's layers."""
        return {name: [self.block_of(name, layer) for layer in self.layers] for name in self.teaching}

    def feature_module(self, stage: Stage) -> nn.Module:  # noqa: ARG002
        """The student's last layer that regresses a code."""
        return self.student.module_of(self.layers[-1])

    # 1. Compress.

    def compress_stage(self, layer: str, level: int, steps: int) -> Stage:
        """A linear auto-encoder is trained, or the principal components are taken at once."""
        compressor = self.compressor(layer)
        name = f"compress {layer}"
        if compressor.levels > 1:
            name += f" with {self.teaching[compressor.groups[level][-1]]}"
        forward = partial(self.compress, layer=layer, level=level)
        parts = (compressor.encoders[level], compressor.decoders[level])
        if self.config.amalgamation == "pca":
            begin = partial(self.take_components, layer=layer, level=level)
            return Stage(name, forward, (), steps, begin=begin, changes=parts)
        return Stage(name, forward, parts, steps, (self.config.compress_rate,) * 2)

    def compress(self, batch: Batch, *, layer: str, level: int) -> StepOutput:
        """L_amal of a layer: mean squared error of what the decoder gives back."""
        compressor, features = self.compressor(layer), self.features(batch, layer)
        stacked = compressor.stacked(features, level)
        code = compressor.encoders[level](stacked)
        loss = functional.mse_loss(compressor.decoders[level](code), stacked)
        tensors: dict[str, Tensor] = {}
        if not torch.is_grad_enabled():
            rebuilt = compressor.rebuilt(compressor.code(features))
            tensors = self.errors(rebuilt, features) | {f"code/{layer}": code.mean(dim=(2, 3))}
        return StepOutput(loss, {"reconstruction": loss, "unexplained": loss / variance(stacked)}, tensors)

    def take_components(self, batches: Batches, *, layer: str, level: int) -> None:
        """Encoder and decoder become the principal components of the stacked channels over the whole pool."""
        compressor = self.compressor(layer)
        compressor.solve(level, (compressor.stacked(self.features(batch, layer), level) for batch in batches()))

    # 2. Regress, then fold.

    def regress_stage(self, layer: str | None, steps: int) -> Stage:
        """The student's layer (None: its heads) with the adaption module of the layer before, which is then folded."""
        before = self.before(layer)
        trains = list(self.between(before, layer))
        finish, folded = None, []
        if before is not None and self.config.adaption:
            trains.append(self.adaptions[before])
            finish, folded = partial(self.fold, layer=before), [self.chain.segments[before], self.adaptions[before]]
        return Stage(
            name=f"regress {layer or 'scores'}",
            forward=partial(self.regress, layer=layer),
            trains=tuple(trains),
            steps=steps,
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
        linear, norm = linear_end(layer, self.chain.segments[layer])
        mean, covariance = moments(self.code(batch, layer) for batch in batches())
        if norm is not None:
            assign(norm.weight, covariance.diagonal().clamp_min(0).sqrt())
            assign(norm.bias, mean)
            return
        now, spread = moments(self.regressed(batch, layer) for batch in batches())
        factor = (covariance.diagonal() / spread.diagonal().clamp_min(1e-12)).clamp_min(0).sqrt()
        assert linear.bias is not None
        assign(linear.bias, (linear.bias.double() - now) * factor + mean)
        assign(linear.weight, linear.weight.double() * factor.view(-1, *(1,) * (linear.weight.ndim - 1)))

    def regress(self, batch: Batch, *, layer: str | None) -> StepOutput:
        """‖F_a^l − F̂_a^l‖², F̂ from the code of the layer before; for the heads the same with the stacked scores."""
        if layer is None:
            logits = self.of_teaching(self.heads(self.onward(batch, None)))
            target = self.taught.stack({name: o.logits for name, o in batch.teachers.items()})
            loss = functional.mse_loss(logits, target)
            spread = target.var(dim=0, unbiased=False).mean().clamp_min(1e-8)
            return StepOutput(loss, {"regression": loss, "unexplained": loss / spread}, {})
        with torch.no_grad():
            target = self.code(batch, layer)
        regressed = self.regressed(batch, layer)
        loss = functional.mse_loss(regressed, target)
        tensors: dict[str, Tensor] = {}
        if not torch.is_grad_enabled():
            tensors = {f"code/{layer}": target.mean(dim=(2, 3)), f"regressed/{layer}": regressed.mean(dim=(2, 3))}
        return StepOutput(loss, {"regression": loss, "unexplained": loss / variance(target)}, tensors)

    def regressed(self, batch: Batch, layer: str) -> Map:
        """F̂_a^l."""
        return to_map(self.onward(batch, layer))

    def onward(self, batch: Batch, layer: str | None) -> Tensor:
        """The code of the layer before (or the images) through its adaption module and the student's next segments."""
        before = self.before(layer)
        if before is None:
            feature = self.input_of(batch.images)
        else:
            with torch.no_grad():
                code = self.code(batch, before)
            feature = self.adapted(before, code)
        for module in self.between(before, layer, heads=False):
            feature = module(feature)
        return feature

    def fold(self, batches: Batches, *, layer: str) -> None:
        """W'_i = Σ_j A_ij W_j, b'_i = a_i + Σ_j A_ij b_j; the adaption module is the identity from here on."""
        linear, norm = linear_end(layer, self.chain.segments[layer])
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
        logits = self.student(batch.images).logits
        soft = self.soft_target(logits, batch, kind=self.config.soft_target, temperature=self.config.temperature)
        return StepOutput(soft, {"soft": soft}, {}, partial(self.soft_parts, logits, batch))

    # All at once.

    def one_stage(self) -> Stage:
        """Student, adaption modules (thrown away afterwards) and auto-encoders together."""
        trains: list[nn.Module] = [self.student]
        if self.weights["feature"]:
            trains += self.adaptions.values()
        if self.weights["reconstruction"]:
            trains += self.compressors.values()
        stage = Stage("joint", self.paired, tuple(trains), self.config.steps)
        if self.config.amalgamation == "pca":
            return replace(stage, begin=self.take_all_components, changes=(self.compressors,))
        return stage

    def take_all_components(self, batches: Batches) -> None:
        """The principal components of every layer."""
        for layer in self.layers:
            for level in range(self.compressor(layer).levels):
                self.take_components(batches, layer=layer, level=level)

    def paired(self, batch: Batch) -> StepOutput:
        """L = soft target + Σ_l ‖FAM^l(F_S^l) − F_a^l‖² + Σ_l ‖[F_1^l; …] − Dec^l(F_a^l)‖², codes detached."""
        student = self.student(batch.images)
        soft = self.soft_target(
            student.logits, batch, kind=self.config.soft_target, temperature=self.config.temperature
        )
        features, reconstructions = [], []
        tensors: dict[str, Tensor] = {}
        for layer in self.layers:
            compressor, own = self.compressor(layer), self.features(batch, layer)
            code = compressor.code(own)
            stacked = torch.cat(own, dim=1)
            rebuilt = compressor.rebuilt(code)
            adapted = student.features[layer]
            if layer in self.adaptions:
                adapted = self.adaptions[layer](adapted)
            features.append(self.error(adapted, code.detach()))
            reconstructions.append(self.error(torch.cat(rebuilt, dim=1), stacked))
            if not torch.is_grad_enabled():
                tensors |= {f"code/{layer}": code.mean(dim=(2, 3)), f"regressed/{layer}": adapted.mean(dim=(2, 3))}
                tensors |= self.errors(rebuilt, own)
        terms = {
            "soft": soft,
            "feature": torch.stack(features).sum(),
            "reconstruction": torch.stack(reconstructions).sum(),
        }
        # L = w_C L_C + w_F L_F + w_R L_R
        loss = self.total("joint", {name: (self.weights[name], term) for name, term in terms.items()})
        return StepOutput(loss, terms, tensors, partial(self.soft_parts, student.logits, batch))

    def error(self, given: Map, target: Map) -> Float[Tensor, ""]:
        """Mean squared error, divided by the target's variance unless the options ask for the plain mean."""
        error = functional.mse_loss(given, target)
        return error / variance(target.detach()) if self.config.feature_error == "relative" else error

    # What the student is made of.

    @property
    def chain(self) -> Chain:
        """The student; staged training needs its segments."""
        assert isinstance(self.student, Chain)
        return self.student

    def check_student(self, images: Tensor) -> dict[str, bool]:
        """By layer, whether its output is a vector. Raises InputError for a student that cannot be taught so."""
        if not isinstance(self.student, Chain):
            raise InputError(
                "layer-wise regression trains a student segment by segment: make it with Student.chain, or use "
                "training='one_stage', which takes any student."
            )
        vectors = {}
        feature = self.input_of(images)
        for name, segment in self.student.segments.items():
            feature = segment(feature)
            if name in self.layers:
                if feature.ndim not in (2, 4):
                    raise InputError(
                        f"layer {name!r} of the student puts out {tuple(feature.shape)}: layer-wise regression takes "
                        "maps (batch, channel, height, width) and vectors (batch, channel)."
                    )
                vectors[name] = feature.ndim == 2
                if self.config.adaption:
                    linear_end(name, segment)
        return vectors

    def before(self, layer: str | None) -> str | None:
        """The chosen layer before this one (None: the images; of None: the last)."""
        if layer is None:
            return self.layers[-1]
        place = self.layers.index(layer)
        return self.layers[place - 1] if place else None

    def between(self, before: str | None, layer: str | None, *, heads: bool = True) -> Iterator[nn.Module]:
        """The student's segments after ``before`` up to ``layer``; with None all to the end, and the heads."""
        names = list(self.chain.segments)
        start = 0 if before is None else names.index(before) + 1
        end = len(names) if layer is None else names.index(layer) + 1
        for name in names[start:end]:
            yield self.chain.segments[name]
        if layer is None and heads:
            yield self.chain.heads

    def input_of(self, images: Map) -> Tensor:
        """What the first segment is given."""
        return images if self.chain.preprocess is None else self.chain.preprocess(images)

    def heads(self, feature: Tensor) -> Float[Tensor, "batch column"]:
        """The logits of all heads."""
        return torch.cat([head(feature) for head in self.chain.heads.values()], dim=1)

    def adapted(self, layer: str, feature: Tensor) -> Tensor:
        """The feature (or code) of a layer through its adaption module, as the next segment takes it."""
        if layer in self.adaptions:
            feature = self.adaptions[layer](to_map(feature))
        return feature.flatten(1) if self.vectors[layer] else feature

    def outputs(self, images: Map) -> Outputs:
        """The student with the adaption modules that are not folded yet: the identity before and after their stage."""
        if self.config.training == "one_stage" or not self.adaptions:
            return self.student(images)
        feature = self.input_of(images)
        features = {}
        for name, segment in self.chain.segments.items():
            feature = segment(feature)
            if name in self.layers:
                feature = self.adapted(name, feature)
            features[name] = to_map(feature.clone() if self.chain.in_place else feature)
        return Outputs(self.heads(feature), features)

    # The teachers' side.

    def compressor(self, layer: str) -> Compressor:
        """The auto-encoder of a layer."""
        found = self.compressors[layer]
        assert isinstance(found, Compressor)
        return found

    def block_of(self, teacher: str, layer: str) -> str:
        """Which block of a teacher stands against a layer of the student."""
        return self.problem.teacher(teacher).blocks[self.student.blocks.index(layer)]

    def fits(self, teacher: str, layer: str, feature: Map) -> int:
        """The channels of a teacher's feature. Raises InputError when its map is smaller than the student's."""
        size = self.shapes[layer][1:]
        if feature.shape[2] < size[0] or feature.shape[3] < size[1]:
            raise InputError(
                f"layer {layer!r}: teacher {teacher!r} has maps of {feature.shape[2]}×{feature.shape[3]}, the student "
                f"of {size[0]}×{size[1]}. Larger maps are averaged to the student's size; a smaller one holds less "
                "than the student must regress: match an earlier block of the teacher, with Teacher(blocks=[…])."
            )
        return feature.shape[1]

    def features(self, batch: Batch, layer: str) -> list[Map]:
        """F_i^l of every teacher that teaches, averaged to the student's size."""
        size = tuple(self.shapes[layer][1:])
        raw = [batch.teachers[name].features[self.block_of(name, layer)] for name in self.teaching]
        return [f if tuple(f.shape[2:]) == size else functional.adaptive_avg_pool2d(f, size) for f in raw]

    def code(self, batch: Batch, layer: str) -> Map:
        """F_a^l."""
        return self.compressor(layer).code(self.features(batch, layer))

    def errors(self, rebuilt: Sequence[Map], features: Sequence[Map]) -> dict[str, Tensor]:
        """Reconstruction error of every teacher a sample, and a channel, relative to the feature's variance."""
        found = {}
        for name, r, f in zip(self.teaching, rebuilt, features, strict=True):
            found[f"error/{name}"] = (r - f).square().mean(dim=(1, 2, 3)) / variance(f)
            found[f"channel_error/{name}"] = channel_error(r, f)
        return found


def identity(width: int) -> nn.Conv2d:
    """A feature adaption module that does nothing yet."""
    layer = nn.Conv2d(width, width, 1)
    nn.init.dirac_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
