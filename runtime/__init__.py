"""Runtime: runs a bundle on the device, as `Engine.load(bundle).run(text, deadline_ms=15)`.

A name is imported when it is first asked for: a part of the runtime costs what that part needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from gearshift.runtime.inference.answers import ImageToImage as ImageToImage
    from gearshift.runtime.inference.answers import MultiLabelClassification as MultiLabelClassification
    from gearshift.runtime.inference.answers import MultiTask as MultiTask
    from gearshift.runtime.inference.answers import QuestionAnswering as QuestionAnswering
    from gearshift.runtime.inference.answers import Regression as Regression
    from gearshift.runtime.inference.answers import TokenClassification as TokenClassification
    from gearshift.runtime.inference.spans import Entity as Entity
    from gearshift.runtime.inference.spans import Word as Word
    from gearshift.runtime.inference.words import Words as Words
    from gearshift.runtime.pipelines import Pipeline as Pipeline
    from gearshift.runtime.pipelines import pipeline as pipeline
    from gearshift.runtime.policy.objective import Objective as Objective
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

    Steering = Objective

_HOMES = {
    "AnswerFuture": "runtime.serving.request",
    "Bundle": "runtime.bundle.bundle",
    "BundleError": "errors",
    "Caps": "runtime.sensors.caps",
    "Classification": "runtime.inference.answers",
    "DeadlineError": "errors",
    "DeadlinePassedError": "errors",
    "DeadlineTooShortError": "errors",
    "Embedding": "runtime.inference.answers",
    "EncoderShape": "runtime.space.shape",
    "Engine": "runtime.engine",
    "EngineClosedError": "errors",
    "Entity": "runtime.inference.spans",
    "Fleet": "runtime.fleet",
    "GearshiftError": "errors",
    "ImageToImage": "runtime.inference.answers",
    "InputError": "errors",
    "IntegrityError": "errors",
    "Manifest": "runtime.bundle.manifest",
    "MultiLabelClassification": "runtime.inference.answers",
    "MultiTask": "runtime.inference.answers",
    "Objective": "runtime.policy.objective",
    "Option": "runtime.space.space",
    "Pipeline": "runtime.pipelines",
    "PoolEntry": "runtime.bundle.manifest",
    "ProfileError": "errors",
    "QuestionAnswering": "runtime.inference.answers",
    "QueueFullError": "errors",
    "Ranked": "runtime.reading.ranking",
    "Ranking": "runtime.reading.ranking",
    "Regression": "runtime.inference.answers",
    "Rules": "runtime.sensors.cap_rules",
    "SchemaError": "errors",
    "SelfTestError": "errors",
    "Sensors": "runtime.sensors.sensors",
    "SignatureError": "errors",
    "Space": "runtime.space.space",
    "Stage": "runtime.space.space",
    "Steering": "runtime.policy.objective",
    "StorageError": "errors",
    "Subnet": "runtime.space.subnet",
    "TokenClassification": "runtime.inference.answers",
    "UnknownSubnetError": "errors",
    "Word": "runtime.inference.spans",
    "Words": "runtime.inference.words",
    "ZeroShot": "runtime.reading.zero_shot",
    "layer_space": "runtime.space.space",
    "open_bundle": "runtime.bundle.bundle",
    "pipeline": "runtime.pipelines",
    "uniform_grid": "runtime.space.uniform",
}
"""Public name -> the module that has it, without `gearshift.`."""

_OTHERWISE = {"Steering": "Objective"}
"""Public name -> its name in that module, where that is another."""

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name, and keep it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f"gearshift.{_HOMES[name]}")
    found = globals()[name] = getattr(home, _OTHERWISE.get(name, name))
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
