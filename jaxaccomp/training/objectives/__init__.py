"""What is minimized, one objective a module; their names are found here as well."""

from jaxaccomp.training.objectives.base import (
    BIT,
    Batch,
    Metrics,
    Objective,
    accuracies,
    hits,
    kept_tokens,
    nll_BP,
)
from jaxaccomp.training.objectives.guide import GuideObjective
from jaxaccomp.training.objectives.joint import JointObjective
from jaxaccomp.training.objectives.surrogate import SurrogateObjective, posterior_divergence_B, transpose
from jaxaccomp.training.objectives.vae import VAEObjective, beta_at, vae_loss

__all__ = [
    "BIT",
    "Batch",
    "GuideObjective",
    "JointObjective",
    "Metrics",
    "Objective",
    "SurrogateObjective",
    "VAEObjective",
    "accuracies",
    "beta_at",
    "hits",
    "kept_tokens",
    "nll_BP",
    "posterior_divergence_B",
    "transpose",
    "vae_loss",
]
