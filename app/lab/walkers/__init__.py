"""Virtual walkers: parametric bodies that walk with an individual gait, seen by any camera, with exact truth."""
