"""The library as it is installed: what is in it, and programs of somebody else's that use it. Standard library only.

usage: install_test.py SLUICE BUILD_FOLDER
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
BUILD = sys.argv.pop(2)
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "apps"))
from command import MODEL, ROOT, sluice_json  # noqa: E402

STRICT = ["-pedantic", "-Wall", "-Wextra", "-Werror"]


def run(*arguments, **options):
    done = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, timeout=300, **options)
    if done.returncode != 0:
        raise AssertionError(f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.prefix = pathlib.Path(cls.folder.name) / "usr"
        run("cmake", "--install", BUILD, "--prefix", cls.prefix)
        cls.library = next(cls.prefix.glob("lib*/**/libsluice.so"))
        cls.packages = cls.library.parent / "pkgconfig"

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def flags(self, *which):
        return run("pkg-config", *which, "sluice",
                   env=os.environ | {"PKG_CONFIG_PATH": str(self.packages)}).split()

    def test_it_exports_what_the_header_declares_and_nothing_else(self):
        header = (self.prefix / "include/sluice.h").read_text()
        declared = set(re.findall(r"^SLUICE_API [^;(]*?\b(sluice_\w+)\(", header, re.MULTILINE))
        exported = {line.split()[-1] for line in run("nm", "-D", "--defined-only", self.library).splitlines()}
        self.assertGreater(len(declared), 20)
        self.assertEqual(exported, declared)

    def test_it_has_a_soname_and_versions_agree(self):
        self.assertRegex(run("readelf", "-d", self.library), r"SONAME.*\[libsluice\.so\.\d+\]")
        version = run("pkg-config", "--modversion", "sluice",
                      env=os.environ | {"PKG_CONFIG_PATH": str(self.packages)}).strip()
        self.assertRegex(version, r"^\d+\.\d+\.\d+$")
        self.assertIn(version, run(self.prefix / "bin/sluice", "--version"))

    def test_the_header_is_c99_and_cpp(self):
        for compiler, language in (("cc", "-std=c99"), ("cc", "-std=c17"), ("c++", "-std=c++11")):
            source = pathlib.Path(self.folder.name) / ("use.c" if compiler == "cc" else "use.cc")
            source.write_text("#include <sluice.h>\nint main(void) { return sluice_version() == 0; }\n")
            program = source.with_suffix(".out")
            run(compiler, language, *STRICT, source, "-o", program, *self.flags("--cflags", "--libs"))
            run(program, env=os.environ | {"LD_LIBRARY_PATH": str(self.library.parent)})

    def build_example(self, name):
        program = pathlib.Path(self.folder.name) / name
        run("cc", "-std=c99", *STRICT, ROOT / "examples" / f"{name}.c", "-o", program, "-pthread",
            *self.flags("--cflags", "--libs"), f"-Wl,-rpath,{self.library.parent}")
        return program

    def test_generate_writes_what_the_command_writes(self):
        prompt = "Once upon a time"
        text = run(self.build_example("generate"), MODEL, prompt, 20, 256 << 20)
        command = sluice_json("run", MODEL, "-p", prompt, "-n", 20, "--temp", 0, "--ram", "256M")
        self.assertEqual(text, prompt + command["text"] + "\n")

    def test_a_wrong_call_of_generate_says_what_and_why(self):
        done = subprocess.run([self.build_example("generate"), "/nowhere.gguf", "x"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nowhere.gguf", done.stderr)
        self.assertIn("not found", done.stderr)

    def test_each_text_of_a_batch_is_what_it_would_be_alone(self):
        prompts = ["Once upon a time", "The fox", "A very long day began when the little dog"]
        program = self.build_example("batch")
        together = run(program, MODEL, *prompts).splitlines()
        self.assertEqual(together, [run(program, MODEL, prompt).rstrip("\n") for prompt in prompts])
        for prompt, text in zip(prompts, together):
            self.assertTrue(text.startswith(prompt) and len(text) > len(prompt) + 20, text)

    def test_another_thread_aborts(self):
        self.assertRegex(run(self.build_example("abort"), MODEL, 30), r"^cancelled after \d+ tokens\n$")

    def test_cmake_finds_it(self):
        build = pathlib.Path(self.folder.name) / "examples"
        run("cmake", "-S", ROOT / "examples", "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}", "-DCMAKE_BUILD_TYPE=Release")
        run("cmake", "--build", build)
        self.assertTrue(run(build / "generate", MODEL, "Once", 4).startswith("Once"))


if __name__ == "__main__":
    unittest.main()
