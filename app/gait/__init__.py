"""Gait models: networks, and the readers of their published checkpoints."""
