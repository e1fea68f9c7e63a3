"""What a result is on disk, and what is computed from it."""
