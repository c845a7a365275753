"""From latents to notes: the sampler, the accompanist of one song, the collection."""
