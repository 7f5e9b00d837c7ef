"""The methods by name: the one table."""

from ka_explore.method import Method
from ka_explore.methods.adaptive import Adaptive
from ka_explore.methods.baselines import Distillation, Ensemble, Oracle
from ka_explore.methods.common_feature import CommonFeature
from ka_explore.methods.layer_wise import LayerWise

METHODS: dict[str, type[Method]] = {
    "common_feature": CommonFeature,
    "layer_wise": LayerWise,
    "adaptive": Adaptive,
    "distillation": Distillation,
    "ensemble": Ensemble,
    "oracle": Oracle,
}
