"""Checkpoints read safely, the implementations that read them, and ONNX sessions."""
