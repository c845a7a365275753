"""From latents to notes: the sampler, and the accompanist of one song."""
