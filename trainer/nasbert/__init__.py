"""NAS-BERT: block-wise search for nets of mixed operations, and the training of the chosen nets."""
