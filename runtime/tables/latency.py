"""A latency predictor: a subnet's milliseconds on one device as a sum over its layers.

NAS-BERT times operations one by one and adds them up (section 3.4). Here they are fitted to whole subnets that were
timed, for layers of an elastic encoder by their heads and neurons (`layer_latency`), for blocks by their operations and
hidden size (`operation_latency`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic

from gearshift.device_profiles.latency_table import interpolate
from gearshift.errors import ProfileError
from gearshift.runtime.space.subnet import L, Shape, Subnet


class LatencyPredictor(ABC, Generic[L]):
    """Milliseconds of layers on one device, at a precision and a number of threads."""

    shape: Any
    """Shape of the nets that were measured."""
    precision: str
    provider: str
    threads: int
    lengths: tuple[int, ...]
    fixed_ms: tuple[float, ...]
    """For each length: of the embeddings, the head and the call itself, whatever the layers."""

    def require(self, shape: Shape[Any]) -> None:
        """Raise ProfileError where layers of another make were measured."""
        if differences := shape.layer_differences(self.shape):
            raise ProfileError(
                f"latencies of another space: expected {differences}; measure such a bundle on the device"
            )

    def fixed(self, length: int) -> float:
        """Milliseconds of all that is in every subnet, its projections apart."""
        return max(0.0, interpolate(self.lengths, self.fixed_ms, length))

    @abstractmethod
    def layers(self, layers: tuple[L, ...], length: int, *, first: int, of: int, first_only: bool = False) -> float:
        """Milliseconds of consecutive layers of a net of `of` layers, from number `first` on.

        `first_only`: of a net that answers from its first token alone; a predictor that was fitted to such nets
        needs not be told.
        """

    @abstractmethod
    def projection(self, inputs: int, outputs: int, length: int) -> float:
        """Milliseconds of a projection between layers; 0 where none is needed."""

    @abstractmethod
    def predict(
        self, subnet: Subnet[L], length: int, *, shape: Shape[L] | None = None, first_only: bool = False
    ) -> float:
        """Milliseconds of a subnet for a text of that many tokens: straight lines between the measured lengths.

        `shape`: of the subnet, that of the measured ones unless given; raises ProfileError for another make of net.
        `first_only`: as for `layers`.
        """
