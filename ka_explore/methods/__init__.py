"""The methods by name: the one table."""

from ka_explore.method import Method
from ka_explore.methods.baselines import Distillation, Ensemble, Oracle
from ka_explore.methods.common_feature import CommonFeature

METHODS: dict[str, type[Method]] = {
    "common_feature": CommonFeature,
    "distillation": Distillation,
    "ensemble": Ensemble,
    "oracle": Oracle,
}
