"""What logits say: probabilities and how sure they are. Numpy in float64; a row that is not finite gives NaN."""

import numpy as np
from jaxtyping import Float


def logsumexp(logits: Float[np.ndarray, "sample label"]) -> Float[np.ndarray, "sample"]:
    """log Σ exp of every row; NaN where there is one."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.logaddexp.reduce(logits.astype(np.float64), axis=1))


def log_softmax(logits: Float[np.ndarray, "sample label"]) -> Float[np.ndarray, "sample label"]:
    """Log-probabilities of every row."""
    with np.errstate(invalid="ignore"):
        return np.asarray(logits.astype(np.float64) - logsumexp(logits)[:, None])


def softmax(logits: Float[np.ndarray, "sample label"]) -> Float[np.ndarray, "sample label"]:
    """Probabilities of every row."""
    return np.asarray(np.exp(log_softmax(logits)))


def entropy(logits: Float[np.ndarray, "sample label"]) -> Float[np.ndarray, "sample"]:
    """Of the softmax of every row, in nats."""
    log = log_softmax(logits)
    with np.errstate(invalid="ignore"):
        return np.asarray(-(np.exp(log) * log).sum(axis=1))


def relative_entropy(logits: Float[np.ndarray, "sample label"]) -> Float[np.ndarray, "sample"]:
    """Entropy as a share of log(labels), which is 1 for answers that say nothing; 0 for a single label."""
    return np.asarray(entropy(logits) / (np.log(logits.shape[1]) if logits.shape[1] > 1 else 1.0))
