"""The one table of words: what each finding says, what was measured, why it hurts, and what to try.

A row begins with its key, how deep it stands in the chain of causes (deeper is named first), the finding's name and the
key of its threshold, where these are not the row's own. What a row leaves out, one above of the same name or threshold
says for it. Names in braces are filled in by the check; ``subject`` and ``value`` are always known.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Words:
    """A row of the table; ``attempt`` and its ``code`` are empty where only a fork mends it."""

    key: str
    depth: float = 0.0
    name: str = ""
    threshold: str = ""
    title: str = ""
    measure: str = ""
    why: str = ""
    attempt: str = ""
    code: str = ""

    def filled(self, **told: Any) -> "Words":
        """The same with what stands in braces filled in."""
        said = {what: getattr(self, what).format(**told) for what in ("title", "measure", "attempt", "code")}
        return replace(self, **said)


TABLE = """
batch_dependence 9.5 train_mode_batch_norm
    title: Teacher {subject!r} answers by the company an image is in: batch norm works in training mode.
    measure: answers move with the company (share of their deviation)
    why: Batch norm in training mode normalises by the batch at hand, so a cached answer is not the one it would give,
        and the mix of classes in a batch leaks into every feature.
    attempt: Make {subject!r} use the statistics it kept: eval mode, track_running_stats=True, no batch_norm(…,
        training=True) in its forward.
    code: module.eval()  # the net of {subject!r}; then build the teacher and the problem anew
noise 9.4 random_answers
    title: Teacher {subject!r} gives another answer each time it is asked: dropout or noise is left on.
    measure: answers move by themselves (share of their deviation)
    why: The student is taught one draw of the noise, and targets from the cache are not those asked live.
    attempt: Switch dropout off in {subject!r}.
    code: module.eval()
wrong_preprocessing 9
    title: Teacher {subject!r} is fed images that are not as it was trained on them{better}.
    measure: divergence of its batch norms' inputs from training
    why: A net that gets other means, contrasts or sizes than in training answers at random or always the same, and its
        features mean nothing; whatever is amalgamated from it is noise.
    attempt: Give {subject!r} the preprocessing it was trained with{tried}.
    code: {rebuild}
feeding_right 9 wrong_preprocessing
    measure: gain of right answers under another feeding
feeding_told 9 wrong_preprocessing
    measure: times as much told under another feeding
feeding_size 9 wrong_preprocessing
    title: Teacher {subject!r} is fed images of the wrong size{better}.
    measure: times as much told at another size
feeding_turned 9 wrong_preprocessing
    title: Teacher {subject!r} is fed images that are turned over or moved{better}.
    measure: times nearer to training, times more told, under another feeding
feeding_values 9 wrong_preprocessing
    title: Teacher {subject!r} is fed images of which values were cut off or rounded{better}.
    measure: different values relative to those of the pool's images
feeding_alone 9 wrong_preprocessing
    measure: times farther from training than the other teachers
feeding_cut 9 wrong_preprocessing
    title: Teacher {subject!r} is fed images of which a part is cut off: {unseen} never reaches it.
    measure: cut off more at one side than at the other (share)
weights_not_loaded 9.2
    title: Weights of teacher {subject!r} were not loaded: {parts} {look} as if just made.
    measure: parts as they are before training
    why: A part with random weights, or a batch norm that never saw a batch, makes noise of all that comes after it, in
        features and answers alike.
    attempt: Load the weights of {subject!r} again, and look which names do not match (a prefix such as module., another
        head).
    code: print(module.load_state_dict(weights, strict=False))  # missing and unexpected names: both must be empty
mixed_order 9.1 mixed_weights
    title: The weights of teacher {subject!r} do not belong together: from {layer!r} on nothing is as it was in
        training{before}.
    measure: times nearer to training with channels in another order
    why: Statistics or weights of another net, or of channels in another order, make noise of what the layers before
        them say.
    attempt: Load all weights of {subject!r} from one checkpoint, and look how {layer!r} and what feeds it were
        converted.
    code: print(module.load_state_dict(weights, strict=True))
mixed_jump 9.1 mixed_weights
    measure: times farther from training than all batch norms before
mixed_alone 9.05 mixed_weights
    title: Teacher {subject!r} computes otherwise than it did in training, though its first layers do not: by its
        weights or its code, or because images are tilted or scrambled.
    measure: times farther from training than the other teachers
    why: Weights of another kind, an operation that a port does otherwise, or images whose parts are not where they
        were, make noise of what comes after, though every value is in its usual range.
    attempt: Compare the outputs of {subject!r} on one image, layer by layer, with those of the net it was made from.
    code: print(module.load_state_dict(weights, strict=True))  # the weights as they were trained
mixed_anyhow 9.1 mixed_weights
    title: Teacher {subject!r} computes otherwise than it did in training, and says nothing, however it is fed.
    measure: divergence of its batch norms' inputs from training under the feeding that suits best
labels_permuted 8
    title: The label columns of teacher {subject!r} are permuted: what it calls {moved}.
    measure: right answers gained by renaming
    why: The student learns the wrong names faithfully: it agrees with the teacher and is wrong.
    attempt: Give {subject!r} its labels in the order of its logits.
    code: Teacher({subject!r}, module, labels={renamed}, layers=…)
augment_hides 8.9
    title: Augmentation hides what the images show: teacher {teacher!r} tells {value:.0%} of what it tells without.
    measure: told of augmented images (relative to the images as they are)
    why: Teachers are asked of the augmented images: the student learns what they say of what they cannot recognise.
    attempt: Augment less, so that a teacher still recognises its images.
    code: Pool(images, augment=weaker)
normalised_answers 7.5
    title: Teacher {subject!r} puts out {kind}, not logits.
    measure: distance from sums of 1
    why: Soft targets are a softmax of the answers. One of probabilities is nearly flat; and log-probabilities are on
        one level for every image, so that beside another teacher's logits they do not say whose image it is.
    attempt: Return what goes into the last softmax of {subject!r}{otherwise}.
    code: {reading}
student_normalised 6.5 normalised_answers normalised_answers
    title: The student puts out probabilities, not logits.
    measure: distance from sums of 1
    why: A softmax of probabilities is nearly flat: it cannot be as sure as its teachers, however long it learns.
    attempt: Let the student end in its last linear map, without the softmax.
    code: Student.chain(segments, dict.fromkeys(labels.tasks, nn.Sequential(nn.Flatten(), nn.Linear(width, classes))))
says_nothing 7
    title: Teacher {subject!r} says nearly the same of every image: it looks untrained, or is not fed properly.
    measure: told by its answers (share of log K)
    why: There is nothing to learn from it, and its columns only dilute the others' answers.
    attempt: Check that the weights of {subject!r} were loaded, and what it is fed.
    code: missing = module.load_state_dict(weights, strict=True)
wrong_answers 6.9
    title: Teacher {subject!r} is right on {right:.0%} of its own images, where {expected:.0%} are to be expected.
    measure: right answers on its own images, relative to what is to be expected
    why: The student learns its mistakes faithfully. Images unlike those of its training, weights that are not as they
        were trained, or simply a poor teacher: no number here tells which.
    attempt: Ask {subject!r} about images that it was trained on; if it is right there, compare what it is fed here.
    code: print(problem.teacher({subject!r})(images).logits.argmax(dim=1))  # of its own training images
rate_too_high 6.8
    title: The learning rate is too high: in stage {stage!r} the loss leapt to {leap:.3g} times its start.
    measure: largest loss relative to the stage's first
    why: Steps overshoot; channels die on the way, and what was learned before the leap is lost.
layer_is_answer 6.5 wrong_layer
    title: Layer {layer!r} of teacher {subject!r} is no feature: it is its {kind}.
    measure: holds no more than the answer
    why: The answers are learned by the soft target already; as a feature they have a number a label and nothing that
        other teachers could share.
layer_degenerate 6.5 wrong_layer
    title: Layer {layer!r} of teacher {subject!r} is degenerate: it {how}.
    measure: effective rank relative to the best layer's
    why: A feature that is the same for all images, or one number, has nothing to align or rebuild.
layer_too_early 6 too_early_layer
    title: Layer {layer!r} of teacher {subject!r} comes too early: {best!r} tells much more of its answers.
    measure: explained of the answers, relative to the best layer
    why: An early layer holds edges and strokes that do not yet tell the classes apart: the nets are aligned where none
        of what the teacher knows is.
claims_scale 5.5 overconfident
    title: Teacher {subject!r} is over-confident: its logits are {ratio:.1f} times the others', on images not its own
        too, and take their probability mass.
    measure: scale of its logits relative to the others'
    why: Answers are joined by one softmax: who speaks louder owns the image, also those it knows nothing of. The
        student then puts foreign images into this teacher's classes.
claims_level 5.5 overconfident
    title: Teacher {subject!r} claims images that are not its own: its logits lie above the others' as a whole.
    measure: level of its logits above the others' (in their deviations)
claims_timid 5.4 underconfident
    title: Teacher {subject!r} is never sure: its logits are a fraction of the others', which drown it.
    measure: scale of the others' logits relative to its own
    why: Where answers are compared, by a joint softmax or by entropy, it never wins an image, not even its own.
dominating_feature 5.4 dominating_teacher
    title: Teacher {subject!r} dominates the reconstruction: its feature's variance is {value:.3g} times the others',
        and the error is not divided by it.
    measure: variance of its feature relative to the others'
    why: The common space is made for the loudest feature; what the others know costs next to nothing to forget.
starved_teacher 5.35
    title: The selection starves teacher {subject!r}: it teaches {share:.1%} of the images.
    measure: share of the teaching relative to a fair share
    why: What only it knows reaches no component and no student.
dominating_teacher 5.3
    title: Teacher {subject!r} dominates the term {term!r}: its part of the gradient is {times:.3g} times the others'.
    measure: gradient relative to the other teachers'
    why: The student is pulled to one teacher; the others only disturb.
foreign_pool 5.3
    title: The pool has hardly any image of the classes of teacher {subject!r}.
    measure: share of the pool relative to its share of the classes
    why: What it knows shows only on images of its classes; on others it guesses, and that is what is taught.
    attempt: Add unlabelled images of its classes to the pool.
    code: Pool(more_images)
dominating_gradient 5.2 dominating_term
    title: The term {subject!r} dominates: its gradient at the student's feature is {value:.3g} times the soft target's.
    measure: gradient relative to the soft target's (median over steps)
    why: The student goes where the strongest gradient points. An alignment that outweighs the soft target makes its
        features look like the teachers' on average and leaves the answers unlearned.
dominating_loss 5.2 dominating_term
    title: The term {subject!r} dominates: it is {value:.0%} of the loss.
    measure: share of the weighted loss (last quarter)
twins 5.1 same_teacher_twice
    title: Teachers {one!r} and {two!r} give the same answers: one net under two names.
    measure: correlation of their logits
    why: It is counted twice and weighs double against the others.
    attempt: Leave {two!r} out of the problem.
    code: dataclasses.replace(problem, teachers=[…])
teachers_disagree 5
    title: Teachers {one!r} and {two!r} contradict each other on the labels they share.
    measure: different answers where both are sure (share)
    why: Columns of one name are joined into one class; two teachers that mean different things by it teach the student
        to say both.
    attempt: Look which of the two is right (labels, a few images), and rename or drop the other's labels.
    code: Teacher({two!r}, module, labels=[…], layers=…)  # its labels in the order of its logits
teachers_renamed 5 teachers_disagree
    measure: agreement gained by renaming (share)
mmd_small 5 mmd_saturated
    title: The MMD sits at its floor 2/N: its bandwidths are far too small.
    measure: largest distance from the floor at any bandwidth and step
    why: A kernel that is 1 only for a row and itself, or 1 for all pairs, has no gradient: the MMD is a constant and
        aligns nothing, whatever its weight.
mmd_large 5 mmd_saturated
    title: The MMD is next to nothing: its bandwidths are far too large.
    measure: largest value at any bandwidth and step, relative to 2/N
student_too_small 4.9 student_too_small not_learned
    title: The student is too small for what its teachers know.
    measure: not learned of the teachers' answers (1: no better than their mean)
    why: It has no room for all the answers, however long it learns, and gives up those of weaker gradient.
rate_too_low 4.9 rate_too_low not_learned
    title: The learning rate of {rate:g} is too low: the student has hardly moved.
    why: At this pace the run ends before the student has left its first, random answers.
stopped_early 4.8 stopped_early not_learned
    title: The run stopped too early: after {done} steps the student is far from its teachers' answers.
    why: Terms that align features are easy and fall first; the answers take longer.
student_behind 1 student_behind not_learned
    title: The student is far from its teachers' answers, though it has stopped learning.
few_distinct_images 9.2
    title: The pool has few different images: of {images} looked at {distinct} differ.
    measure: different images (share of those looked at)
    why: The student learns these few by heart. What teachers say of all others is never asked, and what is measured on
        the pool tells nothing of new images.
    attempt: Give the pool images that differ; make variations of those there are with augment.
    code: Pool(more_images)
student_not_moving 6.7
    title: Parts of the student do not learn: {parts} hold the very weights they began with.
    measure: share of its parts or parameters that have not moved
    why: No gradient reaches them (detached, no_grad, not on the way to the answers), or no rate.
        The rest learns on features that are as random as at the beginning.
    attempt: Look for detach, no_grad, .data or numpy in the student's forward, and for parts that nothing reads.
    code: [name for name, p in run.student.named_parameters() if not p.requires_grad]  # and its forward
norms_unfed 6.6 student_not_moving
    title: Batch norms of the student never saw a batch: {parts} stay in eval mode.
    measure: share of its batch norms
    why: They normalise by the moments they were made with, 0 and 1, and so do nothing: training is less stable.
    attempt: Let the student's forward leave the mode of its parts alone, and give them the mode they are told (train).
    code: [name for name, part in run.student.named_modules() if not part.training]  # after a step
student_frozen 1.5
    title: Parts of the student came frozen (requires_grad=False), and are trained all the same: {parts}.
    measure: share of its parameters
    why: A run trains all of the student whatever it says, so that what was meant to stay as it is did not.
    attempt: If it was meant to be trained, say so; if not, let its forward run those parts under torch.no_grad().
    code: net.requires_grad_(True)  # in student=
whose_image 4.95
    title: The teachers cannot tell whose image it is: {value:.0%} of the images go to one that does not know them.
    measure: images that go to a teacher that does not know their class (share)
    why: Nothing compares one teacher's answers with another's: each is sure of images it knows nothing of. The student
        learns who is louder, and answers within the wrong teacher's classes.
whose_neighbour 4.95 whose_image
    title: The teachers may not tell whose image it is: alike images go to different teachers ({value:.0%} of chance).
    measure: nearest images that go to another teacher (relative to chance)
inert_term 4.6
    title: The term {subject!r} is inert: with its weight of {weight:g} it moves nothing.
    measure: {measure}
    why: The run looks like one with this term and is one without it.
not_finite 4.5
    title: {worst} holds values that are not finite (NaN or infinite).
    measure: share of values
    why: They spread through every loss they touch.
dead_channels 3.6
    title: {value:.0%} of the channels of {where} are dead: the same for every image.
    measure: share of silent channels
    why: A dead channel passes no gradient and comes back by luck only; the net is narrower than it looks.
collapsed_rank 3.5 collapsed
    title: The common space has collapsed to about {used:.1f} directions of {width}.
    measure: effective rank relative to what there is room and need for
    why: What differs between images is gone before the decoders and the MMD see it: the distance is small because
        everything is alike, and nothing of the teachers comes through.
collapsed_rows 3.5 collapsed
    title: The common space has collapsed: the rows of all images point the same way.
    measure: variation of the rows' directions (0: all alike)
not_aligned 1.5
    title: Student and teachers are not aligned: hardly any of the student's points lies next to the same image's.
    measure: pairs found above chance (1: all)
    why: A small distance between clouds does not say that images meet: where the student's point of an image lies among
        other images', nothing that the teachers know of that image is carried over by the common space.
not_reconstructable 2
    title: The feature of teacher {subject!r} does not come back through the common space{narrow}.
    measure: reconstruction error (1: no better than the mean)
    why: What the decoder cannot rebuild is not in the common space, so the student cannot learn it there.
"""


def words_of(table: str) -> Iterator[Words]:
    """The rows of a table."""
    row = Words("")
    for text in re.split(r"\n(?=\S)", table.strip()):
        head, *fields = re.split(r"\n    (?=\w)", text)
        key, depth, *others = head.split()
        name, threshold = [*others, key, key][:2]
        said = {what: re.sub(r"\n +", " ", words) for what, _, words in (field.partition(": ") for field in fields)}
        row = row if name == row.name or threshold == row.threshold else Words(key)
        row = replace(row, key=key, depth=float(depth), name=name, threshold=threshold, **said)
        yield row


WORDS: Mapping[str, Words] = {row.key: row for row in words_of(TABLE)}
