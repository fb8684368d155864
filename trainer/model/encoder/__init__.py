"""Layers of the elastic encoder, whose form is that of an `EncoderShape`."""
