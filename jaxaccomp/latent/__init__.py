"""The latent space by itself: samples, interpolation, reconstruction, attributes.

from jaxaccomp import latent
space = latent.load("trio-small")
trios_NLP = space.decode(space.prior(4))
"""

from jaxaccomp.latent.space import LatentSpace, interpolate, load

__all__ = ["LatentSpace", "interpolate", "load"]
