"""Many songs, unattended: found, read, decoded in shared batches, written, and remembered."""
