"""Makes the supernet: one trained encoder that holds subnets of many sizes. Needs `gearshift[train]`."""

from gearshift.extras import require


def require_train() -> None:
    """Raise MissingExtraError where a package of `gearshift[train]` is missing; settings alone need none of them."""
    require("train")
