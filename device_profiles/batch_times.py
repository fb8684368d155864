"""Times of calls of several texts, as shares of the time that so many calls of one text take."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gearshift.device_profiles.checks import check_names, listed, mapping, positive, require
from gearshift.number_checks import is_whole

Shares = tuple[float, ...]
"""Shares by number of texts, of one subnet and length."""


@dataclass(frozen=True)
class BatchTimes:
    """Shares of a few subnets: time of a call of n texts / n times that of a call of one. 1 is a batch that gains
    nothing.

    Raises ProfileError if a number is missing, not positive or not finite.
    """

    texts: tuple[int, ...]
    """Numbers of texts of the timed calls, ascending from 2 on."""
    lengths: tuple[int, ...]
    """Lengths of the timed texts in tokens, ascending."""
    shares: dict[str, tuple[Shares, ...]]
    """Subnet name -> for each length the shares of the first of `texts`: long texts are not timed in large batches."""

    def __post_init__(self) -> None:
        for name, values, least in (("texts", self.texts, 2), ("lengths", self.lengths, 1)):
            require(
                bool(values)
                and all(is_whole(value, least) for value in values)
                and all(low < high for low, high in itertools.pairwise(values)),
                f"batches: {name}: expected ascending whole numbers from {least} on, found {list(values)}",
            )
        require(bool(self.shares), "batches: shares: expected at least one subnet, found none")
        for subnet, rows in self.shares.items():
            require(
                len(rows) == len(self.lengths) and all(1 <= len(row) <= len(self.texts) for row in rows),
                f"batches: shares of {subnet}: expected for each of {len(self.lengths)} lengths 1 to "
                f"{len(self.texts)} shares, found {[len(row) for row in rows]}",
            )
            for share in itertools.chain.from_iterable(rows):
                require(positive(share), f"batches: shares of {subnet}: expected finite ones above 0, found {share!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values by name, for JSON."""
        return {
            "texts": list(self.texts),
            "lengths": list(self.lengths),
            "shares": {subnet: [list(row) for row in rows] for subnet, rows in self.shares.items()},
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> BatchTimes:
        """Read the times that `to_dict` wrote; raises ProfileError."""
        check_names("batches", raw, set(cls.__dataclass_fields__))
        shares = {
            subnet: tuple(listed(f"shares of {subnet}", row) for row in listed(f"shares of {subnet}", rows))
            for subnet, rows in mapping("shares", raw["shares"]).items()
        }
        return cls(listed("texts", raw["texts"]), listed("lengths", raw["lengths"]), shares)

    def share(self, name: str, length: int, batch: int) -> float:
        """Return the share of a measured subnet, for `batch` texts of `length` tokens each.

        Between the numbers of texts the time of the call lies on a straight line, between the lengths the share does.
        Beyond the largest number and the longest texts, and below the shortest, the share stays.
        """
        rows = self.shares[name]
        if length <= self.lengths[0]:
            return self._at(rows[0], batch)
        right = min(bisect_left(self.lengths, length), len(self.lengths) - 1)
        if length >= self.lengths[right]:
            return self._at(rows[right], batch)
        left = right - 1
        low, high = self._at(rows[left], batch), self._at(rows[right], batch)
        return low + (high - low) * (length - self.lengths[left]) / (self.lengths[right] - self.lengths[left])

    def _at(self, row: Shares, batch: int) -> float:
        if batch >= self.texts[len(row) - 1]:
            return row[-1]
        counts, times = (1, *self.texts), (1.0, *(n * share for n, share in zip(self.texts, row, strict=False)))
        right = max(1, bisect_left(counts, batch))
        slope = (times[right] - times[right - 1]) / (counts[right] - counts[right - 1])
        return (times[right - 1] + slope * (batch - counts[right - 1])) / batch
