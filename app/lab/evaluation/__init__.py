"""Evaluate gait networks by the protocols of published data sets (``python -m app evaluate``), and fit scores."""
