"""NumPy only: MIDI, the grid of sixteenths, trio windows, the melody, stitching. No JAX may be imported here."""
