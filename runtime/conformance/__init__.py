"""Vectors that a client in any language is held to: texts with tokens, outputs and answers; requests with decisions."""
