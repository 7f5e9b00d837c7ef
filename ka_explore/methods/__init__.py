"""The methods by name: the one table."""

from ka_explore.method import Method
from ka_explore.methods.adaptive import Adaptive
from ka_explore.methods.baselines import Distillation, Ensemble, Oracle
from ka_explore.methods.common_feature import CommonFeature
from ka_explore.methods.layer_wise import LayerWise
from ka_explore.methods.logit_space import LogitSpace
from ka_explore.methods.merging import PermutationMerging

METHODS: dict[str, type[Method]] = {
    "common_feature": CommonFeature,
    "layer_wise": LayerWise,
    "adaptive": Adaptive,
    "logit_space": LogitSpace,
    "permutation_merging": PermutationMerging,
    "distillation": Distillation,
    "ensemble": Ensemble,
    "oracle": Oracle,
}
