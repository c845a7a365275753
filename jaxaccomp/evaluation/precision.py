"""What rounding the decoders' products to bfloat16 changes: probabilities, the likeliest token, and what is played.

Compared are the two precisions on the latents that the surrogate draws for the tunes that come along: given the same
tokens before (teacher forcing), and each playing on from its own, where one token that differs may change all that
follow.
"""

from dataclasses import dataclass
from typing import Any

from jaxaccomp.config import require, setting


@dataclass(frozen=True, kw_only=True)
class PrecisionConfig:
    """What is compared."""

    checkpoint: str = setting("trio-small", "name or folder")
    takes: int = setting(8, "of each demo tune")
    quick: bool = setting(False, "one take of each")

    def __post_init__(self) -> None:
        require(self.takes >= 1, f"--takes must be at least 1, got {self.takes}")


def measure(config: PrecisionConfig | None = None) -> dict[str, Any]:
    """Compares part by part.

    Args:
        config: which checkpoint, how many takes; None: the defaults.
    """
    import jax
    import numpy as np

    from jaxaccomp import demos
    from jaxaccomp.arrays import PARTS
    from jaxaccomp.generate import accompanist
    from jaxaccomp.generate.sampler import Sampler
    from jaxaccomp.models import musicvae

    settings = config or PrecisionConfig()
    band = accompanist.load(settings.checkpoint)
    takes = 1 if settings.quick else settings.takes
    accompaniments = [take for name in demos.names() for take in band.accompany(demos.path(name), variations=takes)]
    z_NZ = np.concatenate([take.z for take in accompaniments])
    config, params = band.config.musicvae, band.params["musicvae"]
    keys_N = jax.random.split(jax.random.key(0), len(z_NZ))
    greedy, scores = {}, {}
    for dtype in (None, "bfloat16"):
        greedy[dtype] = np.asarray(Sampler(config, params, dtype=dtype)(z_NZ, keys_N, 0.0, PARTS))
        logits = jax.jit(lambda tokens_NLP, z_NZ, dtype=dtype: musicvae.logits(params, tokens_NLP, z_NZ, dtype=dtype))
        scores[dtype] = logits(greedy[None], z_NZ)
    rows = []
    for number, part in enumerate(PARTS):
        exact_NLV, rounded_NLV = (jax.nn.log_softmax(scores[dtype][part]) for dtype in (None, "bfloat16"))
        divergence_NL = (np.exp(exact_NLV) * (exact_NLV - rounded_NLV)).sum(-1)
        same_NL = greedy[None][:, :, number] == greedy["bfloat16"][:, :, number]
        rows.append(
            {
                "part": part,
                "same_likeliest": float((exact_NLV.argmax(-1) == rounded_NLV.argmax(-1)).mean()),
                "kl_nats": float(divergence_NL.mean()),
                "largest_kl_nats": float(divergence_NL.max()),
                "same_greedy": float(same_NL.mean()),
                "windows_all_the_same": float(same_NL.all(axis=1).mean()),
            }
        )
    return {"checkpoint": settings.checkpoint, "windows": len(z_NZ), "rows": rows}


def table(results: dict[str, Any]) -> str:
    """One line a part."""
    lines = [
        f"bfloat16 beside float32, {results['checkpoint']}, {results['windows']} windows of the demo tunes",
        "",
        "| part | same likeliest token | KL, nats a step | largest | same greedy tokens | windows all the same |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        lines.append(
            f"| {row['part']} | {row['same_likeliest']:.2%} | {row['kl_nats']:.1e} | {row['largest_kl_nats']:.1e} "
            f"| {row['same_greedy']:.2%} | {row['windows_all_the_same']:.0%} |"
        )
    return "\n".join(lines)
