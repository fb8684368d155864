"""Elastic encoder, its checkpoints, and the sources of pretrained encoders."""
