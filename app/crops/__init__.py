"""Pictures of one person, cut for the networks that look at one person at a time."""
