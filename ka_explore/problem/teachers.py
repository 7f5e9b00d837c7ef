"""Teachers: frozen nets with named layers, one task and its labels."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ka_explore.errors import InputError
from ka_explore.problem.fingerprint import code_of, described, module_digest, settings_of
from ka_explore.problem.layers import Outputs, find_layers, forward, layers_of, layout_of, logits_of, read_logits
from ka_explore.problem.preprocess import Preprocess as Preprocess  # also found here


class Teacher:
    """A frozen pretrained classifier: eval mode, no gradients, hooks that live for one call.

    Args:
        name: how every table and picture calls it; unique in a problem.
        module: any eager ``nn.Module``. It is frozen in place: eval mode, ``requires_grad`` off.
        layers: names from ``named_modules()`` to look at, from early to late; the last is "the feature".
            A mapping gives a layout by name (``{"layers.3": "NHWC"}``), see `ka_explore.problem.layers.to_map`.
        blocks: the layers that methods which go block by block (layer-wise, adaptive) match to the student's, one
            for one, from early to late; their papers take features before the activation. By default ``layers``.
        labels: its class names, in the order of its logits.
        task: what the labels answer; teachers of one task share a label space.
        read: from what the module returns to its logits; `logits_of` reads the usual kinds.
        preprocess: from the pool's images to the module's input; a `Preprocess` or any function.

    A net with two heads is two teachers that share a module, each with its ``read``.

    Attributes:
        feature_layer: the last of ``layers``: "the feature" of methods that take one a net.
        layers: all named layers, blocks among them, with their layouts.

    Raises:
        InputError: for unknown layers, no labels or labels that repeat; when called, for logits that do
            not fit the labels.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        *,
        layers: Sequence[str] | Mapping[str, str],
        blocks: Sequence[str] | Mapping[str, str] | None = None,
        labels: Sequence[object],
        task: str = "class",
        read: Callable[[Any], Tensor] = logits_of,
        preprocess: Callable[[Tensor], Tensor] | None = None,
    ):
        self.name = str(name)
        if not self.name or "/" in self.name:
            raise InputError(f"a teacher's name must be text without '/', got {self.name!r}.")
        if self.name == "student":
            raise InputError("a teacher cannot be called 'student': that is the net being trained.")
        for what, names in (("layers", layers), ("blocks", blocks)):
            if isinstance(names, str):
                raise InputError(f"{what} of {self.name!r} must be a list of names, got the text {names!r}.")
        self.layers = layout_of(layers)
        if not self.layers:
            raise InputError(f"teacher {self.name!r} names no layer: Teacher.layers_of(module, images) lists them.")
        self.feature_layer = list(self.layers)[-1]
        own = layout_of(blocks) if blocks else self.layers
        self.blocks = tuple(own)
        self.layers = self.layers | {name: layout for name, layout in own.items() if name not in self.layers}
        find_layers(repr(self.name), module, list(self.layers))
        self.module = module.eval().requires_grad_(False)
        self.labels = tuple(str(label) for label in labels)
        if len(set(self.labels)) < len(self.labels) or not self.labels:
            raise InputError(f"labels of {self.name!r} must be different and at least one, got {self.labels}.")
        self.task = str(task)
        self.read = read
        self.preprocess = preprocess

    def __call__(self, images: Float[Tensor, "batch channel height width"]) -> Outputs:
        """Logits and named features of a batch of the pool's images; no gradients."""
        return self.answer(self.run(images, self.layers))

    def run(self, images: Tensor, layers: Mapping[str, str]) -> "Raw":
        """One frozen forward where the images are, not yet read: teachers that share a module share it."""
        if next((p.device for p in self.module.parameters()), images.device) != images.device:
            self.module.to(images.device)
        if any(layer.training for layer in self.module.modules()):
            self.module.eval()
        with torch.no_grad():
            inputs = images if self.preprocess is None else self.preprocess(images)
            return Raw(*forward(f"teacher {self.name!r}", self.module, inputs, layers), len(images))

    def answer(self, raw: "Raw") -> Outputs:
        """This teacher's reading of one forward of its module."""
        logits = read_logits(f"teacher {self.name!r}", self.read, raw.output, raw.batch, len(self.labels))
        return Outputs(logits.float(), {layer: f.float() for layer, f in raw.features.items() if layer in self.layers})

    layers_of = staticmethod(layers_of)

    @property
    def fingerprint(self) -> str:
        """Of weights, structure, layers, labels and preprocessing: the same on every machine."""
        told = [self.layers, self.feature_layer, self.blocks, self.labels, self.task]
        told += [described(self.read), described(self.preprocess)]
        return hashlib.sha256(json.dumps(told).encode() + module_digest(self.module)).hexdigest()[:16]

    @property
    def cache_key(self) -> str:
        """The fingerprint and the code that runs: an edited forward must not meet answers of the old one."""
        things = [type(module) for module in self.module.modules()] + [self.read, self.preprocess]
        code = "".join(sorted({code_of(thing) for thing in things}))
        settings = "".join(settings_of(module) for module in self.module.modules())
        return hashlib.sha256((self.fingerprint + code + settings).encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Teacher({self.name!r}, task={self.task!r}, labels={len(self.labels)}, layers={list(self.layers)})"


class Raw(NamedTuple):
    """One forward of a teacher's module: what it returned, its tapped features, and of how many images."""

    output: Any
    features: Mapping[str, Tensor]
    batch: int


def rebuilt(old: Teacher, **changes: Any) -> Teacher:
    """The teacher with something else about it: any of its arguments."""
    same = {name: getattr(old, name) for name in ("name", "module", "labels", "task", "read", "preprocess")}
    own = list(old.layers)[: list(old.layers).index(old.feature_layer) + 1]  # what blocks alone are comes behind
    named = {"layers": {n: old.layers[n] for n in own}, "blocks": {n: old.layers[n] for n in old.blocks}}
    return Teacher(**same | named | changes)
