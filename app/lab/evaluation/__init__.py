"""Gait networks judged by the protocols of the published data sets: ``python -m app evaluate``."""
