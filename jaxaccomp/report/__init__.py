"""Pictures and sound of a result."""
