"""The one table of thresholds: from which value on a check notes something or warns, and why there.

Every value is a share or a ratio, so that it holds for nets and images of any size. A reason names both sides: what
runs without a fault show ("healthy": all methods on all toy problems, several seeds) and what a strong fault shows;
the threshold stands well between. Where a healthy run may come close, the check asks for a second sign, which the
reason names. Ranges are rounded; ``make faults`` tries them.
"""

import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ka_explore.errors import checked

Grade = Literal["warning", "note", "fine"]
"""How bad it is."""


@checked
@dataclass(frozen=True)
class Threshold:
    """From which value on it is worth a note (None for never) or a warning, and what healthy and faulty runs show."""

    note: float | None
    warning: float
    reason: str
    above: bool = True  # larger is worse

    def grade(self, value: float) -> Grade:
        """``warning``, ``note`` or ``fine``; a value that is NaN is fine."""
        worse = operator.ge if self.above else operator.le
        if worse(value, self.warning):
            return "warning"
        return "note" if self.note is not None and worse(value, self.note) else "fine"

    def severity(self, value: float) -> float:
        """From 0 (far from the warning) to 1: one half at the warning's threshold, whatever the unit."""
        if value != value:
            return 0.0
        bad, limit = (value, self.warning) if self.above else (self.warning, value)
        if limit <= 0 or bad == float("inf"):
            return 1.0 if bad > 0 else 0.5
        return max(bad, 0.0) / (max(bad, 0.0) + limit)


TABLE = """
# How a teacher is fed.
wrong_preprocessing ≥ 0.15 0.2: divergence of what batch norms get from what they kept: healthy 0.001 to 0.13, although
    half of a pool is of foreign classes; offset by 3 deviations, scaled by 5, divided by 255: 0.5 to 50; not normalised
    0.4 to 1; inverted 0.24 to 1.7. A warning needs another feeding that relieves it, too
feeding_relief ≥ - 3.0: times nearer to training under the best other feeding: wrongly fed 4 to 4 000, healthy near 1,
    up to 7 where all is near to training anyway, so it counts only with the divergence above
feeding_unlike ≥ - 0.5: a divergence that no pool explains: healthy at most 0.13, also where all classes are foreign;
    another activation or scale inside the net 0.7 and more; here no better feeding need be known
feeding_size ≥ - 1.6: times as much told at another size, batch norms nearer to training by half: healthy at most 1.1;
    twice the size 2 to 10, half the size of 8-pixel images 10 to 30; half of 28 pixels 1, as that loses nothing
feeding_right ≥ - 0.35: more of its own images told right under another feeding: healthy up to 0.23, where teachers
    learned wrong labels on a part of the images; and four deviations of chance
feeding_told ≥ 1.5 2.0: for nets without batch norm: times as much told under another feeding, at equal scale of the
    logits: healthy at most 1.2; and a tenth of log K more in fact
feeding_turned ≥ 1.5 1.8: times nearer to training, times more told, if images are turned over or moved: healthy 0.2 to
    1.4, also where upside down is as good (0, 1 and 2); transposed 2 to 300; upside down, by 180° 1.5 to 14
feeding_alone ≥ 6.0 8.0: times farther from training than the other teachers, where its first batch norm is not at home:
    healthy at most 4; squashed, zoomed in or noisy images 12 to 60
feeding_cut ≥ - 0.1: share of the images cut off more at one side than at the other: whole images and centre crops 0. A
    warning needs batch norms far from training, or answers that tell more of images moved back
feeding_values ≤ 0.9 0.6: different values that reach the net, relative to those of the images: any normalisation,
    resizing or cut 1; cut off after normalising 0.3, two levels 0.01 to 0.1. A warning needs that all
    values suit better
# Whether its weights are its own.
weights_not_loaded ≥ - 1: parts that look as if just made: healthy 0. Small or normally distributed layers count only
    where something else is off, as one healthy net in ten has one of these by chance
mixed_order ≥ 3.0 4.0: times nearer to training, the first batch norm off comes with its channels in another order, at
    most the times it is farther than all before it: healthy and wrongly fed 1 to 3; channels shuffled 7 to 95 (once
    2.8, and the jump 28). Where another feeding suits better it takes 20
mixed_jump ≥ - 20.0: times farther from training than all batch norms before it, and 0.25 at least: healthy at most 14
    (and then 0.14); a block drawn anew 45 to 100, channels shuffled 20 to 130. Cut images reach 50: they are named
mixed_alone ≥ 6.0 8.0: the same where the first batch norm is at home: weights of four bits, padding at one side only 16
    to 30
mixed_anyhow ≥ - 0.15: divergence that no feeding takes away, where none makes it tell anything and another teacher is
    fine: healthy 0, as it tells something; weights of three levels 0.2 to 0.4
augment_hides ≤ 0.7 0.4: told of augmented images relative to the images as they are: brighter, a little noisy, moved a
    pixel of 28 0.85 to 1; moved a pixel of 8, where four in ten are then told wrong, 0.45; hidden under noise 0 to 0.35
# Whether it speaks for itself.
batch_dependence ≥ 1e-3 0.02: how far answers move with the batch: healthy 1e-7, half precision 1e-3; batch norm in
    training mode 0.1 to 1
noise ≥ 1e-3 0.02: how far answers move by themselves: healthy 0; dropout of 0.1 moves them by 0.2
says_nothing ≤ 0.06 0.02: share of log K that answers tell: healthy 0.15 (noisy teachers) to 0.9; untrained or fed zeros
    1e-6 to 0.01
# Its layers.
layer_is_answer ≥ - 0.5: yes or no: equal to logits or probabilities up to rounding
layer_degenerate ≤ - 0.3: effective rank relative to the layer that explains most: healthy features 0.7 to 1.5; one
    channel 0.05 to 0.1, constant 0. Counts only where the layer explains less, too
layer_too_early ≤ 0.9 0.8: share of the logits explained, relative to the best layer: healthy 0.98 to 1; the first of
    three blocks 0.3 to 0.55, the second 0.63 to 0.87
# Its answers and labels.
normalised_answers ≤ - 5e-3: distance of the worst image's log Σ exp from 0, or of its sum from 1: logits 1 to 10; log
    softmax and softmax up to 1e-6, in half precision 1e-3
labels_permuted ≥ 0.08 0.15: right answers gained by renaming: healthy 0 (a label must lose most of its images to
    another); two of five labels changed 0.3, two of ten 0.15
wrong_answers ≤ 0.85 0.7: share of its own images told right, relative to the best other teacher of the task, or how
    sure it is where there is none: healthy 0.78 (clothes that look alike) to 1.3; zoomed, noisy images 0.3 to 0.6
teachers_disagree ≥ 0.5 0.7: different answers where both are sure: healthy 0.1 to 0.55, where each has its own kind of
    images; labels permuted 0.9 to 1
teachers_renamed ≥ 0.1 0.13: agreement of two teachers gained by renaming the labels of one: healthy at most 0.07, as
    they mean the same where they agree at all; labels permuted 0.15 (three of ten) to 0.9. Teachers that agree by
    chance only, each right on its own kind of image, gain 0.1 to 0.2: they are not told apart from this
claims_scale ≥ 2.5 3.5: scale of the logits relative to the other teachers': healthy 0.6 to 1.7; made 5 to 20 times as
    loud 4 to 30. And answers that are nearly certain
claims_level ≥ 1.5 2.5: level of the logits above the others', in deviations: healthy at most 0.6; lifted by ten 4 to 10
claims_timid ≥ 2.5 3.5: the same scale the other way round, and answers that are never sure: healthy at most 1.7; 0.05:
    10
twins ≥ 0.99 0.999: correlation of logits: healthy at most 0.9, also of equal tasks; one net twice 1
foreign_pool ≤ 0.3 0.1: images of its classes relative to a fair share: healthy 0.9 to 1.1; none 0
not_finite ≥ - 1e-12: any NaN or infinity in answers or features is one too many
# Where the nets meet.
collapsed_rank ≤ 0.45 0.4: effective rank of the common space relative to width and the teachers' features: healthy 0.48
    to 0.8, after 150 steps 0.44; weights decayed to nothing 0.23 to 0.36, alignment alone 0.4 to 0.65 (its rows are
    alike, too)
collapsed_rows ≤ 0.05 0.02: variation of the rows' directions: healthy 0.06 to 0.37, alignment alone 0.001
dead_channels ≥ 0.15 0.3: share of silent channels: healthy at most 0.05; rate of 1: 0.3 to 1; injected 0.4 to 0.8
mmd_small ≤ - 0.01: largest distance from the floor 2/N, relative to it, over bandwidths and steps: healthy 45 to 100; σ
    = 1e-3 or less at most 0.003
mmd_large ≤ - 0.01: largest MMD relative to the floor: healthy 45 to 100; σ = 100 1e-4, σ = 1000 1e-5
not_aligned ≤ 0.08 0.03: pairs found above chance, as a share of what is left above it, mean of the teachers: the
    default 0.22 to 0.86, after 150 steps 0.09 to 0.2; the published terms, which compare clouds, 0 to 0.04, and pairs
    that weigh 1e-4 0.01. A warning only where pairs are asked for
not_reconstructable ≥ 0.4 0.6: error relative to the feature's variance: healthy 0.05 to 0.35 after 150 steps or more;
    one common channel 0.85, two 0.4 to 0.6
narrow_space ≤ - 0.25: channels of the common space relative to the effective rank of a feature that does not come back:
    healthy 0.4 to 4; two channels 0.1, one 0.05
# Training.
dominating_gradient ≥ 3.0 8.0: gradient relative to the soft target's once the first 100 steps are over: healthy 0.05 to
    1.5; ten times the soft target's weight (as published) 10, a thousand times 1 000
dominating_loss ≥ 0.75 0.9: share of the weighted loss in the last quarter: healthy 0 to 0.35; weight 100 to 1 000: 0.95
    to 1
dominating_teacher ≥ 4.0 8.0: gradient relative to the other teachers': healthy 1 to 2.3; one that drowns the others 10
    to 1 000
dominating_feature ≥ 5.0 20.0: variance of its feature relative to the others' where errors are not divided by it:
    healthy 1 to 4
inert_term ≤ 0.01 0.003: gradient relative to the soft target's (for terms that do not reach the student, their size):
    healthy 0.014 to 1; a weight of 1e-6 gives 1e-6 to 1e-5, saturated kernels 0
rate_too_high ≥ 3.0 10.0: largest loss relative to the stage's first: healthy 1 to 1.7; rates of 1 and more 1e3 to 1e10,
    a rate of 0.1 (which still learns) 2 to 6
not_learned ≥ 0.5 0.7: KL to the teachers' answers relative to what these tell: healthy 0.05 to 0.5; ten steps or a rate
    of 1e-5: 0.9 to 1.5; a tenth of the width 0.75 to 0.95
# Why a student has not learned.
small_student ≤ - 0.02: parameters relative to the largest teacher: toy students 0.1 to 0.3, a fifth of their width 0.01
slow_start ≤ - 2e-3: share of the soft target that falls a step, at first: healthy 0.005 to 0.02; a 30th of the rate and
    less at most 0.001
low_rate ≤ - 3e-4: learning rate of Adam with which a slow start is the rate's fault, ten times that for SGD: a student
    from scratch is given 1e-3 to 1e-2, pretrained ones less, but these do not start far away
few_steps ≤ - 100: steps in which no student from scratch learns
still_falling ≥ - 0.15: part of the soft target's whole fall that came in the last third: below 0.05 once the curve is
    flat
student_not_moving ≥ 0.02 0.2: share of its parts, or of its parameters, with the bits they began with: healthy 0; body
    frozen or detached 0.7 to 0.9, one layer of four 0.25
norms_unfed ≥ 0.02 0.5: share of its batch norms that never saw a batch: healthy 0; a student kept in eval mode 1
student_frozen ≥ 1e-9 0.1: share of its parameters that came with requires_grad=False: healthy 0; a body 0.7 to 0.99
few_distinct_images ≤ 0.9 0.6: different images among those looked at: healthy 0.97 to 1; half of them black 0.5; 8
    images repeated 0.03
whose_image ≥ 0.15 0.38: share of images that go to a teacher that does not know them: healthy 0.03 to 0.31; digits and
    clothes, whose teachers do not compare, 0.45 to 0.71; half where two teachers are told apart by chance
whose_neighbour ≥ 0.25 0.75: share of images whose nearest goes to another teacher, relative to chance: healthy 0.05 to
    0.5, and more of those with more of the above; by chance 1
starved_teacher ≤ 0.4 0.2: share of the teaching relative to a fair share: healthy 0.48 to 1.84; starved 0 to 0.1
"""
"""A row a threshold: its key, on which side of it is worse, the values of a note (- for never) and a warning: why."""


def rows_of(table: str) -> Iterator[tuple[str, Threshold]]:
    """The thresholds of a table by key; lines that begin with ``#`` only head those below."""
    for row in re.split(r"\n(?=\S)", table.strip()):
        if not row.startswith("#"):
            head, _, reason = row.partition(": ")
            key, side, note, warning = head.split()
            limit = None if note == "-" else float(note)
            yield key, Threshold(limit, float(warning), " ".join(reason.split()), above=side == "≥")


THRESHOLDS: Mapping[str, Threshold] = dict(rows_of(TABLE))
