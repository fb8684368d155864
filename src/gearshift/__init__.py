"""gearshift: one trained model that holds many subnets, and a runtime that picks one of them for every request."""

import os

__version__ = "0.1.0"

# From 1.29 on, onnxruntime reports each session to Microsoft and stores an id of the device in the user's cache. It
# decides this at import, by this variable alone: its Python call comes too late. A value that is already set stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
