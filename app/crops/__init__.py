"""Pictures of one person, for the networks that look at one person at a time."""
