"""Inference from text to answer: tokens, session, executors, self-test, typed answers."""
