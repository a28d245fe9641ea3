"""Recorded motion of real people: files read, gait cycles cut, and the model of how people walk fitted to them."""
