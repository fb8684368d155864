"""Tests of what a graph may hold."""
