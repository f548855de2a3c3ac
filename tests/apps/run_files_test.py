"""No result is written over a file that the same run reads, or over another of its results, by whatever name it goes. Standard library
only."""

import os
import pathlib
import shutil
import sys
import unittest

sys.dont_write_bytecode = True
from command import MODEL, ROOT, STORY, Folder, sluice, sluice_json  # noqa: E402

SHORT = ["-n", 3, "--ctx", 128, "--temp", 0]


class Kept(Folder):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "copy.gguf"
        shutil.copy(MODEL, self.model)
        self.text = self.file("text", pathlib.Path(STORY).read_text()[:6000])
        self.trace = self.folder / "trace"
        sluice_json("run", MODEL, "-p", "Once", *SHORT, "--trace-routing", self.trace)

    def refuse(self, path, what, *arguments, **options):
        """`path` keeps its content, and what is said names it."""
        before = path.read_bytes()
        done = sluice(*arguments, **options)
        self.assertEqual(path.read_bytes(), before, arguments)
        self.assertEqual((done.returncode, done.stdout), (1, b""), (arguments, done.stderr))
        self.assertIn(what, done.stderr.decode())
        self.assertIn("name another file", done.stderr.decode())

    def names(self, path):
        """A hard link, a symbolic one and a detour."""
        hard, soft = self.folder / "hard", self.folder / "soft"
        hard.unlink(missing_ok=True)
        soft.unlink(missing_ok=True)
        os.link(path, hard)
        soft.symlink_to(path)
        return [path, hard, soft, path.parent / ".." / path.parent.name / path.name]

    def test_calibrate_keeps_the_model_and_the_text(self):
        for out in self.names(self.model):
            self.refuse(self.model, "the model itself", "calibrate", self.model, "--text", self.text, "--out", out)
        for out in self.names(self.text):
            self.refuse(self.text, "what --text names", "calibrate", self.model, "--text", self.text, "--out", out)

    def test_a_trace_keeps_what_the_run_reads(self):
        calibration = self.folder / "calibration"
        sluice_json("calibrate", self.model, "--text", STORY, "--fit", 300, "--test", 50, "--sensitivity", 0, "--out", calibration)
        beside = self.folder / "copy.gguf.calibration"
        shutil.copy(calibration, beside)
        story = self.text.read_text()
        conversation = self.file("conversation", {"messages": [{"role": "user", "content": "Hello"}]})
        template = self.file("template", "{{ messages[0].content }}")
        for path, what, arguments in (
                (self.model, "the model itself", ["run", self.model, "-p", "Once"]),
                (self.text, "what --file names", ["run", self.model, "-f", self.text]),
                (self.text, "what --text names", ["eval", self.model, "--text", self.text]),
                (calibration, "what --calibration names", ["run", self.model, "-p", "Once", "--calibration", calibration]),
                (beside, "the calibration of the model", ["run", self.model, "-p", "Once"]),
                (self.trace, "what --routing names", ["bench", self.model, "-p", 2, "-n", 2, "--routing", self.trace, "--no-ceilings"]),
                (conversation, "what --load names", ["chat", self.model, "--load", conversation, "-p", "Hello"]),
                (template, "what --template names", ["chat", self.model, "--template", template, "-p", "Hello"])):
            for name in self.names(path):
                self.refuse(path, what, *arguments, "--trace-routing", name)
        with open(self.text, "rb") as words:
            self.refuse(self.text, "standard input", "run", self.model, "--trace-routing", self.text, stdin=words)
        self.assertEqual(self.text.read_text(), story)

    def test_results_keep_each_other(self):
        out = self.folder / "out"
        for path in (out, "/dev/null"):
            done = sluice("logits", self.model, "--ids", "1,2", "--out", path, "--trace-routing", path)
            self.assertEqual(done.returncode, 1 if path == out else 0, done.stderr)
        done = sluice("run", self.model, "-p", "Once", *SHORT, "--warm", out, "--trace-routing", out)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"what --trace-routing names", done.stderr)
        self.refuse(self.text, "what --file names", "run", self.model, "-f", self.text, "--warm", self.text)

    def test_simulate_keeps_the_trace(self):
        self.refuse(self.trace, "the trace itself", "simulate", self.trace, "--html", self.trace)
        packed = self.folder / "packed"
        packed.mkdir()
        (packed / "experts.u8").write_bytes(bytes([0, 1, 1, 2, 2, 3]))
        (packed / "probs.u16").write_bytes(bytes([2, 0, 1, 0] * 3))
        (packed / "index.jsonl").write_text('{"n_tok": 3, "tok_offset": 0}\n')
        for name in ("experts.u8", "probs.u16", "index.jsonl"):
            self.refuse(packed / name, "the trace itself", "simulate", packed, "--html", packed / name)
        for _ in range(2):
            self.assertEqual(sluice("simulate", packed, "--html", packed / "x.html").returncode, 0)

    def test_a_folder_is_a_model_with_all_its_files(self):
        folder = self.folder / "model"
        shutil.copytree(next(path.parent for path in sorted((ROOT / "tests/data/oracle").glob("*/config.json"))), folder)
        for path in (folder / "config.json", *folder.glob("model*.safetensors")):
            self.refuse(path, "the model itself", "logits", folder, "--ids", "1,2", "--out", path)

    def test_a_conversation_is_saved_where_it_was_loaded_and_nowhere_worse(self):
        conversation = self.file("conversation", {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]})
        template = self.file("template", "{% for m in messages %}{{ m.content }}\n{% endfor %}")
        before = self.model.read_bytes()
        script = f"Tell me.\n/save {template}\n/save {self.model}\n/save {conversation}\n/save {conversation}\n"
        done = sluice("chat", self.model, "--template", template, "--load", conversation, *SHORT, input=script.encode())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"what --template names", done.stderr)
        self.assertIn(b"the model itself", done.stderr)
        self.assertEqual(self.model.read_bytes(), before)
        self.assertIn("{{ m.content }}", template.read_text())
        self.assertIn("Tell me.", conversation.read_text())


if __name__ == "__main__":
    unittest.main()
