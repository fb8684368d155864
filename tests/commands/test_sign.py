"""`gearshift sign`, and what `verify`, `inspect` and `trim` say of signatures."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from gearshift.runtime import Bundle
from gearshift.runtime.bundle.compressed import write_compressed
from gearshift.runtime.bundle.manifest import MANIFEST
from gearshift.runtime.bundle.signatures import SIGNATURES
from tests.command_line import Command
from tests.runtime.altered import change_manifest, edit_json, set_field

PATIENCE_S = 60


@pytest.fixture
def key(command: Command, tmp_path: Path) -> Path:
    ended = command("sign", "--new-key", tmp_path / "key.pem")
    assert (ended.code, ended.err) == (0, "")
    return tmp_path / "key.pem"


def public(key: Path) -> Path:
    return key.with_name(f"{key.name}.pub")


def test_a_new_pair_is_for_this_user_alone_and_overwrites_none(command: Command, key: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600
    before = (key.read_bytes(), public(key).read_bytes())
    assert before[0].startswith(b"-----BEGIN PRIVATE KEY-----")
    assert before[1].startswith(b"-----BEGIN PUBLIC KEY-----")
    assert "is there already, and a key is not overwritten" in command("sign", "--new-key", key).error
    key.unlink()
    assert "key.pem.pub: is there already" in command("sign", "--new-key", key).error
    assert not key.exists()
    assert public(key).read_bytes() == before[1]


def test_sign_and_verify(command: Command, bundle_copy: Path, bundle: Bundle, key: Path) -> None:
    signed = command("sign", bundle_copy, "--key", key, "--version", 3)
    assert (signed.code, signed.err) == (0, "")
    assert signed.out.startswith(f"{bundle_copy}: signed by key ")
    assert signed.out.endswith(", version 3\n")
    verified = command("verify", bundle_copy, "--public-key", public(key))
    assert (verified.code, verified.err) == (0, "")
    assert verified.out.splitlines()[1] == signed.out.strip().removeprefix(f"{bundle_copy}: ")
    assert command("verify", bundle_copy).out.splitlines() == verified.out.splitlines()[:1]


def test_sign_as_json_says_what_was_signed(command: Command, bundle_copy: Path, bundle: Bundle, key: Path) -> None:
    signed = command("sign", bundle_copy, "--key", key, "--json").json
    assert signed == {
        "bundle": str(bundle_copy),
        "digest": bundle.digest,
        "key": signed["key"],
        "version": None,
    }
    shown = command("inspect", bundle_copy, "--json").json
    assert [each["key"] for each in shown["signatures"]] == [signed["key"]]
    verified = command("verify", bundle_copy, "--public-key", public(key), "--json").json
    assert verified["signature"] == shown["signatures"][0]


def test_the_name_of_a_product_is_signed_and_shown(command: Command, bundle_copy: Path, key: Path) -> None:
    signed = command("sign", bundle_copy, "--key", key, "--version", 3, "--name", "lights")
    assert signed.out.endswith(", version 3 of lights\n")
    assert command("verify", bundle_copy, "--public-key", public(key)).out.endswith(", version 3 of lights\n")
    assert ", version 3 of lights (`verify --public-key` checks it)\n" in command("inspect", bundle_copy).out
    again = command("sign", bundle_copy, "--key", key, "--name", "lights", "--json").json
    assert again["name"] == "lights"
    shown = command("inspect", bundle_copy, "--json").json["signatures"]
    assert [(each["name"], each["version"]) for each in shown] == [("lights", None)]
    verified = command("verify", bundle_copy, "--public-key", public(key), "--json").json
    assert verified["signature"] == shown[0]


@pytest.mark.parametrize("name", ["", " lights", "x" * 101, "a\nb", "\u202ea"])
def test_a_name_that_is_none_is_refused(command: Command, bundle_copy: Path, key: Path, name: str) -> None:
    error = command("sign", bundle_copy, "--key", key, "--name", name).error
    assert error.startswith("name: expected 1 to 100 printable characters without blanks around them, got ")
    assert not (bundle_copy / SIGNATURES).exists()


def test_inspect_shows_the_digest_and_who_signed(
    command: Command, bundle_copy: Path, bundle: Bundle, key: Path
) -> None:
    assert f"manifest digest {bundle.digest}" in command("inspect", bundle_copy).out.splitlines()
    assert "signature by" not in command("inspect", bundle_copy).out
    command("sign", bundle_copy, "--key", key, "--version", 3)
    shown = command("inspect", bundle_copy).out
    assert ", version 3 (`verify --public-key` checks it)\n" in shown


def test_verify_refuses_what_the_key_did_not_sign(
    command: Command, bundle_copy: Path, key: Path, tmp_path: Path
) -> None:
    assert "found no signatures.json" in command("verify", bundle_copy, "--public-key", public(key)).error
    command("sign", "--new-key", tmp_path / "other.pem")
    command("sign", bundle_copy, "--key", tmp_path / "other.pem")
    assert "found those of key" in command("verify", bundle_copy, "--public-key", public(key)).error
    other = tmp_path / "other.pem.pub"
    assert command("verify", bundle_copy, "--public-key", public(key), "--public-key", other).code == 0


def test_a_damaged_bundle_is_not_signed(command: Command, bundle_copy: Path, key: Path) -> None:
    (bundle_copy / "tokenizer.json").write_text("{}")
    assert "tokenizer.json: expected" in command("sign", bundle_copy, "--key", key).error
    assert not (bundle_copy / SIGNATURES).exists()


def test_a_bundle_whose_tokenizer_makes_other_tokens_is_not_signed(
    command: Command, bundle_copy: Path, key: Path
) -> None:
    edit_json(bundle_copy / "tokenizer.json", set_field("normalizer", "lowercase", to=False))
    change_manifest(bundle_copy)
    for name, *given in (("verify",), ("sign", "--key", key)):
        assert "self-test of the tokenizer: expected other tokens for" in command(name, bundle_copy, *given).error
    assert not (bundle_copy / SIGNATURES).exists()


def test_a_bundle_with_wrong_numbers_is_not_signed(command: Command, bundle_copy: Path, key: Path) -> None:
    content = (bundle_copy / "int8.weights").read_bytes()
    (bundle_copy / "int8.weights").write_bytes(bytes(len(content) // 2) + content[len(content) // 2 :])
    change_manifest(bundle_copy)
    assert "int8 self-test, subnet w100-d100" in command("sign", bundle_copy, "--key", key).error
    assert not (bundle_copy / SIGNATURES).exists()


def test_a_bundle_without_a_digest_is_not_signed(command: Command, bundle_copy: Path, key: Path) -> None:
    raw = json.loads((bundle_copy / MANIFEST).read_bytes())
    del raw["digest"]
    (bundle_copy / MANIFEST).write_text(json.dumps({**raw, "schema_version": 1}))
    shown = command("inspect", bundle_copy).out
    assert "manifest digest none (made before there were digests; export it again)" in shown
    error = command("sign", bundle_copy, "--key", key).error
    assert error == f"{bundle_copy}: expected a bundle with a digest, found an older one; export it again"


@pytest.mark.parametrize("version", [0, -1, 1 << 63])
def test_a_version_that_is_none_is_refused(command: Command, bundle_copy: Path, key: Path, version: int) -> None:
    ended = command("sign", bundle_copy, "--key", key, "--version", version)
    assert ended.code in (1, 2)
    assert "whole number" in ended.err
    assert ended.err.count("\n") == 1
    assert not (bundle_copy / SIGNATURES).exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["BUNDLE"], "--key"),
        (["--key", "key.pem"], "expected a BUNDLE to sign"),
        (["BUNDLE", "--new-key", "k.pem"], "signs nothing"),
        (["--new-key", "k.pem", "--version", "3"], "signs nothing"),
        (["--new-key", "k.pem", "--name", "lights"], "signs nothing"),
        (["BUNDLE", "--key", "a", "--new-key", "b"], "not allowed with"),
    ],
)
def test_wrong_usage_is_one_line(command: Command, arguments: list[str], said: str) -> None:
    ended = command("sign", *arguments)
    assert ended.code == 2
    assert said in ended.err
    assert ended.err.count("\n") == 1


def test_trim_leaves_the_signature_out_and_says_so(
    command: Command, bundle_copy: Path, key: Path, tmp_path: Path
) -> None:
    trimming = ("trim", bundle_copy, "-o", tmp_path / "small.gearshift", "--keep", "w025-d050", "--precision", "int8")
    assert "sign it again" not in command(*trimming).out
    command("sign", bundle_copy, "--key", key)
    assert "the signatures are not of what is left, and were left out; sign it again" in command(*trimming).out
    assert not (tmp_path / "small.gearshift" / SIGNATURES).exists()


@pytest.mark.parametrize("content", ["{", '{"schema_version": 1, "signatures": [{}]}', '{"schema_version": 9}'])
def test_signatures_that_cannot_be_read_keep_nobody_from_the_bundle(
    command: Command,
    bundle_copy: Path,
    bundle: Bundle,
    key: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    content: str,
) -> None:
    small = tmp_path / "small.gearshift"
    small.mkdir()
    write_compressed(bundle.path, bundle.manifest.files, small, {})
    for directory in (bundle_copy, small):
        (directory / SIGNATURES).write_text(content)
        shown = command("inspect", directory)
        assert (shown.code, shown.err) == (0, "")
        (line,) = [line for line in shown.out.splitlines() if line.startswith("signatures cannot be read: ")]
        assert f"{directory}/signatures.json: " in line
        assert "w025-d050" in shown.out
        as_json = command("inspect", directory, "--json").json
        assert f"signatures cannot be read: {as_json['signatures_unreadable']}" == line
        assert "signatures" not in as_json
        assert command("verify", directory).code == 0
        assert "signatures.json: " in command("verify", directory, "--public-key", public(key)).error

    unpacked = command("unpack", small, "-o", tmp_path / "plain.gearshift")
    assert unpacked.code == 0
    (said,) = caplog.messages
    assert said.startswith(f"signatures are left out, since they cannot be read: {small}/signatures.json: ")
    assert "\n" not in said
    assert not (tmp_path / "plain.gearshift" / SIGNATURES).exists()
    assert command("verify", tmp_path / "plain.gearshift").code == 0

    trimmed = command("trim", bundle_copy, "-o", tmp_path / "trimmed", "--keep", "w025-d050", "--precision", "int8")
    assert trimmed.code == 0
    assert "the signatures are not of what is left, and were left out" in trimmed.out


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_keys_of_openssl_sign_and_verify(command: Command, bundle_copy: Path, tmp_path: Path) -> None:
    for line in ("genpkey -algorithm ed25519 -out key.pem", "pkey -in key.pem -pubout -out key.pem.pub"):
        subprocess.run(["openssl", *line.split()], cwd=tmp_path, check=True, timeout=PATIENCE_S, capture_output=True)
    assert command("sign", bundle_copy, "--key", tmp_path / "key.pem").code == 0
    assert command("verify", bundle_copy, "--public-key", tmp_path / "key.pem.pub").code == 0
