"""The two passes, and the one place that wires concrete classes."""
