"""The methods by name: the one table. A method's module, and torch with it, is imported when it is first asked for."""

import importlib
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ka_explore.methods.base import Method


class Table(MutableMapping[str, "type[Method]"]):
    """Methods by name, in the order of their rows.

    Args:
        rows: of each the module in `ka_explore.methods` and the class in it.
    """

    def __init__(self, rows: dict[str, str]):
        self._rows: dict[str, str | type[Method]] = dict(rows)

    def __getitem__(self, name: str) -> "type[Method]":
        row = self._rows[name]
        if isinstance(row, str):
            module, _, kind = row.partition(":")
            row = self._rows[name] = getattr(importlib.import_module(f"ka_explore.methods.{module}"), kind)
        return row

    def __setitem__(self, name: str, method: "type[Method]") -> None:
        self._rows[name] = method

    def __delitem__(self, name: str) -> None:
        del self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows


METHODS = Table(
    {
        "common_feature": "common_feature:CommonFeature",
        "layer_wise": "layer_wise:LayerWise",
        "adaptive": "adaptive:Adaptive",
        "logit_space": "logit_space:LogitSpace",
        "permutation_merging": "merging:PermutationMerging",
        "distillation": "baselines:Distillation",
        "ensemble": "baselines:Ensemble",
        "oracle": "baselines:Oracle",
    }
)
