#!/usr/bin/env python3
"""Checks the rules that keep the rooms apart (ARCHITECTURE.md, "Rooms"). Prints each violation; status 1 if there is one.

usage: check_layers.py [REPOSITORY]
"""

import pathlib
import re
import sys

# Room -> the rooms whose headers it may include, besides its own.
ARROWS = {
    "base": set(),
    "io": {"base"},
    "text": {"base"},
    "cache": {"base"},
    "hybrid": {"base", "cache"},
    "cpu": {"base"},
    "cuda": {"base"},
    "formats": {"base", "io"},
    "store": {"base", "io", "formats"},
    "experts": {"base", "io", "cache", "formats"},
    "layers": {"base", "io", "formats"},
    "gates": {"base", "formats", "experts", "layers"},
    "devices": {"base", "formats", "experts", "hybrid", "layers"},
    "engine": {"base", "io", "cache", "hybrid", "formats", "text", "experts", "layers", "gates", "devices"},
    "serving": {"base", "engine", "layers", "text"},
    "capi": {"base", "io", "cache", "hybrid", "formats", "text", "experts", "layers", "gates", "devices", "engine", "serving", "include"},
    "server": {"base", "engine", "layers", "text", "serving"},
    "apps": {"base", "io", "cache", "hybrid", "formats", "store", "text", "experts", "layers", "gates", "devices", "engine", "serving", "server"},
    "include": set(),
}
# The one place that knows which devices there are.
EXTRA_ARROWS = {"engine/runtime.cc": {"cpu", "cuda"}, "engine/CMakeLists.txt": {"cpu", "cuda"}}
UNBOUND = {"tests", "bench"}  # may look everywhere

LIBRARY = {"base", "io", "formats", "store", "text", "cache", "hybrid", "experts", "cpu", "cuda", "layers", "gates", "devices", "engine",
           "serving", "server", "capi"}
# An architecture is data that formats/ writes down; the forward pass and all below it have never heard of one.
NAMELESS = {"server", "serving", "engine", "devices", "gates", "layers", "cpu", "cuda", "experts", "cache", "hybrid", "store", "io"}
ARCHITECTURES = re.compile(
    r"mixtral|mistral|qwen|olmoe|llama|deepseek|gpt[-_]?oss|granite|\bglm|phi_?moe|\bphi\d|minimax|gemma|ernie"
    r"|pangu|small_?thinker|kimi|jamba|\bdbrx|hunyuan|arctic|\bdots(1\b|\.llm)|bailing",
    re.IGNORECASE)
# The library reports errors as values and leaves the terminal and the process to its caller.
FORBIDDEN = {
    "prints": re.compile(r"\bstd::(cout|cerr|clog)\b|(?<![\w.>])(std::|fmt::)?(v?f?printf|v?print|puts|fputs|putchar|perror)\s*\("),
    "ends the process": re.compile(r"(?<![\w.>])(std::)?(_?exit|_Exit|quick_exit|abort|terminate)\s*\("),
    "throws": re.compile(r"\bthrow\b"),
}

MAX_LINES = 500
CXX = {".h", ".cc", ".cu", ".cuh"}
TEXT = CXX | {".py", ".sh", ".cmake", ".md"}

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
LINKED_ROOM = re.compile(r"\bsluice_([a-z]+)\b")
COMMENT_OR_LITERAL = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<d>[^ ()\\\n]*)\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)


def code_only(source):
    """The source with comments and literals blanked; lines keep their numbers."""
    # An apostrophe between digits separates thousands.
    source = re.sub(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])", "", source)
    return COMMENT_OR_LITERAL.sub(lambda match: " " + "\n" * match.group().count("\n"), source)


def lines_matching(pattern, text):
    return [(number, match) for number, line in enumerate(text.splitlines(), 1) for match in pattern.finditer(line)]


def check_includes(name, room, source):
    allowed = {room} | ARROWS[room] | EXTRA_ARROWS.get(name, set())
    for number, match in lines_matching(INCLUDE, source):
        target = match.group(1).split("/")[0]
        if "/" not in match.group(1) or target not in ARROWS:
            yield f'{name}:{number}: include "{match.group(1)}" does not start with a room\'s name'
        elif target not in allowed:
            yield f"{name}:{number}: {room}/ may not include {target}/"


def check_links(name, room, source):
    allowed = {room} | ARROWS[room] | EXTRA_ARROWS.get(name, set())
    for number, match in lines_matching(LINKED_ROOM, re.sub(r"#[^\n]*", "", source)):
        if match.group(1) in ARROWS and match.group(1) not in allowed:
            yield f"{name}:{number}: {room}/ may not link {match.group(1)}/"


def check_file(path, root):
    name = path.relative_to(root).as_posix()
    room = name.split("/")[0]
    source = path.read_text(encoding="utf-8")

    lines = source.count("\n")
    if path.suffix in TEXT and lines > MAX_LINES:
        yield f"{name}: {lines} lines; the limit is {MAX_LINES}"
    if room in UNBOUND or room not in ARROWS:
        return
    if path.name == "CMakeLists.txt":
        yield from check_links(name, room, source)
    if path.suffix not in CXX:
        return
    yield from check_includes(name, room, source)
    if room in NAMELESS:
        for number, match in lines_matching(ARCHITECTURES, source):
            yield f'{name}:{number}: {room}/ names an architecture, "{match.group()}"'
    if room in LIBRARY:
        code = code_only(source)
        for what, pattern in FORBIDDEN.items():
            for number, match in lines_matching(pattern, code):
                yield f'{name}:{number}: library code {what}: "{match.group().strip()}"'


def source_files(root):
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name.startswith(".") or folder.name in {"build", "models"}:
            continue
        for path in sorted(folder.rglob("*")):
            if path.is_file() and (path.suffix in TEXT or path.name == "CMakeLists.txt"):
                yield path


def check(root):
    """All violations below `root`, as lines "file:line: what"."""
    return [violation for path in source_files(root) for violation in check_file(path, root)]


def main():
    default = pathlib.Path(__file__).resolve().parent.parent
    root = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else default
    violations = check(root)
    print("\n".join(violations) if violations else "check_layers: the rooms keep their rules.")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
