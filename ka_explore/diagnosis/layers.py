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
        better = f"Name {best!r} as the feature of {name!r}." if best else "Name another layer."
        finding = partial(
            judged,
            subject=name,
            attempts=(Attempt(better, code=code),),
            result=Scalars(shown, unit="share of the answers' variance", title=f"{name}: what its layers tell"),
        )
        at_most: Any = "warning" if taken else "note"  # a method that takes answers alone is not harmed
        for layer in used:
            here, last = found[layer], layer == used[-1]
            channels, tells = here["channels"], number(here["explained"])
            said = float(here["is"] != "feature")
            numbers = {"layer": layer, "channels": float(channels), "better": best}
            yield finding("layer_is_answer", said, evidence=numbers, layer=layer, kind=here["is"], at_most=at_most)
            if said:
                continue
            thin = 1.0 if channels == 1 else number(here["rank"]) if number(here["variation"]) > STILL else 0.0
            reference = number(features[best]["rank"]) if best else 1.0
            numbers = {"layer": layer, "effective rank": thin, "channels": float(channels)}
            numbers |= {"channels that do not vary": number(here["silent"]), "better": best}
            # blocks before the last are early by nature: of them only a dead or single channel counts
            poor = channels == 1 or thin == 0.0 or (last and tells < 0.8 * most)
            yield finding(
                "layer_degenerate",
                thin / max(reference, 1e-9) if poor else 1.0,
                layer=layer,
                how="has one channel" if channels == 1 else "hardly varies with the image",
                evidence=numbers,
                at_most=at_most if last else "note",
            )
            if last and most > 0.3:
                numbers = {"layer": layer, "explained by it": tells, "better": best, "explained by that": most}
                yield finding(
                    "layer_too_early", tells / most, evidence=numbers, layer=layer, best=best, at_most=at_most
                )
