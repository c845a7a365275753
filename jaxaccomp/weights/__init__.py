"""Every path to a parameter: TensorFlow checkpoints, porting, our own checkpoints."""
