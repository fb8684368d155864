"""Block tables, and the look-up of subnets in them. The engine does not import this package."""

from gearshift.runtime.tables.limits import Limits as Limits
from gearshift.runtime.tables.tables_file import load_tables as load_tables

__all__ = ["Limits", "load_tables"]
