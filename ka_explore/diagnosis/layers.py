"""Whether the layers a teacher lends hold what it knows: the wrong one, a degenerate one, one too early."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from ka_explore.diagnosis.evidence import Evidence, judged
from ka_explore.diagnosis.findings import Attempt, Finding
from ka_explore.diagnosis.numbers import number
from ka_explore.probes.results import Scalars

STILL = 1e-5  # variation relative to the feature's size below which rounding is all that varies


def layers(evidence: Evidence) -> Iterator[Finding]:
    """Whether the layers a teacher lends hold what it knows; of the method only that which it takes of them counts."""
    for name, seen in evidence.examined().items():
        found: Mapping[str, Mapping[str, Any]] = seen["layers"]
        taken = evidence.layers_taken(name)
        used = [layer for layer in taken or (seen["feature_layer"],) if layer in found]
        features = {k: v for k, v in found.items() if v["is"] == "feature"}
        best = max(features, key=lambda k: (number(features[k]["explained"]), features[k]["named"]), default="")
        most = number(features[best]["explained"]) if best else float("nan")
        shown = {k: number(v["explained"]) for k, v in features.items() if v["named"] or k in (best, *used)}
        code = f"Teacher({name!r}, module, layers=[…, {best!r}], labels=…)  # the last named layer is the feature"
        finding = partial(
            judged,
            subject=name,
            attempts=(
                Attempt(f"Name {best!r} as the feature of {name!r}." if best else "Name another layer.", code=code),
            ),
            result=Scalars(shown, unit="share of the answers' variance", title=f"{name}: what its layers tell"),
        )
        at_most: Any = "warning" if taken else "note"  # a method that takes answers alone is not harmed
        for layer in used:
            here, last = found[layer], layer == used[-1]
            channels, tells = here["channels"], number(here["explained"])
            said = float(here["is"] != "feature")
            yield finding(
                "layer_is_answer",
                said,
                f"Layer {layer!r} of teacher {name!r} is no feature: it is its {here['is']}.",
                name="wrong_layer",
                depth=6.5,
                evidence={"layer": layer, "channels": float(channels), "better": best},
                measure="holds no more than the answer",
                why="The answers are learned by the soft target already; as a feature they have a number a label and "
                "nothing that other teachers could share.",
                at_most=at_most,
            )
            if said:
                continue
            varies = number(here["rank"]) if number(here["variation"]) > STILL else 0.0
            thin = 1.0 if channels == 1 else varies
            reference = number(features[best]["rank"]) if best else 1.0
            # blocks before the last are early by nature: of them only a dead or single channel counts
            poor = channels == 1 or thin == 0.0 or (last and tells < 0.8 * most)
            yield finding(
                "layer_degenerate",
                thin / max(reference, 1e-9) if poor else 1.0,
                f"Layer {layer!r} of teacher {name!r} is degenerate: "
                + ("it has one channel." if channels == 1 else "it hardly varies with the image."),
                name="wrong_layer",
                depth=6.5,
                evidence={
                    "layer": layer,
                    "effective rank": thin,
                    "channels": float(channels),
                    "channels that do not vary": number(here["silent"]),
                    "better": best,
                },
                measure="effective rank relative to the best layer's",
                why="A feature that is the same for all images, or one number, has nothing to align or rebuild.",
                at_most=at_most if last else "note",
            )
            if last and most > 0.3:
                yield finding(
                    "layer_too_early",
                    tells / most,
                    f"Layer {layer!r} of teacher {name!r} comes too early: {best!r} tells much more of its answers.",
                    name="too_early_layer",
                    depth=6,
                    evidence={
                        "layer": layer,
                        "explained by it": tells,
                        "better": best,
                        "explained by that": most,
                    },
                    measure="explained of the answers, relative to the best layer",
                    why="An early layer holds edges and strokes that do not yet tell the classes apart: the nets are "
                    "aligned where none of what the teacher knows is.",
                    at_most=at_most,
                )
