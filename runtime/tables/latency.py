"""Latency predictor: the latency of a subnet on one device as a sum over its layers.

NAS-BERT times operations one by one and adds them up (section 3.4). Here the terms are fitted to the times of whole
subnets: layers of an elastic encoder by their heads and neurons (`layer_latency`), blocks by their operations and
hidden size (`operation_latency`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic

from gearshift.device_profiles.latency_table import interpolate
from gearshift.errors import ProfileError
from gearshift.runtime.space.subnet import L, Shape, Subnet


class LatencyPredictor(ABC, Generic[L]):
    """Predictor of latencies on one device, at one precision and number of threads; times in ms."""

    shape: Any
    """Shape of the measured nets."""
    precision: str
    provider: str
    threads: int
    lengths: tuple[int, ...]
    fixed_ms: tuple[float, ...]
    """Time of the embeddings, the head and the call itself, for each length; the same for all subnets."""

    def require(self, shape: Shape[Any]) -> None:
        """Raise ProfileError if the measured layers differ in shape from these."""
        if differences := shape.layer_differences(self.shape):
            raise ProfileError(
                f"latencies of another space: expected {differences}; measure such a bundle on the device"
            )

    def fixed(self, length: int) -> float:
        """Return the time in ms that all subnets share, without projections."""
        return max(0.0, interpolate(self.lengths, self.fixed_ms, length))

    @abstractmethod
    def layers(self, layers: tuple[L, ...], length: int, *, first: int, of: int, first_only: bool = False) -> float:
        """Return the time in ms of consecutive layers, from index `first` on, in a net of `of` layers.

        `first_only`: the net answers from its first token alone; not needed if the predictor was fitted to such nets.
        """

    @abstractmethod
    def projection(self, inputs: int, outputs: int, length: int) -> float:
        """Return the time in ms of a projection between layers; 0 if none is needed."""

    @abstractmethod
    def predict(
        self, subnet: Subnet[L], length: int, *, shape: Shape[L] | None = None, first_only: bool = False
    ) -> float:
        """Predict the latency in ms of a subnet for a text of `length` tokens, linear between the measured lengths.

        `shape`: shape of the subnet; default: that of the measured ones. Raises ProfileError for other layers.
        `first_only`: as for `layers`.
        """
