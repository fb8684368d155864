"""Figures of nets of mixed operations (NAS-BERT), and of look-up."""
