"""The losses of amalgamation: tensors in, one number a teacher out, each with its source. Their sum is the loss.

Codes named here: the authors' code of Luo et al. 2019 (VainF/CommonFeatureLearning) and KamalEngine
(zju-vipa/KamalEngine).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from ka_explore.errors import InputError, check_known

BANDWIDTHS = (0.001, 0.01, 0.05, 0.1, 0.2, 1.0, 2.0)  # of the published code of Luo et al. 2019, loss/mmd.py
NEGLIGIBLE = 30.0  # beyond this exponent a kernel value is below 1e-13, nothing beside the diagonal's ones
BLOCK = 2**21  # distances that are held at a time where no gradient is asked

SoftTarget = Literal["stacked", "restricted", "joint_posterior", "score_distance"]


def soft_target(
    student: Float[Tensor, "batch column"],
    teachers: Sequence[Float[Tensor, "batch _"]],
    *,
    kind: SoftTarget = "stacked",
    temperature: float = 1.0,
    classes: Sequence[int] | None = None,
) -> Float[Tensor, "teacher"]:
    """How far the student's scores are from the teachers' answers, batch mean, in nats (or squared logits).

    Of one softmax over all teachers' columns (``stacked``) and of squared distances each teacher has its columns'
    terms, of the other kinds its own cross-entropy over the number of teachers.

    Args:
        student: its logits, one block of columns a teacher, in the order of ``teachers``.
        kind: ``stacked``: one softmax over all teachers' logits side by side, cross-entropy (published code of
            Luo 2019; KamalEngine's KL has the same gradient). ``restricted``: a softmax within each teacher's
            columns, for teacher and student alike, cross-entropy, mean over teachers; says nothing of whose image
            it is. ``joint_posterior``: the student's probabilities q of all classes, those of one name added, and
            each teacher's p against q given its own classes, p_i(l) = q(l) / Σ_{k in Y_i} q(k), cross-entropy, mean
            over teachers (the view of UHC, Vongkulbhisal 2019, as remembered): two teachers that know a class speak
            of one class; for disjoint classes it is ``restricted``. ``score_distance``: squared distance of the
            stacked logits, summed over columns (L_C of the paper, as remembered; the paper's text could not be
            checked).
        temperature: divides the logits; the loss is multiplied by its square so that gradients keep their size
            (Hinton 2015). Without effect on ``score_distance``.
        classes: for every column of the student the number of its class; by default all are different.
    """
    own = student.split([teacher.shape[1] for teacher in teachers], dim=1)
    if kind == "score_distance":
        return torch.stack([(z - t).square().sum(dim=1).mean() for z, t in zip(own, teachers, strict=True)])
    if kind == "stacked":
        target = functional.softmax(torch.cat(list(teachers), dim=1) / temperature, dim=1)
        terms = -(functional.log_softmax(student / temperature, dim=1) * target)
        sizes = [teacher.shape[1] for teacher in teachers]
        return torch.stack([part.sum() for part in terms.split(sizes, dim=1)]) / len(student) * temperature**2
    if kind == "restricted":
        parts = [cross_entropy(z, teacher, temperature) for z, teacher in zip(own, teachers, strict=True)]
    elif kind == "joint_posterior":
        parts = joint_posterior(student, teachers, temperature, classes)
    else:
        raise InputError(f"unknown kind of soft target {kind!r}: expected {', '.join(get_args(SoftTarget))}.")
    return torch.stack(parts) / len(teachers)


def joint_posterior(
    student: Float[Tensor, "batch column"],
    teachers: Sequence[Float[Tensor, "batch _"]],
    temperature: float,
    classes: Sequence[int] | None,
) -> list[Float[Tensor, ""]]:
    """T² · batch mean of −Σ_l p_i(l) log (q(l) / Σ_{k in Y_i} q(k)) of each teacher i, in nats."""
    of_column = torch.arange(student.shape[1]) if classes is None else torch.as_tensor(classes)
    if len(of_column) != student.shape[1]:
        raise InputError(f"classes name {len(of_column)} columns, the student has {student.shape[1]}: give one each.")
    scaled = student / temperature
    numbers = range(int(of_column.max()) + 1)
    posterior = torch.stack([scaled[:, of_column == c].logsumexp(dim=1) for c in numbers], dim=1)
    parts = []
    for teacher, own in zip(teachers, of_column.split([t.shape[1] for t in teachers]), strict=True):
        target = functional.softmax(teacher / temperature, dim=1)
        parts.append(functional.cross_entropy(posterior[:, own.to(posterior.device)], target) * temperature**2)
    return parts


def cross_entropy(
    student: Float[Tensor, "batch label"], teacher: Float[Tensor, "batch label"], temperature: float
) -> Float[Tensor, ""]:
    """T² · batch mean of −Σ softmax(teacher / T) · log softmax(student / T), in nats."""
    target = functional.softmax(teacher / temperature, dim=1)
    return functional.cross_entropy(student / temperature, target) * temperature**2


def entropy(logits: Float[Tensor, "batch label"]) -> Float[Tensor, "batch"]:
    """−Σ p log p of the softmax, in nats: from 0 (sure) to log(labels). Through log-softmax, so never NaN."""
    log = functional.log_softmax(logits, dim=1)
    return -(log.exp() * log).sum(dim=1)


Selection = Literal["hard", "soft", "claim", "none"]


def selection_weights(
    answers: Sequence[Float[Tensor, "batch _"]], kind: Selection, temperature: float = 0.1
) -> Float[Tensor, "batch teacher"]:
    """How much each teacher of one task teaches each image; rows sum to 1, no gradient.

    Args:
        kind: ``hard``: all to the teacher of least entropy, the first of equals (selective learning, Shen ICCV 2019).
            ``soft``: softmax of −entropy / temperature (ours; its limit for temperature → 0 is ``hard``). ``claim``:
            the teacher's share of the softmax over all their logits side by side (ours). ``none``: all alike.
        temperature: of ``soft``, in nats.

    Raises InputError for another kind.
    """
    check_known("selection", kind, get_args(Selection))
    logits = [answer.detach().float() for answer in answers]
    if kind == "none":
        return logits[0].new_full((len(logits[0]), len(logits)), 1 / len(logits))
    if kind == "claim":
        return torch.stack([z.logsumexp(dim=1) for z in logits], dim=1).softmax(dim=1)
    entropies = torch.stack([entropy(z) for z in logits], dim=1)
    if kind == "soft":
        return functional.softmax(-entropies / temperature, dim=1)
    # argmin does not promise the first of equals: count the teachers that are strictly surer, or as sure and before
    first = (entropies == entropies.min(dim=1, keepdim=True).values).int().cumsum(dim=1)
    return ((first == 1) & (entropies == entropies.min(dim=1, keepdim=True).values)).to(entropies)


def gate(
    losses: Float[Tensor, "batch teacher"], weights: Float[Tensor, "batch teacher"], weighting: str
) -> Float[Tensor, "teacher"]:
    """The losses of the images that each teacher teaches.

    By ``sample``: mean over images of the weighted losses. By ``teacher``: each teacher's weighted mean over its
    images; one that teaches none in the batch adds nothing. Raises InputError for another word.
    """
    check_known("weighting", weighting, ("sample", "teacher"))
    taught = (losses * weights).sum(dim=0)
    return taught / (len(losses) if weighting == "sample" else weights.sum(dim=0).clamp_min(1e-8))


def mmd(
    student: Float[Tensor, "batch feature"],
    teachers: Sequence[Float[Tensor, "batch feature"]],
    bandwidths: Sequence[float] = BANDWIDTHS,
) -> Float[Tensor, "teacher bandwidth"]:
    """Squared maximum mean discrepancy of the student to each teacher, a bandwidth (Luo 2019, L_M).

    Rows are L2-normalised; K(a, b) = exp(−‖a − b‖² / 2σ²); biased, diagonals included; summed over bandwidths and
    clamped at zero by `mmd_sum`. Samples are the images of the batch; the pairing is not seen.

    One Gram matrix of all nets gives all distances. A bandwidth for which every pair of different rows is
    negligible is the constant 2/N with no gradient, and is not computed.
    """
    n, nets = len(student), 1 + len(teachers)
    with torch.autocast(student.device.type, enabled=False):  # half precision would lose the small bandwidths
        rows = functional.normalize(torch.cat([student, *teachers]).float(), dim=1)
        squared = squared_distances(rows, n).clamp_min(1e-12)
    nearest = nearest_pair(squared.detach())
    columns = []
    for bandwidth in bandwidths:
        scale = 1 / (2 * bandwidth**2)
        if nearest * scale > NEGLIGIBLE:
            columns.append(squared.new_full((nets - 1,), 2 / n))
            continue
        mean = kernel(squared, scale).view(nets, n, nets, n).mean(dim=(1, 3))
        columns.append(mean[0, 0] + mean.diagonal()[1:] - 2 * mean[0, 1:])
    return torch.stack(columns, dim=1)


def mmd_by_sample(
    student: Float[Tensor, "batch feature"],
    teachers: Sequence[Float[Tensor, "batch feature"]],
    bandwidths: Sequence[float] = BANDWIDTHS,
) -> Float[Tensor, "teacher bandwidth batch"]:
    """What each image adds to `mmd`: its mean over the images is the squared MMD.

    The image's own rows s_i and t_i: mean_j K(s_i, s_j) + mean_j K(t_i, t_j) − mean_j K(s_i, t_j) − mean_j K(t_i, s_j),
    the difference of the witness function at both (Gretton et al. 2012).
    """
    n = len(student)
    parts = []
    for teacher in teachers:
        with torch.autocast(student.device.type, enabled=False):
            rows = functional.normalize(torch.stack([student, teacher]).float(), dim=2)
            rows = rows - rows.mean(dim=(0, 1))
            blocks = torch.arange(n, device=rows.device).split(max(1, BLOCK // (4 * n)))
            parts.append(torch.cat([added_to_mmd(rows, images, bandwidths) for images in blocks], dim=1))
    return torch.stack(parts)


def added_to_mmd(
    rows: Float[Tensor, "2 image feature"], images: Int64[Tensor, "some"], bandwidths: Sequence[float]
) -> Float[Tensor, "bandwidth some"]:
    """`mmd_by_sample` of some images: the memory it takes grows with their number times that of all."""
    n, own, some = rows.shape[1], rows.square().sum(dim=2), rows[:, images]
    squared = torch.addmm(own.flatten(), some.flatten(0, 1), rows.flatten(0, 1).T, alpha=-2)
    squared = squared.view(2, len(images), 2, n).add_(own[:, images, None, None])
    at = torch.arange(len(images), device=rows.device)
    squared[0, at, 1, images] = squared[1, at, 0, images] = (some[0] - some[1]).square().sum(dim=1)
    squared[0, at, 0, images] = squared[1, at, 1, images] = torch.inf  # a row with itself, counted by itself below
    squared.clamp_(min=1e-12)
    nearest = float(squared.min())
    columns = []
    for bandwidth in bandwidths:
        scale = 1 / (2 * bandwidth**2)
        if nearest * scale > NEGLIGIBLE:
            columns.append(rows.new_full((len(images),), 2 / n))
            continue
        total = kernel(squared, scale).sum(dim=3)
        columns.append((2 + total[0, :, 0] + total[1, :, 1] - total[0, :, 1] - total[1, :, 0]) / n)
    return torch.stack(columns)


def kernel(squared: Float[Tensor, "..."], scale: float) -> Float[Tensor, "..."]:
    """exp(−scale · squared), at least 10⁻³⁵: float32 has nothing to add that to, and exp is ten times slower below."""
    return torch.exp((squared * -scale).clamp_min(-80.0))


def squared_distances(rows: Float[Tensor, "row feature"], n: int) -> Float[Tensor, "row row"]:
    """Squared distances of all rows, ``n`` a net, student first, by one Gram matrix.

    A bandwidth of 0.001 multiplies them by 500 000, and 2 − 2·Gram is off by a millionth in float32: so the rows are
    centred, the norms are the Gram's own diagonal (a row is at 0 from itself), and the rows of one image in student
    and teacher, which come closest, are compared directly.
    """
    rows = rows - rows.detach().mean(dim=0)
    gram = rows @ rows.T
    own = gram.diagonal()
    squared = own[:, None] + own - 2 * gram
    for start in range(n, len(rows), n):
        pair = (rows[:n] - rows[start : start + n]).square().sum(dim=1)
        squared.diagonal(start)[:n] = pair
        squared.diagonal(-start)[:n] = pair
    return squared


def nearest_pair(squared: Float[Tensor, "row row"]) -> float:
    """The smallest squared distance between two different rows."""
    if len(squared) < 2:
        return 0.0
    return float(squared.flatten()[1:].view(len(squared) - 1, len(squared) + 1)[:, :-1].min())


def mmd_sum(by_bandwidth: Float[Tensor, "teacher bandwidth"]) -> Float[Tensor, "teacher"]:
    """ReLU(Σ over bandwidths) of each teacher: the alignment term of Luo 2019."""
    return by_bandwidth.sum(dim=1).relu()


def classwise_mmd(
    student: Float[Tensor, "batch feature"],
    teachers: Sequence[Float[Tensor, "batch feature"]],
    label: Int64[Tensor, "batch"],
    owner: Int64[Tensor, "batch"],
    bandwidths: Sequence[float] = BANDWIDTHS,
) -> Float[Tensor, ""]:
    """Mean over the batch's classes of the squared MMD of the student to the teacher that knows the class.

    1/C · Σ_c MMD²({h_S}_c, {h_T}_c), the class-wise part of DDFA (Information Sciences 613, 2022) as its abstract
    describes it; the formula is ours. A class with a single image has no distribution and is left out.

    The label is the class each image seems to have, by the teachers' answers, its owner which of them knows it.
    """
    parts = []
    for value in label.unique().tolist():
        rows = (label == value).nonzero().flatten()
        if len(rows) > 1:
            teacher = teachers[int(owner[rows[0]])]
            parts.append(mmd_sum(mmd(student[rows], [teacher[rows]], bandwidths)).sum())
    return torch.stack(parts).mean() if parts else 0.0 * sum((t.sum() for t in teachers), student.sum())


def paired(
    student: Float[Tensor, "batch feature"], teachers: Sequence[Float[Tensor, "batch feature"]]
) -> Float[Tensor, "teacher"]:
    """Mean squared distance of one image's L2-normalised rows in student and teacher (0 to 4): ours, the paired L_M."""
    own = functional.normalize(student, dim=1)
    return torch.stack([(own - functional.normalize(t, dim=1)).square().sum(1).mean() for t in teachers])


def pulled(point: Float[Tensor, "batch *feature"], share: Float[Tensor, "batch"]) -> Float[Tensor, "batch *feature"]:
    """The same values, whose gradient is scaled image by image: how far what is asked of a point moves it (ours)."""
    kept = point.detach()
    return kept + (point - kept) * share.view(-1, *[1] * (point.ndim - 1))


def reconstruction(
    rebuilt: Mapping[str, Float[Tensor, "batch _ _ _"]],
    features: Mapping[str, Float[Tensor, "batch _ _ _"]],
    *,
    kind: Literal["relative", "mean", "sum"] = "relative",
) -> Float[Tensor, "teacher"]:
    """The reconstruction error of every teacher's features (Luo 2019, L_R).

    Args:
        kind: ``mean``: squared error, mean over all elements (published code). ``sum``: squared norm a sample, batch
            mean (the paper's ‖·‖²). ``relative``: the mean divided by the features' variance about their channel
            means in the batch, so that 1 means "no better than the mean" and teachers of different scale count alike
            (ours).

    Raises InputError for another kind.
    """
    check_known("kind of reconstruction error", kind, ("relative", "mean", "sum"))
    errors = []
    for teacher, target in features.items():
        error = functional.mse_loss(rebuilt[teacher], target)
        if kind == "sum":
            error = error * target[0].numel()
        elif kind == "relative":
            error = error / variance(target)
        errors.append(error)
    return torch.stack(errors)


def channel_error(
    rebuilt: Float[Tensor, "batch channel height width"], feature: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, "batch channel"]:
    """Squared error, mean over space, relative to each channel's own variance over batch and space.

    A channel that hardly varies counts as if it had a thousandth of the mean variance, so that nothing is divided by
    zero and a dead channel that comes back dead has error 0.
    """
    own = feature.var(dim=(0, 2, 3), unbiased=False)
    return (rebuilt - feature).square().mean(dim=(2, 3)) / own.clamp_min(1e-3 * float(variance(feature)))


def errors_by_image(names: Iterable[str], rebuilt: Iterable[Tensor], features: Iterable[Tensor]) -> dict[str, Tensor]:
    """Reconstruction error of every teacher a sample, and a channel, relative to the feature's variance."""
    found = {}
    for name, made, feature in zip(names, rebuilt, features, strict=True):
        found[f"error/{name}"] = (made - feature).square().mean(dim=(1, 2, 3)) / variance(feature)
        found[f"channel_error/{name}"] = channel_error(made, feature)
    return found


def averaged_to(feature: Float[Tensor, "batch _ _ _"], size: tuple[int, int]) -> Float[Tensor, "batch _ _ _"]:
    """A map averaged to a smaller height and width."""
    return feature if tuple(feature.shape[2:]) == size else functional.adaptive_avg_pool2d(feature, size)


def variance(feature: Float[Tensor, "batch channel height width"]) -> Float[Tensor, ""]:
    """Mean squared deviation from the channels' means, over batch and space; at least 1e-8."""
    power, means = feature.square().mean(), feature.mean(dim=(0, 2, 3))
    spread = power - means.square().mean()  # ten times as fast as the definition, and as exact where not much cancels
    if bool(spread < 1e-3 * power):
        spread = (feature - means[:, None, None]).square().mean()
    return spread.clamp_min(1e-8)
