"""Teachers: frozen nets with named layers, one task and its labels."""

import hashlib
import json
from collections.abc import Callable, KeysView, Mapping, Sequence, ValuesView
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ka_explore.errors import InputError, KaError, brief, checked, fits, short, theirs, told
from ka_explore.problem.fingerprint import code_of, described, module_digest, settings_of
from ka_explore.problem.layers import (
    Outputs,
    as_taken,
    binary_logits_of,
    check_loaded,
    find_layers,
    forward,
    layers_of,
    layout_of,
    logits_of,
    read_logits,
)
from ka_explore.problem.preprocess import Preprocess as Preprocess  # also found here
from ka_explore.problem.preprocess import as_written, check_images
from ka_explore.problem.processors import is_processor


class Teacher:
    """A frozen pretrained classifier: eval mode, no gradients, hooks that live for one call.

    Args:
        name: how every table and picture calls it; unique in a problem.
        module: any eager ``nn.Module``, in any precision. It is frozen in place: eval mode, ``requires_grad`` off.
        layers: names from ``named_modules()`` to look at, from early to late; the last is "the feature".
            A mapping gives a layout by name (``{"layers.3": "NHWC"}``), see `ka_explore.problem.layouts.to_map`.
        blocks: the layers that methods which go block by block (layer-wise, adaptive) match to the student's, one
            for one, from early to late; their papers take features before the activation. By default ``layers``.
        labels: its class names, two or more, in the order of its logits; or a mapping from index to name, as the
            ``id2label`` of transformers.
        task: what the labels answer; teachers of one task share a label space.
        read: from what the module returns to its logits; `logits_of` reads the usual kinds,
            ``Teacher.binary_logits_of`` one logit for a sigmoid.
        preprocess: from the pool's images to the module's input; a `Preprocess`, any function, or an image processor
            of transformers, of which a `Preprocess` is made.
        prefix_tokens: how many tokens of its layers (class token, registers) stand before the patches; None takes it
            from the module where that says so, and from the number of tokens otherwise.

    A net with two heads is two teachers that share a module, each with its ``read``.

    Attributes:
        feature_layer: the last of ``layers``: "the feature" of methods that take one a net.
        layers: all named layers, blocks among them, with their layouts.

    Raises:
        InputError: for unknown layers, fewer than two labels or labels that repeat, a module that is not eager or
            has no weights yet; when called, for logits that do not fit the labels, images that it cannot take and
            layers whose layout cannot be told.
    """

    @checked
    def __init__(
        self,
        name: str,
        module: Any,
        *,
        layers: Sequence[str] | Mapping[str, str],
        blocks: Sequence[str] | Mapping[str, str] | None = None,
        labels: Any,
        task: str = "class",
        read: Callable[[Any], Tensor] = logits_of,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        prefix_tokens: int | None = None,
    ):
        self.name = name
        if not self.name or "/" in self.name:
            raise InputError(f"a teacher's name must be text without '/', got {self.name!r}.")
        if self.name == "student":
            raise InputError("a teacher cannot be called 'student': that is the net being trained.")
        if prefix_tokens is not None and prefix_tokens < 0:
            raise InputError(f"prefix_tokens of {name!r} must be 0 or more, got {prefix_tokens}.")
        self.layers = layout_of(layers, prefix_tokens)
        if not self.layers:
            raise InputError(f"teacher {self.name!r} names no layer: Teacher.layers_of(module, images) lists them.")
        self.feature_layer = list(self.layers)[-1]
        own = layout_of(blocks, prefix_tokens) if blocks else self.layers
        self.blocks = tuple(own)
        self.layers = self.layers | {name: layout for name, layout in own.items() if name not in self.layers}
        find_layers(repr(self.name), module, list(self.layers))
        check_loaded(repr(self.name), module)
        self.labels = class_names(self.name, labels)
        self.task = task
        self.read = read
        self.preprocess = Preprocess.from_processor(preprocess) if is_processor(preprocess) else preprocess
        theirs(f"eval mode of {self.name!r}", module.eval)
        self.module: nn.Module = module.requires_grad_(False)

    def __call__(self, images: Float[Tensor, "batch channel height width"]) -> Outputs:
        """Logits and named features of a batch of the pool's images; no gradients."""
        check_images(images)
        try:
            raw = self.run(images, self.layers)
        except (KaError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise InputError(
                f"teacher {self.name!r} cannot take images of shape {tuple(images.shape[1:])} (channel, height, width)"
                f": {short(str(error), 500)} Give it preprocess=Preprocess(size=…, channels=…, mean=…, std=…)."
            ) from error
        return self.answer(raw)

    def run(self, images: Tensor, layers: Mapping[str, str]) -> "Raw":
        """One frozen forward where the images are, not yet read: teachers that share a module share it."""
        if next((p.device for p in self.module.parameters()), images.device) != images.device:
            self.module.to(images.device)
        if any(layer.training for layer in self.module.modules()):
            self.module.eval()
        with torch.no_grad():
            return Raw(*forward(f"teacher {self.name!r}", self.module, self.inputs(images), layers), len(images))

    def inputs(self, images: Tensor) -> Any:
        """What the module is given for images of the pool: preprocessed, in the type of its weights."""
        made: Any = images
        if self.preprocess is not None:
            made = theirs(f"preprocess of teacher {self.name!r}", self.preprocess, images)
        if made is None or isinstance(made, np.ndarray):
            raise InputError(f"preprocess of teacher {self.name!r} returned {told(made)}: expected a tensor of images.")
        return as_taken(self.module, made)

    def answer(self, raw: "Raw") -> Outputs:
        """This teacher's reading of one forward of its module."""
        logits = read_logits(f"teacher {self.name!r}", self.read, raw.output, raw.batch, len(self.labels))
        return Outputs(logits.float(), {layer: f.float() for layer, f in raw.features.items() if layer in self.layers})

    layers_of = staticmethod(layers_of)
    binary_logits_of = staticmethod(binary_logits_of)

    @property
    def fingerprint(self) -> str:
        """Of weights, structure, layers, labels and preprocessing: the same on every machine."""
        held = [self.layers, self.feature_layer, self.blocks, self.labels, self.task]
        held += [described(self.read), described(self.preprocess)]
        return hashlib.sha256(json.dumps(held).encode() + module_digest(self.module)).hexdigest()[:16]

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


def class_names(teacher: str, labels: Any) -> tuple[str, ...]:
    """Names of classes in the order of the logits, of a sequence or of a mapping from index to name.

    Raises InputError for what is neither, for names that repeat, and for fewer than two.
    """
    given, labels = labels, as_written(labels)
    if isinstance(labels, Mapping):
        numbers = {int(key): name for key, name in labels.items() if str(key).isdecimal()}
        complete = sorted(numbers) == list(range(len(labels)))
        labels = [numbers[i] for i in range(len(numbers))] if complete else None
    if isinstance(labels, (KeysView, ValuesView)):
        labels = list(labels)
    if not fits(labels, Sequence[str | int] | str) or isinstance(labels, (bytes, bytearray)):
        raise InputError(
            f"labels of {teacher!r} must be class names in the order of the logits, or a mapping from every index, "
            f"from 0, to its name (id2label), got {brief(given)}."
        )
    names = tuple(str(label) for label in labels)
    if len(set(names)) < len(names) or not names:
        raise InputError(f"labels of {teacher!r} must be different and at least one, got {brief(names)}.")
    if len(names) == 1:
        raise InputError(
            f"{teacher!r} has the one label {names[0]!r}, and a single column has no softmax. Give a net with one "
            "logit for a sigmoid two labels, labels=['no', 'yes'], and read=Teacher.binary_logits_of."
        )
    return names


def rebuilt(old: Teacher, **changes: Any) -> Teacher:
    """The teacher with something else about it: any of its arguments."""
    same = {name: getattr(old, name) for name in ("name", "module", "labels", "task", "read", "preprocess")}
    own = list(old.layers)[: list(old.layers).index(old.feature_layer) + 1]  # what blocks alone are comes behind
    named = {"layers": {n: old.layers[n] for n in own}, "blocks": {n: old.layers[n] for n in old.blocks}}
    return Teacher(**same | named | changes)
