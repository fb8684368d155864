"""Checks of an exported graph: parity with the model, packing, accuracy in int8."""
