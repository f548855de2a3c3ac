"""The Python package against Transformers' logits, against the command, and against users who err."""

import gc
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import numpy as np
from safetensors.numpy import load_file

from support import MODEL, SLUICE, opened, some_tokens, test_data
import sluice


def command_json(*arguments, text=None):
    done = subprocess.run([SLUICE, *map(str, arguments), "--json"], input=text, capture_output=True, check=True,
                          env=os.environ | {"SLUICE_WARM": "off"})
    return json.loads(done.stdout)


def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Numbers(unittest.TestCase):
    def test_logits_are_transformers(self):
        """Of every oracle, float32 throughout, as the golden file has them; and by the token what they are at once."""
        folder = test_data("oracle")
        # References that ran with settings which the checkpoint does not have.
        other = {"gpt_oss": 3e-3, "phimoe_longrope": None}
        seen = 0
        for oracle in sorted(folder.iterdir()) if folder else []:
            if not (oracle / "golden.safetensors").exists() or not (oracle / "config.json").exists():
                continue
            limit = other.get(oracle.name, 1e-3)
            if limit is None:
                continue
            with self.subTest(oracle.name):
                golden = load_file(oracle / "golden.safetensors")
                ids = golden["input_ids"]
                model = sluice.Model(oracle, sluice.Runtime(ram="512M", threads=1), context=64, kv="f32", compute="f32")
                with model.session() as session:
                    logits = session.forward(ids)
                    self.assertEqual((logits.dtype, logits.shape), (np.float32, golden["logits"].shape))
                    self.assertLess(np.abs(logits - golden["logits"]).max(), limit)
                    session.truncate(0)
                    single = np.stack([session.eval([token]) for token in ids[:8]])
                self.assertEqual(single.tobytes(), logits[:8].tobytes())
                seen += 1
        if seen == 0:
            self.skipTest("there are no oracles here")

    def test_logits_are_the_commands_to_the_bit(self):
        ids = some_tokens(50)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "logits.npy"
            command_json("logits", MODEL, "--ids", ",".join(map(str, ids)), "--out", path, "--ram", "64M", "--ctx", 64)
            expected = np.load(path)
        for ram, threads in (("60M", 1), ("512M", 2)):
            with opened(ram, threads, context=64).session() as session:
                self.assertEqual(session.forward(ids).tobytes(), expected.tobytes())

    def test_texts_are_the_commands(self):
        model = opened()
        prompt = "Once upon a time"
        self.assertEqual(model.tokenize(prompt), command_json("tokenize", MODEL, "--bos", text=prompt.encode()))
        for options, flags in (({}, ["--temp", 0]), ({"temperature": 0.9, "top_k": 30, "seed": 7}, ["--temp", 0.9, "--top-k", 30, "--seed", 7])):
            expected = command_json("run", MODEL, "-p", prompt, "-n", 30, *flags, "--top-p", 1, "--min-p", 0,
                                    "--repeat-penalty", 1, "--ctx", 256)
            with model.session() as session:
                pieces = list(session.write(prompt, 30, top_p=1.0, min_p=0.0, **options))
            self.assertEqual("".join(piece.text for piece in pieces), expected["text"])
            self.assertEqual([piece.token for piece in pieces if piece.token is not None], expected["tokens"])

    def test_sessions_that_step_together_get_what_each_gets_alone(self):
        model = opened(sessions=4)
        texts = [some_tokens(4 + 6 * i, i + 1) for i in range(4)]
        sessions = [model.session() for _ in texts]
        together = sluice.step(sessions, texts)
        for text, row in zip(texts, together):
            with opened().session() as alone:
                self.assertEqual(alone.eval(text).tobytes(), row.tobytes())
        wrong = sluice.step(sessions[:2], [[1], [99999]])
        self.assertIsInstance(wrong[0], np.ndarray)
        self.assertIsInstance(wrong[1], sluice.SluiceError)
        self.assertIn("99999", str(wrong[1]))

    def test_a_sampler_chooses_as_a_writer_does(self):
        model = opened()
        prompt = model.tokenize("The fox")
        with model.session() as session:
            written = [piece.token for piece in session.write(prompt, 12, temperature=1.0, seed=5)]
        with model.session() as session, sluice.Sampler(temperature=1.0, seed=5) as sampler:
            history = list(prompt)
            logits = session.eval(history)
            for _ in written:
                history.append(sampler.sample(logits, history))
                logits = session.eval(history[-1:])
        self.assertEqual(history[len(prompt):], written)

    def test_a_chat_is_rendered(self):
        template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}{{ extra }}"
        text = opened().render_chat([{"role": "user", "content": "Grüße 🦊"}], chat_template=template, extra="!")
        self.assertEqual(text, "[user] Grüße 🦊\n[assistant]!")


class Lives(unittest.TestCase):
    def test_ten_thousand_sessions_leave_nothing(self):
        model = opened(context=64)

        def one(index):
            with model.session() as session:
                if index % 10 == 0:
                    next(session.generate([5, 6, 7], 1), None)

        for index in range(1000):
            one(index)
        gc.collect()
        before = resident()
        for index in range(10000):
            one(index)
        gc.collect()
        self.assertLess(resident() - before, 4 << 20)

    def test_models_come_and_go(self):
        runtime = sluice.Runtime(ram="256M", threads=1)
        for index in range(30):
            model = sluice.Model(MODEL, runtime, context=64)
            session = model.session()
            session.eval([5])
            if index == 10:
                before = resident()
            del model  # the session keeps it
            session.eval([6])
            session.close()
            with self.assertRaisesRegex(ValueError, "closed"):
                session.eval([7])
        self.assertLess(resident() - before, 8 << 20)

    def test_other_threads_run_meanwhile(self):
        model = opened("1G", context=4096)
        session, text = model.session(), some_tokens(4000)
        worker = threading.Thread(target=session.forward, args=(text,))
        worker.start()
        turns = 0
        while worker.is_alive():
            time.sleep(0.001)
            turns += 1
        self.assertGreater(turns, 20)

    def test_another_thread_aborts(self):
        model = opened("1G", context=4096)
        session, errors = model.session(), []

        def compute():
            try:
                while True:
                    session.truncate(0)
                    session.forward(some_tokens(4000))
            except sluice.SluiceError as error:
                errors.append(error.status)

        worker = threading.Thread(target=compute)
        worker.start()
        session.abort()
        worker.join()
        self.assertEqual(errors, ["cancelled"])
        self.assertEqual(len(session.eval([1])), model.vocabulary)

    def test_ctrl_c_stops_a_prompt_a_generation_and_an_opening(self):
        script = """
import os, signal, threading, time
from support import opened, some_tokens
import sluice
model = opened("1G", context=4096)
session = model.session()
def interrupt():
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)
for compute in (lambda: session.eval(some_tokens(4000)), lambda: list(session.generate(some_tokens(5), 3000, ignore_end=True))):
    session.truncate(0)
    threading.Thread(target=interrupt).start()
    try:
        while True:
            compute()
            session.truncate(0)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
session.truncate(0)
print(len(session.eval([1, 2, 3])), len(session))
def told(done):
    raise KeyboardInterrupt
try:
    opened(progress=told)
except KeyboardInterrupt:
    print("interrupted")
"""
        done = subprocess.run([sys.executable, "-B", "-c", script], cwd=pathlib.Path(__file__).parent, capture_output=True,
                              text=True, timeout=120)
        self.assertEqual((done.returncode, done.stdout), (0, "interrupted\ninterrupted\n4096 3\ninterrupted\n"), done.stderr)


class Mistakes(unittest.TestCase):
    def expect(self, status, words, action):
        with self.assertRaises(sluice.SluiceError) as caught:
            action()
        self.assertEqual(caught.exception.status, status)
        self.assertRegex(str(caught.exception), words)

    def test_what_the_library_refuses_is_raised(self):
        self.expect("not found", "nowhere", lambda: sluice.Model("/nowhere.gguf"))
        self.expect("budget", "smallest that works", lambda: opened("8M"))
        self.expect("invalid argument", "f8", lambda: opened(kv="f8"))
        self.expect("invalid argument", "reader", lambda: sluice.Runtime(reader="fast"))
        model = opened()
        self.expect("invalid argument", "256", lambda: model.session(300))
        session = model.session()
        self.expect("invalid argument", "vocabulary", lambda: session.eval([1 << 20]))
        self.expect("invalid argument", "context", lambda: session.forward(some_tokens(257)))
        self.expect("invalid argument", "no tokens", lambda: session.eval([]))
        self.expect("invalid argument", "temperature", lambda: next(session.write([5], temperature=-1)))
        self.assertEqual(len(session), 0)
        self.assertEqual(session.forward([]).shape, (0, model.vocabulary))

    def test_what_python_can_tell_is_told_by_python(self):
        session = opened().session()
        for wrong, error in (("abc", TypeError), ([[1, 2]], ValueError), ([1.5], TypeError), ([1 << 40], ValueError)):
            with self.assertRaises(error):
                session.eval(wrong)
        for wrong in ("1Q", "", "G", "-1G"):
            with self.assertRaises(ValueError):
                sluice.Runtime(ram=wrong) if wrong else sluice.runtime.parse_size(wrong)
        self.assertEqual([sluice.runtime.parse_size(size) for size in ("512M", "1.5G", "96MiB", "7", 9)],
                         [512 << 20, 3 << 29, 96 << 20, 7, 9])
        with self.assertRaises(ValueError):
            session.write("x", max_tokens=0)

    def test_two_threads_at_one_session(self):
        model = opened("1G", context=4096)
        session, refused = model.session(), []
        worker = threading.Thread(target=lambda: session.forward(some_tokens(4000)))
        worker.start()
        while worker.is_alive():
            try:
                session.stats()
            except sluice.SluiceError as error:
                refused.append(error.status)
        worker.join()
        self.assertEqual(set(refused), {"invalid argument"})


if __name__ == "__main__":
    unittest.main()
