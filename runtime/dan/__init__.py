"""The DAN on the device: n-grams, their index, logits, and the threshold of a cascade."""
