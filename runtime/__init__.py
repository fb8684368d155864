"""Runtime: runs a bundle on the device, as `Engine.load(bundle).run(text, deadline_ms=15)`."""

from gearshift.errors import BundleError as BundleError
from gearshift.errors import DeadlineError as DeadlineError
from gearshift.errors import DeadlinePassedError as DeadlinePassedError
from gearshift.errors import DeadlineTooShortError as DeadlineTooShortError
from gearshift.errors import EngineClosedError as EngineClosedError
from gearshift.errors import GearshiftError as GearshiftError
from gearshift.errors import InputError as InputError
from gearshift.errors import IntegrityError as IntegrityError
from gearshift.errors import ProfileError as ProfileError
from gearshift.errors import QueueFullError as QueueFullError
from gearshift.errors import SchemaError as SchemaError
from gearshift.errors import SelfTestError as SelfTestError
from gearshift.errors import SignatureError as SignatureError
from gearshift.errors import StorageError as StorageError
from gearshift.errors import UnknownSubnetError as UnknownSubnetError
from gearshift.runtime.bundle.bundle import Bundle as Bundle
from gearshift.runtime.bundle.bundle import open_bundle as open_bundle
from gearshift.runtime.bundle.manifest import Manifest as Manifest
from gearshift.runtime.bundle.manifest import PoolEntry as PoolEntry
from gearshift.runtime.engine import Engine as Engine
from gearshift.runtime.fleet import Fleet as Fleet
from gearshift.runtime.inference.answers import Classification as Classification
from gearshift.runtime.inference.answers import Embedding as Embedding
from gearshift.runtime.inference.answers import MultiLabelClassification as MultiLabelClassification
from gearshift.runtime.inference.answers import MultiTask as MultiTask
from gearshift.runtime.inference.answers import QuestionAnswering as QuestionAnswering
from gearshift.runtime.inference.answers import Regression as Regression
from gearshift.runtime.inference.answers import TokenClassification as TokenClassification
from gearshift.runtime.inference.spans import Entity as Entity
from gearshift.runtime.inference.spans import Word as Word
from gearshift.runtime.inference.words import Words as Words
from gearshift.runtime.pipeline import Pipeline as Pipeline
from gearshift.runtime.pipeline import pipeline as pipeline
from gearshift.runtime.policy.objective import Objective as Objective
from gearshift.runtime.policy.objective import Objective as Steering
from gearshift.runtime.reading.ranking import Ranked as Ranked
from gearshift.runtime.reading.ranking import Ranking as Ranking
from gearshift.runtime.reading.zero_shot import ZeroShot as ZeroShot
from gearshift.runtime.sensors.cap_rules import Rules as Rules
from gearshift.runtime.sensors.caps import Caps as Caps
from gearshift.runtime.sensors.sensors import Sensors as Sensors
from gearshift.runtime.serving.request import AnswerFuture as AnswerFuture
from gearshift.runtime.space.shape import EncoderShape as EncoderShape
from gearshift.runtime.space.space import Option as Option
from gearshift.runtime.space.space import Space as Space
from gearshift.runtime.space.space import Stage as Stage
from gearshift.runtime.space.space import layer_space as layer_space
from gearshift.runtime.space.subnet import Subnet as Subnet
from gearshift.runtime.space.uniform import uniform_grid as uniform_grid

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
    "Fleet",
    "GearshiftError",
    "InputError",
    "IntegrityError",
    "Manifest",
    "MultiLabelClassification",
    "MultiTask",
    "Objective",
    "Option",
    "Pipeline",
    "PoolEntry",
    "ProfileError",
    "QuestionAnswering",
    "QueueFullError",
    "Ranked",
    "Ranking",
    "Regression",
    "Rules",
    "SchemaError",
    "SelfTestError",
    "Sensors",
    "SignatureError",
    "Space",
    "Stage",
    "Steering",
    "StorageError",
    "Subnet",
    "TokenClassification",
    "UnknownSubnetError",
    "Word",
    "Words",
    "ZeroShot",
    "layer_space",
    "open_bundle",
    "pipeline",
    "uniform_grid",
]
