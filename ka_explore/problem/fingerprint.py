"""Fingerprints: what tells one net, function or preprocessing from another, the same in every process.

They key the teacher cache and say which teachers a run belongs to, so two things that answer differently must
differ here, and the same thing made twice must not.
"""

import hashlib
import inspect
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def module_digest(module: nn.Module) -> bytes:
    """Hash of a module's structure and weights."""
    digest = hashlib.sha256(repr(module).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.digest()


def settings_of(module: nn.Module) -> str:
    """A module's own numbers, texts and functions, which neither its weights nor its printed form may tell.

    Not its tensors, lists and dicts: nets leave behind in these what they saw last.
    """
    plain = {n: v for n, v in vars(module).items() if isinstance(v, (int, float, str)) and n != "training"}
    own = {n: code_of(v) for n, v in vars(module).items() if hasattr(v, "__code__")}
    return repr(sorted(plain.items())) + (repr(sorted(own.items())) if own else "")


def described(thing: Any, above: tuple[Any, ...] = ()) -> str:
    """A function, an object to call or a preprocessing, by name and all it holds; ``above`` ends a circle."""

    def within(*things: Any) -> str:
        return str([described(inner, (*above, thing)) for inner in things])

    if thing is None:
        return "none"
    if any(thing is other for other in above):
        return "itself"
    if isinstance(thing, nn.Module):
        return module_digest(thing).hex()
    if isinstance(thing, (Tensor, np.ndarray)):
        array = thing.detach().cpu().float().numpy() if isinstance(thing, Tensor) else thing
        return f"{array.shape} {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}"
    if isinstance(thing, Mapping):
        return within(*thing.items())
    if isinstance(thing, (tuple, list)):
        return within(*thing)
    if isinstance(thing, partial):
        return within(thing.func, thing.args, thing.keywords)
    if isinstance(thing, (type, ModuleType)):
        return thing.__name__
    name = str(getattr(thing, "__qualname__", type(thing).__qualname__))
    if hasattr(thing, "__code__"):
        held = [*([thing.__self__] if hasattr(thing, "__self__") else []), *values_held(inspect.unwrap(thing))]
        return name + (within(*held) if held else "")
    if hasattr(thing, "__dict__"):
        return name + within(vars(thing))
    return without_addresses(repr(thing))


def values_held(function: Any) -> list[Any]:
    """What a function brings along: the variables around it, and its arguments' defaults."""
    held = []
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # a variable that has no value yet
            held.append(cell.cell_contents)
    return [*held, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]


def code_of(thing: Any) -> str:
    """What a function, or the methods of a class outside torch, are compiled to; comments and docstrings apart."""
    if isinstance(thing, type):
        own = [kind for kind in thing.__mro__ if kind is not object and not kind.__module__.startswith("torch.")]
        values = [getattr(value, "__func__", value) for kind in own for value in vars(kind).values()]
        return "".join(code_of(value) for value in values if hasattr(value, "__code__"))
    if isinstance(thing, partial):
        return code_of(thing.func)
    if not hasattr(thing, "__code__"):
        return code_of(type(thing)) if thing is not None else ""
    thing = inspect.unwrap(thing)
    return compiled(thing.__code__, thing.__doc__) + without_addresses(repr(values_held(thing)))


def compiled(code: CodeType, doc: str | None) -> str:
    """A code object as text, without names of files and numbers of lines."""

    def text(constant: Any) -> str:
        if isinstance(constant, CodeType):
            return compiled(constant, None)
        return repr(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)

    constants = [text(c) for c in code.co_consts if c != doc or c is None]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


def without_addresses(text: str) -> str:
    """A printed form without addresses in memory, which change from process to process."""
    return re.sub(r" at 0x[0-9a-f]+", "", text)
