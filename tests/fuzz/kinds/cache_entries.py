"""Cache directories that changed between two runs: packed weights, unpacked copies, hashes, what is known, a profile.

Right is unchanged answers, or a clear error: what is damaged is made anew. Entries sealed again by hand, which only
this user can do, may give other answers, and nothing worse.
"""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
from pathlib import Path

from gearshift.runtime.bundle.bundle import open_bundle
from gearshift.runtime.files.cache import VARIABLE, HashMemory
from gearshift.runtime.files.known import Known
from gearshift.runtime.inference.opened import Opened
from gearshift.runtime.inference.self_test import check_self_test
from gearshift.runtime.inference.session import ElasticSession
from gearshift.runtime.packed.cache import PackedCache
from gearshift.runtime.trust.trust import trusted
from gearshift.sealed_json import SEAL, sealed
from tests.fuzz import answers
from tests.fuzz.kinds import compressed
from tests.fuzz.kinds.altered_bytes import alter_file, something_else
from tests.fuzz.kinds.json_values import change_value
from tests.fuzz.outcome import Kind
from tests.runtime.kept import flip, remember

CACHE = "cache"
PRECISION = "int8"
PACKED = ".packed-answers.json"
"""End of the name of the file with the answers from packed weights, whose joined segments have scales of their own."""


def prepare(base: Path) -> None:
    """Write a cache with the entries of two bundles, one plain and one compressed."""
    compressed.prepare(base)
    os.environ[VARIABLE] = str(base / CACHE)
    for shipped in (compressed.STORED, answers.BUNDLE):
        found = load(base, base / shipped)
        (base / f"{shipped}{PACKED}").write_text(json.dumps(found))
    load(base, answers.TINY)


def load(base: Path, shipped: Path) -> answers.Answers:
    """Load a bundle with all that is kept between runs, and answer."""
    bundle = trusted(open_bundle(shipped, sha256=HashMemory().sha256_of), Known())
    session = PackedCache().open(bundle, PRECISION, threads=1)
    if session is None:
        session = ElasticSession(bundle, PRECISION, threads=1)
        check_self_test(session, bundle)
    found = answers.answers_in(Opened.of(bundle, session))
    session.close()
    return found


def make(base: Path, case: Path, source: random.Random) -> bool:
    cache = case / CACHE
    shutil.copytree(base / CACHE, cache)
    os.environ[VARIABLE] = str(cache)
    paths = [path for path in sorted(cache.rglob("*")) if path.is_file()]
    if source.random() < 0.5:  # hashes of these very files are remembered, as in a cache that was used before
        for path in paths:
            remember(path)
    kind = source.random()
    if kind < 0.45:
        for _ in range(source.choice((1, 1, 3))):
            path = source.choice(paths)
            flip(path, source.randrange(path.stat().st_size), 1 << source.randrange(8), hidden=source.random() < 0.5)
        return False
    if kind < 0.7:
        alter_file(source.choice(paths), source, paths)
        return False
    if kind < 0.85:
        rearrange(cache, source)
        return False
    return reseal(source.choice([path for path in paths if path.suffix == ".json"]), source)


def rearrange(cache: Path, source: random.Random) -> None:
    """Move directories: exchanged, missing, with other permissions, or something else at their names."""
    places = [path for path in sorted(cache.rglob("*")) if path.is_dir()]
    place = source.choice(places)
    kind = source.randrange(5)
    if kind == 0:
        place.chmod(source.choice((0o777, 0o755, 0o500, 0o000)))
    elif kind == 1:
        shutil.rmtree(place)
        if source.random() < 0.7:
            something_else(place, source)
    elif kind == 2:
        (place / source.choice((".new-abc", "more", ".hashes.json.0.new"))).mkdir()
    else:
        entries = [path for path in (cache / source.choice(("packed", "unpacked"))).iterdir() if path.is_dir()]
        one, other = source.choice(entries), source.choice(entries)
        if one != other:
            aside = one.with_name("aside")
            one.rename(aside)
            other.rename(one)
            aside.rename(other)


def reseal(path: Path, source: random.Random) -> bool:
    """Change values of a JSON file and seal it again; return whether it was one with a seal."""
    raw = json.loads(path.read_bytes())
    if not isinstance(raw, dict) or SEAL not in raw:
        return False
    fields = {name: value for name, value in raw.items() if name != SEAL}
    change_value(fields, source)
    path.write_text(json.dumps(sealed(fields)), errors="surrogatepass")
    return True


def used(base: Path, case: Path, *, shipped: str) -> bool:
    os.environ[VARIABLE] = str(case / CACHE)
    found = load(base, base / shipped)  # from packed weights, or from the bundle where they cannot be used
    return any(answers.are_recorded(base, found, place) for place in (f"{shipped}{PACKED}", answers.ANSWERS))


KINDS = (
    Kind("cache", make, functools.partial(used, shipped=compressed.STORED), prepare),
    Kind("cache_plain", make, functools.partial(used, shipped=answers.BUNDLE), prepare),
)
