"""Elastic nets of convolutions: traced from a torch module, trained, and kept in run directories of their own."""
