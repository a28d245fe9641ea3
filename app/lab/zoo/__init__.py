"""The comparison of the families of gait networks on virtual walkers."""
