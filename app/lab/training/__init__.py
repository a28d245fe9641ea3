"""Training of the networks that come with the project, and of users' own (extra `train`)."""
