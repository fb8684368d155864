"""Makes build/onnxruntime: the library of the Python wheel, and a header for what clients/cpp calls of it.

    python -m tests.clients.onnxruntime_c

Releases of ONNX Runtime come with `onnxruntime_c_api.h`, but no package index that this project uses has one. The order
of the functions in its table, which never changes, is public in the crate `ort-sys`; the header is written from that,
with the types of the functions that are called, and a place for every other one.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "onnxruntime"
CRATE = "2.0.0-rc.15"
SOURCES = ROOT / "clients" / "cpp" / "src"
API_VERSION = 23

ENUMS = ("GraphOptimizationLevel", "OrtLoggingLevel", "ExecutionMode", "OrtAllocatorType", "OrtMemType",
         "ONNXTensorElementDataType")  # fmt: skip

TYPES = {
    "()": "void", "i32": "int32_t", "i64": "int64_t", "u32": "uint32_t", "usize": "size_t", "core::ffi::c_int": "int",
    "core::ffi::c_char": "char", "core::ffi::c_void": "void", "os_char": "ORTCHAR_T", "OrtStatusPtr": "OrtStatus*",
}  # fmt: skip
"""Type in Rust -> type in C; others have the same name."""

RENAMED = {"AddExternalInitializersFromMemory": "AddExternalInitializersFromFilesInMemory"}
"""Name in the crate -> name in C, where the two differ."""


def c_type(rust: str) -> str:
    """Return a type in C."""
    rust = rust.strip()
    for pointer, const in (("*const ", "const"), ("*mut ", "")):
        if rust.startswith(pointer):
            return f"{c_type(rust.removeprefix(pointer))} {const}*"
    return TYPES.get(rust, rust)


def enums(source: str) -> str:
    """Return the enumerations that are used."""
    found = []
    for name in ENUMS:
        match = re.search(rf"pub enum {name} \{{(.*?)\n\}}", source, re.DOTALL)
        assert match, name
        body = re.sub(r"#\[doc = .*?\"\]", "", match[1], flags=re.DOTALL)
        values = [f"{one.strip()}" for one in body.split(",") if one.strip()]
        found.append(f"typedef enum {name} {{ {', '.join(values)} }} {name};")
    return "\n".join(found)


def functions(source: str) -> list[tuple[str, str]]:
    """Return name and text in Rust of every function of the table, in their order."""
    start = source.index("pub struct OrtApi {")
    body = source[start : source.index("\n}", start)]
    body = re.sub(r"#\[doc = \".*?\"\]", "", body)
    other_platform = r"#\[cfg\(all\(target_family = \"wasm\".*?\)\)\]\s*pub \w+:.*?,(?=\s*(#\[|pub |$))"
    body = re.sub(other_platform, "", body, flags=re.DOTALL)
    body = re.sub(r"#\[cfg\(.*?\)\](?=\s)", "", body)
    parts = re.split(r"\bpub (\w+):", body)[1:]
    named = zip(parts[::2], parts[1::2], strict=True)
    return [(RENAMED.get(name, name), " ".join(text.split())) for name, text in named]


def declaration(name: str, text: str) -> str:
    """Return a member of the table in C."""
    match = re.match(r"(?:Option<)?unsafe extern \"system\" fn\((.*)\)(?: -> ([\w:]+|\*\w+ [\w:]+))?[,>]*$", text)
    assert match, (name, text)
    arguments = [one.split(":", 1)[1] for one in match[1].split(", ") if one.strip()]
    return f"  {c_type(match[2] or '()')} (*{name})({', '.join(map(c_type, arguments))});"


def used() -> set[str]:
    """Return the names of the functions that the client calls."""
    content = (SOURCES / "session.h").read_text(encoding="utf-8")
    return set(re.findall(r"\bapi(?:\(\))?\.(\w+)\(", content))


def header(source: str) -> str:
    """Return the header."""
    wanted = used()
    members = []
    for name, text in functions(source):
        members.append(declaration(name, text) if name in wanted else f"  void (*{name})(void);")
        wanted.discard(name)
        if not wanted:
            break
    assert not wanted, wanted
    opaque = sorted(set(re.findall(r"\bOrt\w+", " ".join(members))) - set(ENUMS) - {"OrtApi"})
    opaque = [name for name in opaque if not re.search(rf"\(\*{name}\)", " ".join(members))]
    return "\n".join(
        [
            "// Written by `python -m tests.clients.onnxruntime_c`; use the header of a release instead.",
            "#pragma once",
            "#include <stddef.h>",
            "#include <stdint.h>",
            f"#define ORT_API_VERSION {API_VERSION}",
            "#ifdef _WIN32\n#define ORTCHAR_T wchar_t\n#else\n#define ORTCHAR_T char\n#endif",
            enums(source),
            *(f"typedef struct {name} {name};" for name in opaque),
            "typedef struct OrtApi {",
            *members,
            "} OrtApi;",
            "typedef struct OrtApiBase {",
            "  const OrtApi* (*GetApi)(uint32_t version);",
            "  const char* (*GetVersionString)(void);",
            "} OrtApiBase;",
            '#ifdef __cplusplus\nextern "C"\n#endif\nconst OrtApiBase* OrtGetApiBase(void);',
            "",
        ]
    )


def crate_source() -> str:
    """Return the source of the crate, which cargo fetches."""
    with tempfile.TemporaryDirectory() as scratch:
        manifest = (
            '[package]\nname = "header"\nversion = "0.0.0"\nedition = "2021"\n[lib]\npath = "lib.rs"\n'
            f'[dependencies]\nort-sys = {{version = "={CRATE}", default-features = false}}\n'
        )
        Path(scratch, "Cargo.toml").write_text(manifest)
        Path(scratch, "lib.rs").touch()
        subprocess.run(["cargo", "vendor", "--quiet", "vendor"], cwd=scratch, check=True, stdout=subprocess.DEVNULL)
        return Path(scratch, "vendor", "ort-sys", "src", "lib.rs").read_text(encoding="utf-8")


def library() -> Path:
    """Return the library of the installed wheel."""
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None and spec.origin is not None
    return next(Path(spec.origin).parent.glob("capi/libonnxruntime.so.*"))


def main() -> int:
    """Fill build/onnxruntime, in place of what was there."""
    shutil.rmtree(BUILD, ignore_errors=True)
    for folder in ("include", "lib"):
        (BUILD / folder).mkdir(parents=True)
    (BUILD / "include" / "onnxruntime_c_api.h").write_text(header(crate_source()), encoding="ascii")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (BUILD / "lib" / name).symlink_to(library())
    return 0


if __name__ == "__main__":
    sys.exit(main())
