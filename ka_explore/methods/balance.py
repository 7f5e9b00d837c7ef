"""A controller of the weights of a loss's terms: GradNorm.

Chen, Badrinarayanan, Lee, Rabinovich: GradNorm, ICML 2018; in amalgamation used by SOKA-Net (Luo et al., ECCV 2020).
A term whose gradient is small, or that has fallen less than the others, gains weight.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

EXPONENT = 1.5  # how strongly terms that lag are helped, as in SOKA-Net's public reproduction


class GradNorm(nn.Module):
    """Factors λ_k on the weighted terms w_k L_k, mean 1, that learn beside the net.

    G_k = λ_k ‖∇ w_k L_k‖ over the shared parameters; r_k = (L_k / L_k(0)) / mean of these; the factors follow the
    gradient of Σ_k |G_k − mean(G) · r_k^1.5|, and nothing else does. Where the published algorithm renormalises λ after
    each step, here λ = K softmax(θ) throughout, so that a step stays a function of the weights.
    """

    initial: Tensor

    def __init__(self, terms: Sequence[str]):
        super().__init__()
        self.terms = tuple(terms)
        self.theta = nn.Parameter(torch.zeros(len(self.terms)))
        self.register_buffer("initial", torch.ones(len(self.terms)))

    @property
    def factors(self) -> Float[Tensor, "term"]:
        """λ, in the order of the terms."""
        return len(self.terms) * torch.softmax(self.theta, dim=0)

    def start(self, terms: Mapping[str, Float[Tensor, ""]]) -> None:
        """Take these as the terms' initial values L_k(0)."""
        self.initial.copy_(torch.stack([terms[name] for name in self.terms]).abs().clamp_min(1e-8))

    def forward(
        self, terms: Mapping[str, Float[Tensor, ""]], weights: Mapping[str, float], shared: Iterable[nn.Parameter]
    ) -> Float[Tensor, ""]:
        """Σ_k λ_k w_k L_k; its gradient reaches the net through the L_k and θ through GradNorm's own loss."""
        used = torch.stack([weights[name] * terms[name] for name in self.terms])
        factors = self.factors
        loss = (factors.detach() * used).sum()
        if not torch.is_grad_enabled():
            return loss
        balanced = [p for p in shared if p.requires_grad]
        norms = torch.stack([gradient_norm(term, balanced) for term in used])
        size = factors * norms
        progress = torch.stack([terms[name].detach().abs() for name in self.terms]) / self.initial
        wanted = size.mean() * (progress / progress.mean().clamp_min(1e-8)) ** EXPONENT
        imbalance = (size - wanted.detach()).abs().sum()
        return loss + imbalance - imbalance.detach()


def gradient_norm(term: Float[Tensor, ""], weights: Sequence[nn.Parameter]) -> Float[Tensor, ""]:
    """‖∇ term‖ over the weights, a constant; zero for a term that does not reach them."""
    if not term.requires_grad or not weights:
        return term.new_zeros(())
    gradients = torch.autograd.grad(term, weights, retain_graph=True, allow_unused=True)
    squares = [g.square().sum() for g in gradients if g is not None]
    return torch.stack(squares).sum().sqrt().detach() if squares else term.new_zeros(())
