"""The elastic encoder, its checkpoints, and where pretrained encoders come from."""
