"""Sharded TFDS datasets of windows and latents, without TensorFlow, and their reader."""
