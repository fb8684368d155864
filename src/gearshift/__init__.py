"""gearshift: one trained model, many sizes inside it, and a runtime that changes size between two requests."""

__version__ = "0.1.0"
