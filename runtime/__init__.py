"""Runs a bundle on the device: `Engine.load(bundle).run(text, deadline_ms=15)`."""

from gearshift.runtime.answers import Classification as Classification
from gearshift.runtime.answers import Embedding as Embedding
from gearshift.runtime.answers import MultiLabelClassification as MultiLabelClassification
from gearshift.runtime.answers import QuestionAnswering as QuestionAnswering
from gearshift.runtime.answers import Regression as Regression
from gearshift.runtime.answers import TokenClassification as TokenClassification
from gearshift.runtime.bundle import Bundle as Bundle
from gearshift.runtime.bundle import open_bundle as open_bundle
from gearshift.runtime.cap_rules import Rules as Rules
from gearshift.runtime.caps import Caps as Caps
from gearshift.runtime.engine import Engine as Engine
from gearshift.runtime.errors import BundleError as BundleError
from gearshift.runtime.errors import DeadlineError as DeadlineError
from gearshift.runtime.errors import DeadlinePassedError as DeadlinePassedError
from gearshift.runtime.errors import DeadlineTooShortError as DeadlineTooShortError
from gearshift.runtime.errors import EngineClosedError as EngineClosedError
from gearshift.runtime.errors import GearshiftError as GearshiftError
from gearshift.runtime.errors import InputError as InputError
from gearshift.runtime.errors import IntegrityError as IntegrityError
from gearshift.runtime.errors import ProfileError as ProfileError
from gearshift.runtime.errors import QueueFullError as QueueFullError
from gearshift.runtime.errors import SchemaError as SchemaError
from gearshift.runtime.errors import SelfTestError as SelfTestError
from gearshift.runtime.errors import StorageError as StorageError
from gearshift.runtime.errors import UnknownSubnetError as UnknownSubnetError
from gearshift.runtime.manifest import Manifest as Manifest
from gearshift.runtime.manifest import PoolEntry as PoolEntry
from gearshift.runtime.sensors import Sensors as Sensors
from gearshift.runtime.space import EncoderShape as EncoderShape
from gearshift.runtime.space import Option as Option
from gearshift.runtime.space import Space as Space
from gearshift.runtime.space import Stage as Stage
from gearshift.runtime.space import Subnet as Subnet
from gearshift.runtime.space import layer_space as layer_space
from gearshift.runtime.space import uniform_grid as uniform_grid
from gearshift.runtime.spans import Entity as Entity
from gearshift.runtime.spans import Word as Word
from gearshift.runtime.steering import Steering as Steering
from gearshift.runtime.worker import AnswerFuture as AnswerFuture

__all__ = [
    "AnswerFuture",
    "Bundle",
    "BundleError",
    "Caps",
    "Classification",
    "DeadlineError",
    "DeadlinePassedError",
    "DeadlineTooShortError",
    "Embedding",
    "EncoderShape",
    "Engine",
    "EngineClosedError",
    "Entity",
    "GearshiftError",
    "InputError",
    "IntegrityError",
    "Manifest",
    "MultiLabelClassification",
    "Option",
    "PoolEntry",
    "ProfileError",
    "QuestionAnswering",
    "QueueFullError",
    "Regression",
    "Rules",
    "SchemaError",
    "SelfTestError",
    "Sensors",
    "Space",
    "Stage",
    "Steering",
    "StorageError",
    "Subnet",
    "TokenClassification",
    "UnknownSubnetError",
    "Word",
    "layer_space",
    "open_bundle",
    "uniform_grid",
]
