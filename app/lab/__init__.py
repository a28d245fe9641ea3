"""Data sets, training, judging and virtual walkers: what makes and measures the networks."""
