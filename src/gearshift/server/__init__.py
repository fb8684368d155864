"""Server: answers of one engine over HTTP, for programs of other languages and other machines."""

from gearshift.server.access import Access as Access
from gearshift.server.limits import Limits as Limits
from gearshift.server.service import Service as Service

__all__ = ["Access", "Limits", "Service"]
