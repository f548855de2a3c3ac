"""scripts/check_layers.py finds every kind of violation, and nothing in a tree that has none."""

import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import check_layers  # noqa: E402


class CheckLayersTest(unittest.TestCase):

    def violations(self, files):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding="utf-8")
            return check_layers.check(root)

    def assert_found(self, name, text, message):
        found = self.violations({name: text})
        self.assertEqual(len(found), 1, found)
        self.assertIn(message, found[0])
        self.assertTrue(found[0].startswith(name), found[0])

    def test_a_clean_tree_passes(self):
        self.assertEqual([], self.violations({
            "base/status.h": '#pragma once\n#include <string>\n// never throw, exit() or printf()\n',
            "engine/runtime.cc": '#include "cpu/cpu_compute.h"\n#include "experts/expert_store.h"\n',
            "engine/session.cc": '#include "engine/session.h"\nint x = 1\'000; char c = \'"\'; auto s = "throw abort()";\n'
                                 'void f() { snprintf(a, 1, "x"); session.abort(); job->exit(1); terminated(2); }\n',
            "formats/architectures.cc": '#include "io/block_reader.h"\n// qwen3moe\n',
            "apps/main.cc": '#include "engine/runtime.h"\nint main() { std::cout << 1; exit(2); throw 1; }\n',
            "tests/io/x_test.cc": '#include "cpu/kernels.h"\n#include "tests/support/test_data.h"\n',
            "engine/CMakeLists.txt": "sluice_room(engine SOURCES a.cc PUBLIC sluice_experts PRIVATE sluice_cpu)\n",
        }))

    def test_an_include_against_the_arrows(self):
        for name, header in (("base/a.h", "io/block_reader.h"), ("io/a.cc", "experts/expert_store.h"),
                             ("cache/a.cc", "io/block_reader.h"), ("cpu/a.cc", "engine/session.h"),
                             ("text/a.cc", "formats/checkpoint.h"), ("formats/a.cc", "text/tokenizer.h"),
                             ("experts/a.cc", "engine/moe_layer.h"), ("engine/session.cc", "cpu/cpu_compute.h"),
                             ("engine/runtime.h", "cuda/device.h"), ("apps/a.cc", "cpu/cpu_compute.h")):
            room = header.split("/")[0]
            self.assert_found(name, f'\n# include "{header}"\n', f"may not include {room}/")

    def test_an_include_that_is_not_from_the_root(self):
        self.assert_found("io/a.cc", '#include "block_reader.h"\n', "does not start with a room")
        self.assert_found("io/a.cc", '#include "../base/status.h"\n', "does not start with a room")

    def test_a_link_against_the_arrows(self):
        self.assert_found("cache/CMakeLists.txt", "sluice_room(cache SOURCES a.cc PUBLIC sluice_io)\n", "may not link io/")

    def test_an_architecture_in_the_forward_pass(self):
        for room in ("engine", "cpu", "cuda", "experts", "cache", "io"):
            self.assert_found(f"{room}/a.cc", 'if (name == "Qwen3MoE") x();\n', "names an architecture")
            self.assert_found(f"{room}/a.h", "// as Mixtral does\n", "names an architecture")

    def test_library_code_that_prints_ends_or_throws(self):
        for statement, message in (("std::cout << 1;", "prints"), ("printf(\"x\");", "prints"),
                                   ("std::fprintf(stderr, \"x\");", "prints"), ("fmt::print(\"x\");", "prints"),
                                   ("exit(1);", "ends the process"), ("std::abort();", "ends the process"),
                                   ("std::terminate();", "ends the process"), ("throw Error();", "throws")):
            for room in ("base", "formats", "engine"):
                self.assert_found(f"{room}/a.cc", "// a comment\nvoid f() { " + statement + " }\n", message)

    def test_a_file_too_long(self):
        self.assert_found("tests/a_test.cc", "\n" * 501, "501 lines")
        self.assertEqual([], self.violations({"tests/a_test.cc": "\n" * 500}))


if __name__ == "__main__":
    unittest.main()
