"""All errors that gearshift raises on purpose, as one tree.

    GearshiftError
    ├── InputError            an argument that cannot be used (also a ValueError)
    │   └── UnknownSubnetError    no such subnet in this bundle
    ├── BundleError           a bundle that cannot be read
    │   ├── IntegrityError        a file is missing, truncated or altered
    │   ├── SchemaError           written in a form that this version does not read
    │   ├── SelfTestError         a graph gives wrong numbers on this CPU
    │   └── SignatureError        not signed by a key that was asked for, or older than one seen
    ├── ProfileError          a device profile or latency table that cannot be used
    ├── DataError             a data set that cannot be read; names file and line
    ├── ModelError            a model or checkpoint that is not supported
    ├── ExportError           an exported graph that fails a check
    ├── MissingExtraError     a package of an extra is not installed (also an ImportError)
    ├── StorageError          a directory that could not be written; the old one is still there
    ├── EngineClosedError     a request to an engine after `close`
    ├── QueueFullError        more requests wait than there is room for
    └── DeadlineError         a deadline that cannot be kept
        ├── DeadlinePassedError   the deadline passed while the request waited
        └── DeadlineTooShortError no subnet keeps it, and such requests are refused

Each message is one line: what was expected, what came, what to do.

This module is the bottom layer of the package, and every folder raises these errors.
"""

from gearshift.escaping import escaped


class GearshiftError(Exception):
    """Base of all errors that gearshift raises on purpose.

    A message names labels, files and texts of others; as text it is one line without what a terminal obeys.
    """

    def __str__(self) -> str:
        return escaped(super().__str__())


class InputError(GearshiftError, ValueError):
    """An argument of the caller that cannot be used."""


class UnknownSubnetError(InputError):
    """A subnet that this bundle or space does not have."""


class BundleError(GearshiftError):
    """A bundle that cannot be read."""


class IntegrityError(BundleError):
    """A file of a bundle that is missing, truncated or altered."""


class SchemaError(BundleError):
    """A bundle written in a form that this version does not read."""


class SelfTestError(BundleError):
    """A graph whose numbers on this CPU differ from those in its bundle."""


class SignatureError(BundleError):
    """A bundle that is not signed by a key that was asked for, or is older than one that was loaded."""


class ProfileError(GearshiftError):
    """A device profile or latency table that cannot be used."""


class DataError(GearshiftError):
    """A data set that cannot be read; the message names the file and the line."""


class ModelError(GearshiftError):
    """A model or checkpoint that is not supported."""


class ExportError(GearshiftError):
    """An exported graph that fails a check: numbers that differ from the model's, or unpacked weights."""


class MissingExtraError(GearshiftError, ImportError):
    """A package that is not installed; the message names the command that installs it."""


class StorageError(GearshiftError):
    """A directory that could not be written; its previous content is still there."""


class EngineClosedError(GearshiftError):
    """A request to an engine that was closed."""


class QueueFullError(GearshiftError):
    """A request that was not accepted, since more wait than there is room for."""


class DeadlineError(GearshiftError):
    """A deadline that cannot be kept."""


class DeadlinePassedError(DeadlineError):
    """A deadline that passed while the request waited; the request was dropped, so that later ones can be answered."""


class DeadlineTooShortError(DeadlineError):
    """A deadline that no subnet keeps, with an engine that refuses such requests (load shedding)."""


def one_line(error: BaseException) -> str:
    """Return an exception's whole message on one line; its type if there is no message."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message; its type if there is no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def is_time_limit(error: BaseException) -> bool:
    """Return whether an exception is a time limit that a signal handler set: a TimeoutError, which is an OSError too.

    It comes out of whatever runs at that moment, tells nothing about it, and is never to be taken for its failure.
    """
    return isinstance(error, TimeoutError) and error.errno is None
