"""Cluster: a corpus scored by many processes, and replicas of an engine on many machines.

`Scorer` needs nothing besides the runtime. `replicas` needs `gearshift[ray]`, and is imported by its own path.
"""

from gearshift.cluster.scorer import Scorer as Scorer

__all__ = ["Scorer"]
