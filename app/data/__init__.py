"""Gait data sets: what the networks read beside silhouettes."""
