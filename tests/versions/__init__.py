"""Tests of the trainer on the oldest and on the newest transformers that it allows."""
