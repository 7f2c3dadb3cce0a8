"""Hydra config groups (YAML presets and experiments)."""
