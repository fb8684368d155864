"""Training in general: loop, losses, metrics, distillation, sampling, importance."""
