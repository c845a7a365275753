"""What a model is worth: likelihoods, musical measures, the card."""
