"""The methods by name: the one table. A method's module, and torch with it, is imported when it is first asked for."""

import importlib
from collections import UserDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ka_explore.methods.base import Method


class Table(UserDict[str, Any]):
    """Methods by name, in the order of their rows: of each the module in `ka_explore.methods` and the class in it."""

    def __getitem__(self, name: str) -> "type[Method]":
        row = self.data[name]
        if isinstance(row, str):
            module, _, kind = row.partition(":")
            row = self.data[name] = getattr(importlib.import_module(f"ka_explore.methods.{module}"), kind)
        return row


METHODS = Table(
    {
        "common_feature": "common_feature:CommonFeature",
        "layer_wise": "layer_wise:LayerWise",
        "one_stage": "one_stage:OneStage",
        "adaptive": "adaptive:Adaptive",
        "logit_space": "logit_space:LogitSpace",
        "permutation_merging": "merging:PermutationMerging",
        "distillation": "baselines:Distillation",
        "ensemble": "baselines:Ensemble",
        "oracle": "baselines:Oracle",
    }
)


# Options that version 0.1 did not have, by method: what a run did without them, where that is not their default.
BEFORE: Mapping[str, Mapping[str, Any]] = {
    "common_feature": {"cross_weight": 0.0, "pull": "alike", "hand_over": 0.0},
}


def of_version_1(method: str, form: str | None, options: Mapping[str, Any]) -> tuple[str, str | None, dict[str, Any]]:
    """A method's name, form and options as called now: the one-stage form of ``layer_wise`` in 0.1 is ``one_stage``."""
    if method != "layer_wise" or not (form in ("paired", "kamal") or "training" in options):
        return method, form, dict(options)
    if form not in ("paired", "kamal") and options["training"] == "staged":
        gone = ("training", "soft_weight", "feature_weight", "reconstruction_weight", "feature_error")
        return method, form, {name: value for name, value in options.items() if name not in gone}
    gone = ("training", "compress_share", "regress_share", "compress_rate", "regress_rate")
    options = {name: value for name, value in options.items() if name not in gone}
    if form in ("paired", "kamal"):
        return "one_stage", None if form == "paired" else form, options
    were = {"temperature": 0.5, "feature_weight": 1.0} | dict(METHODS[method].forms[form] if form else {})
    return "one_stage", None, were | options
