"""Named layers of any net: list them, tap them for one call, and bring what they put out to a map.

The only way to reach an intermediate layer that works on every eager model is ``named_modules()`` and a
forward hook. The hooks live inside a ``with``; a tapped tensor is cloned, because an in-place ReLU that
follows would change it.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import get_ident
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ka_explore.errors import InputError

LAYOUTS = ("auto", "NCHW", "NHWC", "NLC")


@dataclass(frozen=True)
class Outputs:
    """What a teacher or a student says of a batch of images.

    Attributes:
        logits: one row an image, one column a label.
        features: by layer name, as maps; tokens and vectors are made maps by `to_map`.
    """

    logits: Float[Tensor, "batch label"]
    features: Mapping[str, Float[Tensor, "batch _ _ _"]]


@dataclass(frozen=True)
class LayerInfo:
    """One line of `layers_of`: a layer's name, its type, the shape it puts out and its parameter count."""

    name: str
    kind: str
    shape: tuple[int, ...] | None
    parameters: int


class LayerList(tuple[LayerInfo, ...]):
    """The layers of a net in the order in which they run; prints as a table."""

    def __repr__(self) -> str:
        width = max([len(layer.name) for layer in self], default=4)
        lines = [f"{'layer':{width}}  {'kind':22}  {'output shape':20}  parameters"]
        for layer in self:
            shape = "-" if layer.shape is None else "×".join(map(str, layer.shape))
            lines.append(f"{layer.name:{width}}  {layer.kind:22}  {shape:20}  {layer.parameters:,}")
        return "\n".join(lines)


def logits_of(output: Any) -> Tensor:
    """The logits in what a net returned: a tensor, ``.logits``, ``["logits"]``, or a tuple's first tensor.

    Raises InputError for anything else; pass ``read=`` (a function from output to logits) for such a net.
    """
    if isinstance(output, Tensor):
        return output
    inner = getattr(output, "logits", None)
    if isinstance(inner, Tensor):
        return inner
    if isinstance(output, Mapping) and isinstance(output.get("logits"), Tensor):
        return output["logits"]
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return output[0]
    raise InputError(
        f"cannot read logits from a {type(output).__name__}: expected a tensor, an object with .logits, "
        "a dict with 'logits' or a tuple that starts with a tensor. Pass read=, a function from output to logits."
    )


def to_map(feature: Any, layout: str = "auto") -> Float[Tensor, "batch channel height width"]:
    """A layer's output as a map (batch, channel, height, width).

    Args:
        feature: a map, tokens (batch, token, channel) or vectors (batch, channel); the first tensor is
            taken out of a tuple or a model output.
        layout: ``auto`` reads 4-D as NCHW and 3-D as tokens; ``NHWC`` for maps with channels last.

    Tokens become a square map. Where their number is a square plus one, the first (the class token) is
    left out; where it is neither, they become one column of height ``token``.

    Raises InputError for a tensor of another number of axes or a type that is not floating point.
    """
    if isinstance(feature, (tuple, list)) and feature:
        feature = feature[0]
    elif not isinstance(feature, Tensor):
        feature = getattr(feature, "last_hidden_state", feature)
    if not isinstance(feature, Tensor) or not feature.is_floating_point():
        kind = str(feature.dtype) if isinstance(feature, Tensor) else type(feature).__name__
        raise InputError(f"cannot make a feature map of {kind}: expected a floating-point tensor; name another layer.")
    if feature.ndim == 4:
        return feature.permute(0, 3, 1, 2) if layout == "NHWC" else feature
    if feature.ndim == 3:
        tokens = feature.shape[1]
        if math.isqrt(tokens) ** 2 != tokens and math.isqrt(tokens - 1) ** 2 == tokens - 1 and tokens > 2:
            feature, tokens = feature[:, 1:], tokens - 1
        side = math.isqrt(tokens)
        return feature.transpose(1, 2).unflatten(2, (side, side) if side * side == tokens else (tokens, 1))
    if feature.ndim == 2:
        return feature[:, :, None, None]
    raise InputError(
        f"cannot make a feature map of shape {tuple(feature.shape)}: expected 2 axes (vector), 3 (tokens) or 4 (map)."
    )


def layout_of(layers: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """``{layer: layout}`` of a list of names or of such a mapping."""
    named = dict(layers) if isinstance(layers, Mapping) else dict.fromkeys(layers, "auto")
    wrong = {layer: layout for layer, layout in named.items() if layout not in LAYOUTS}
    if wrong:
        raise InputError(f"unknown layout {wrong}: expected one of {', '.join(LAYOUTS)}.")
    return named


def find_layers(owner: str, module: nn.Module, layers: Sequence[str]) -> dict[str, nn.Module]:
    """The named submodules. Raises InputError that lists what the module has."""
    check_eager(owner, module)
    modules = dict(module.named_modules())
    missing = [layer for layer in layers if layer not in modules or not layer]
    if missing:
        children = [name for name, _ in module.named_children()]
        raise InputError(
            f"layers of {owner} not found: {', '.join(missing)}. The module has: {', '.join(children)}. "
            "Teacher.layers_of(module, images) lists all of them."
        )
    return {layer: modules[layer] for layer in layers}


def check_eager(owner: str, module: nn.Module) -> None:
    """Raises InputError for a scripted or traced module, or one with such a part."""
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise InputError(f"{owner} is or holds a scripted module, which takes no hooks: pass the eager module.")


@contextmanager
def tap(owner: str, module: nn.Module, layers: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    """Within the ``with``: what the layers (name → layout) put out, as maps. Raises InputError where one runs twice."""
    features: dict[str, Tensor] = {}
    thread = get_ident()

    def keep(name: str, layout: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if get_ident() != thread:
                return  # runs in two threads may share a teacher: the forward of the other is none of ours
            if name in features:
                raise InputError(
                    f"layer {name!r} of {owner} runs more than once in a forward: name a module that runs once."
                )
            features[name] = to_map(output, layout).clone(memory_format=torch.channels_last)

        return hook

    with ExitStack() as hooks:
        for name, layer in find_layers(owner, module, list(layers)).items():
            hooks.enter_context(layer.register_forward_hook(keep(name, layers[name])))
        yield features


def forward(owner: str, module: nn.Module, images: Tensor, layers: Mapping[str, str]) -> tuple[Any, dict[str, Tensor]]:
    """One forward of a net: what it returned, and its named layers as maps.

    Raises InputError when a layer did not run.
    """
    with tap(owner, module, layers) as features:
        output = module(images)
    silent = [layer for layer in layers if layer not in features]
    if silent:
        raise InputError(f"layers of {owner} did not run in its forward: {', '.join(silent)}.")
    return output, {layer: features[layer] for layer in layers}


def read_logits(owner: str, read: Callable[[Any], Tensor], output: Any, images: int, labels: int) -> Tensor:
    """The logits in a net's output. Raises InputError unless they are (images, labels)."""
    logits: object = read(output)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[0] != images:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"{owner} gave {got}, expected logits of shape (batch={images}, label={labels}). "
            "Pass read=, a function from the net's output to its logits."
        )
    if logits.shape[1] != labels:
        raise InputError(
            f"{owner} gave {logits.shape[1]} logits for {labels} labels: they must be one to one, in order."
        )
    return logits


def layers_of(module: nn.Module, images: Tensor) -> LayerList:
    """Every layer of a net that can be named: name, kind, output shape and parameters, in the order they run.

    Args:
        module: any eager ``nn.Module``; its mode and weights are left as they are.
        images: an example batch as the module takes it (after preprocessing).

    Raises InputError for a scripted module.
    """
    check_eager("the module", module)
    shapes: dict[str, tuple[int, ...] | None] = {}
    names = {layer: name for name, layer in module.named_modules() if name}

    def hook(layer: nn.Module, _inputs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        shapes[names[layer]] = tuple(first.shape) if isinstance(first, Tensor) else None

    with ExitStack() as before, torch.no_grad():
        for layer in module.modules():
            before.callback(setattr, layer, "training", layer.training)
        for layer in names:
            before.enter_context(layer.register_forward_hook(hook))
        module.eval()(images)
    kinds = {name: layer for layer, name in names.items()}
    return LayerList(
        LayerInfo(name, type(kinds[name]).__name__, shape, sum(p.numel() for p in kinds[name].parameters()))
        for name, shape in shapes.items()
    )
