"""How a batch of latents becomes tokens: step by step, all bars at once, and in blocks that agree to the last bit."""
