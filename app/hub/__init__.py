"""Which models exist, and fetching the published ones."""
