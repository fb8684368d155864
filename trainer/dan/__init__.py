"""A DAN distilled from a trained model (Sparse Distillation)."""
