"""Objectives and the one loop that trains both models."""
