"""Pass 1: a video becomes walks."""
