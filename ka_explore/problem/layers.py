"""Named layers of any net: list them, and tap them for one call.

The only way to reach an intermediate layer that works on every eager model is ``named_modules()`` and a
forward hook. The hooks live inside a ``with``; a tapped tensor is cloned, because an in-place ReLU that
follows would change it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import get_ident
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ka_explore.errors import InputError, brief, theirs, told
from ka_explore.problem.arrays import is_plain
from ka_explore.problem.layouts import Clues, watched
from ka_explore.problem.layouts import layout_of as layout_of  # also found here
from ka_explore.problem.layouts import to_map as to_map


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


def binary_logits_of(output: Any) -> Float[Tensor, "batch 2"]:
    """Two columns, 0 and z, of a net whose one logit z is meant for a sigmoid: their softmax is 1 − σ(z) and σ(z).

    For ``read=`` of a teacher with ``labels=[no, yes]``. A net that puts out σ(z) itself needs its inverse before:
    ``read=lambda output: Teacher.binary_logits_of(torch.logit(output, eps=1e-6))``.
    """
    logit = logits_of(output)
    if not is_plain(logit):
        raise InputError(f"expected one logit an image, as a plain tensor of floats, got {brief(logit)}.")
    if logit.shape[1:] not in ((), (1,)) or not logit.ndim or not logit.is_floating_point():
        raise InputError(
            f"expected one logit an image, of shape (batch) or (batch, 1), got {told(logit)} of {logit.dtype}."
        )
    return torch.stack([torch.zeros_like(logit), logit], dim=-1).flatten(1)


def as_taken(module: nn.Module, inputs: Any) -> Any:
    """The inputs in the type of the module's weights: half, bfloat16, double; anything but floats as it is."""
    kind = next((p.dtype for p in module.parameters() if p.is_floating_point()), None)
    floats = isinstance(inputs, Tensor) and inputs.is_floating_point()
    return inputs.to(kind) if kind is not None and floats else inputs


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


def check_eager(owner: str, module: object) -> None:
    """Raises InputError for what is no eager ``nn.Module``, or has a part that is scripted or traced."""
    if not isinstance(module, nn.Module):
        raise InputError(
            f"{owner} must be an eager nn.Module, got {brief(module)}. Of a class make an instance; of a file or a "
            "state dict build the net and load_state_dict them; of a pipeline take .model; of an exported program the "
            "net it was made of."
        )
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise InputError(f"{owner} is or holds a scripted module, which takes no hooks: pass the eager module.")


def check_loaded(owner: str, module: nn.Module) -> None:
    """Raises InputError for a module with weights whose shape or values are still to come."""
    for name, weights in [*module.named_parameters(), *module.named_buffers()]:
        if is_lazy(weights):
            raise InputError(f"{owner} has lazy layers ({name}): call it once on images, then load its weights.")
        if weights.is_meta:
            raise InputError(f"{owner} has no weights, {name} is on the device meta: load them before.")


@contextmanager
def tap(
    owner: str, module: nn.Module, layers: Mapping[str, str], clues: Clues | None = None
) -> Iterator[dict[str, Tensor]]:
    """Within the ``with``: what the layers (name → layout) put out, as maps.

    Raises InputError where a layer runs twice, and where it puts out what is no map.
    """
    features: dict[str, Tensor] = {}
    thread = get_ident()

    def keep(name: str, layout: str) -> Any:
        def hook(layer: nn.Module, _inputs: Any, output: Any) -> None:
            if get_ident() != thread:
                return  # runs in two threads may share a teacher: the forward of the other is none of ours
            if name in features:
                raise InputError(
                    f"layer {name!r} of {owner} runs more than once in a forward: name a module that runs once."
                )
            try:
                made = to_map(output, layout, clues, layer)
            except InputError as error:
                raise InputError(f"layer {name!r} of {owner}: {error}") from error
            features[name] = made.clone(memory_format=torch.channels_last)

        return hook

    with ExitStack() as hooks:
        for name, layer in find_layers(owner, module, list(layers)).items():
            hooks.enter_context(layer.register_forward_hook(keep(name, layers[name])))
        yield features


def forward(owner: str, module: nn.Module, images: Tensor, layers: Mapping[str, str]) -> tuple[Any, dict[str, Tensor]]:
    """One forward of a net: what it returned, and its named layers as maps.

    Raises InputError when a layer did not run.
    """
    with watched(module) as clues, tap(owner, module, layers, clues) as features:
        output = module(images)
    silent = [layer for layer in layers if layer not in features]
    if silent:
        raise InputError(f"layers of {owner} did not run in its forward: {', '.join(silent)}.")
    return output, {layer: features[layer] for layer in layers}


def read_logits(owner: str, read: Callable[[Any], Tensor], output: Any, images: int, labels: int) -> Tensor:
    """The logits in a net's output. Raises InputError unless they are (images, labels)."""
    logits: object = theirs(f"read= of {owner}", read, output)
    if isinstance(logits, Tensor) and logits.is_nested:
        raise InputError(f"{owner} gave a nested tensor, expected logits of shape (batch={images}, label={labels}).")
    if isinstance(logits, Tensor) and labels == 2 and logits.shape in ((images,), (images, 1)):
        raise InputError(
            f"{owner} gave one logit for 2 labels, and a single column has no softmax. Where it is the second label's, "
            "through a sigmoid, read=Teacher.binary_logits_of makes two columns of it; of probabilities "
            "read=lambda output: Teacher.binary_logits_of(torch.logit(output, eps=1e-6))."
        )
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[0] != images:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"{owner} gave {got}, expected logits of shape (batch={images}, label={labels}). "
            "Pass read=, a function from the net's output to its logits."
        )
    if not logits.is_floating_point() or logits.layout is not torch.strided:
        raise InputError(f"{owner} gave {logits.dtype} {logits.layout}, expected logits as a tensor of floats.")
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

    Raises InputError for what is no eager module, and for images that it cannot take.
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
        theirs("the module", module.eval(), images)
    kinds = {name: layer for layer, name in names.items()}
    return LayerList(
        LayerInfo(name, type(kinds[name]).__name__, shape, sum(p.numel() for p in kinds[name].parameters()))
        for name, shape in shapes.items()
    )
