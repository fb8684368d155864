"""Every error that gearshift raises on purpose, as one tree.

    GearshiftError
    ├── InputError            what the caller passed cannot be used (also a ValueError)
    │   └── UnknownSubnetError    no such subnet in this bundle
    ├── BundleError           a bundle that cannot be read
    │   ├── IntegrityError        a file is missing, truncated or altered
    │   ├── SchemaError           written in a form this version does not read
    │   └── SelfTestError         a graph gives other numbers on this CPU than it must
    ├── ProfileError          a device profile or latency table that cannot be used
    ├── DataError             a data set that cannot be read; names file and line
    ├── ModelError            a model or checkpoint that is not supported
    ├── ExportError           a graph that is not what it must be
    ├── MissingExtraError     a package of an extra is not installed (also an ImportError)
    ├── StorageError          a directory that could not be written; the old one is still there
    ├── EngineClosedError     a request to an engine after `close`
    ├── QueueFullError        more requests wait than there is room for
    └── DeadlineError         a deadline that cannot be kept
        ├── DeadlinePassedError   it went by while the request waited
        └── DeadlineTooShortError nothing fits it, and that is to be refused

Each message is one line: what was expected, what came, what to do.

This is the ground floor of the package: it imports nothing, and every folder raises what stands here.
"""


class GearshiftError(Exception):
    """The base of all errors that gearshift raises on purpose."""


class InputError(GearshiftError, ValueError):
    """What the caller passed cannot be used."""


class UnknownSubnetError(InputError):
    """No such subnet in this bundle or space."""


class BundleError(GearshiftError):
    """A bundle that cannot be read."""


class IntegrityError(BundleError):
    """A file of a bundle is missing, truncated or altered."""


class SchemaError(BundleError):
    """A bundle written in a form that this version does not read."""


class SelfTestError(BundleError):
    """A graph gives other numbers on this CPU than its bundle says it must."""


class ProfileError(GearshiftError):
    """A device profile or latency table that cannot be used."""


class DataError(GearshiftError):
    """A data set that cannot be read; the message names the file and the line."""


class ModelError(GearshiftError):
    """A model or checkpoint that is not supported."""


class ExportError(GearshiftError):
    """A graph that is not what it must be: other numbers than the model, or weights left unpacked."""


class MissingExtraError(GearshiftError, ImportError):
    """A package is not installed; the message names the command that installs it."""


class StorageError(GearshiftError):
    """A directory that could not be written; what stood there before still stands."""


class EngineClosedError(GearshiftError):
    """A request to an engine that was closed."""


class QueueFullError(GearshiftError):
    """More requests wait than there is room for: this one was not taken."""


class DeadlineError(GearshiftError):
    """A deadline that cannot be kept."""


class DeadlinePassedError(DeadlineError):
    """The deadline of a request went by before its turn: it was dropped, so that later ones can be answered."""


class DeadlineTooShortError(DeadlineError):
    """No subnet keeps the deadline, and the engine was asked to refuse such requests."""


def one_line(error: BaseException) -> str:
    """An exception's whole message on one line, its type where there is none."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """First line of an exception's message, its type where there is none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
