"""What the command does to the files and streams that it is given, and what signals do to it. Standard library only."""

import gzip
import json
import os
import pathlib
import pty
import resource
import signal
import stat
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True
from command import MODEL, SLUICE, STORY, Folder, sluice  # noqa: E402

NPY_BYTES = 128 + 2 * 4096 * 4  # of two rows


class LogitsFile(Folder):
    def logits(self, out, *arguments, ids="1,2", **options):
        return sluice("logits", MODEL, "--ids", ids, "--out", out, *arguments, **options)

    def wanted(self):
        out = self.folder / "wanted.npy"
        self.assertEqual(self.logits(out).returncode, 0)
        data = out.read_bytes()
        self.assertEqual(len(data), NPY_BYTES)
        out.unlink()
        return data

    def test_an_older_file_stays_the_same_file(self):
        wanted = self.wanted()
        out, other, link = (self.folder / name for name in ("out.npy", "other.npy", "link.npy"))
        out.write_bytes(b"x" * 100_000)  # longer than what comes
        out.chmod(0o600)
        os.link(out, other)
        link.symlink_to("out.npy")
        before = out.stat()
        for path in (out, link):
            os.truncate(out, 0)
            self.assertEqual(self.logits(path).returncode, 0)
            self.assertEqual(other.read_bytes(), wanted)
        after = out.stat()
        self.assertEqual((after.st_ino, after.st_mode, after.st_nlink), (before.st_ino, before.st_mode, 2))
        self.assertTrue(link.is_symlink())
        self.assertEqual(sorted(os.listdir(self.folder)), ["link.npy", "other.npy", "out.npy"])

    def test_a_link_to_nothing_yet_makes_its_target(self):
        wanted = self.wanted()
        link = self.folder / "link.npy"
        link.symlink_to("target.npy")
        self.assertEqual(self.logits(link).returncode, 0)
        self.assertTrue(link.is_symlink())
        self.assertEqual((self.folder / "target.npy").read_bytes(), wanted)

    def test_a_new_file_has_the_mode_that_the_user_set(self):
        out = self.folder / "out.npy"
        self.assertEqual(self.logits(out, preexec_fn=lambda: os.umask(0o027)).returncode, 0)
        self.assertEqual(stat.S_IMODE(out.stat().st_mode), 0o640)

    def test_standard_output_is_written_as_it_is(self):
        wanted = self.wanted()
        # Through a link, so that a mistake does not take the system's own.
        link = self.folder / "stdout"
        link.symlink_to("/proc/self/fd/1")
        done = self.logits(link)
        self.assertEqual((done.returncode, done.stdout), (0, wanted), done.stderr)
        file = self.folder / "file"
        file.write_bytes(b"before\n")
        with open(file, "ab") as stream:
            done = subprocess.run([SLUICE, "logits", MODEL, "--ids", "1,2", "--out", link, "--json"], stdout=stream, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(link.is_symlink())
        data = file.read_bytes()
        self.assertEqual(data[:7 + NPY_BYTES], b"before\n" + wanted)
        self.assertEqual(json.loads(data[7 + NPY_BYTES:])["rows"], 2)

    def test_a_file_size_limit_is_an_error_and_leaves_nothing(self):
        def limited():
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        new, old = self.folder / "new.npy", self.folder / "old.npy"
        old.write_bytes(b"older")
        for out in (new, old):
            done = self.logits(out, preexec_fn=limited)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"File too large", done.stderr)
            self.assertIn(b"ulimit -f", done.stderr)
            self.assertIn(out.name.encode(), done.stderr)
        self.assertEqual(os.listdir(self.folder), ["old.npy"])
        self.assertEqual(old.read_bytes(), b"")  # not half of a result

    def test_a_saved_conversation_is_whole_or_not_there(self):
        def limited():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        saved = self.folder / "saved.json"
        turns = f"Tell me a story about a cat and a tree.\n/save {saved}\n".encode()
        done = sluice("chat", MODEL, "-n", 60, input=turns, preexec_fn=limited)
        self.assertIn(b"saved.json: cannot be written: File too large: raise the limit", done.stderr)
        self.assertEqual(os.listdir(self.folder), [])
        self.assertEqual(sluice("chat", MODEL, "-n", 60, input=turns).returncode, 0)
        self.assertGreater(len(json.loads(saved.read_text())["messages"]), 1)

    def test_an_interrupted_result_is_removed(self):
        out = self.folder / "out.npy"
        process = subprocess.Popen([SLUICE, "logits", MODEL, "--ids", ",".join(["5"] * 2000), "--batch", "16", "--out", out],
                                   stderr=subprocess.PIPE)
        while process.poll() is None and not (out.exists() and out.stat().st_size > 0):
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, error)
        self.assertEqual(os.listdir(self.folder), [])


class Texts(Folder):
    def test_what_is_no_text_is_refused_or_for_a_prompt_warned_of(self):
        story = "Die Füchsin läuft. " * 8000  # more than is read at once
        path = self.folder / "text"

        packed = gzip.compress(story.encode())
        latin = story.encode()[:4] + "Füchsin".encode("latin-1")
        split = ("ab " * 21844 + "ab🦊").encode()[:-1] + b" and so on"  # begins in one part and is broken in the next
        for content, at in ((packed, 1), (latin, 5), (split, 65534), (b"\xff" + story.encode(), 0)):
            path.write_bytes(content)
            for verb in ("calibrate", "eval"):
                if verb == "eval" and at > 64:
                    continue  # scores what it has read first
                done = sluice(verb, MODEL, "--ctx", 64, "--text", path, *(["--fit", 10**6, "--out", self.folder / "out"] if verb == "calibrate" else []))
                self.assertEqual((done.returncode, done.stdout), (1, b""), done.stderr)
                self.assertIn(f"text: not a text: byte {at} is not UTF-8", done.stderr.decode())
            self.assertFalse((self.folder / "out").exists())
        path.write_bytes(latin)
        done = sluice("run", MODEL, "-f", path, "-n", 2)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stderr.count(b"byte 5 is not UTF-8"), 1, done.stderr)
        # A text that is cut within its last character is one.
        path.write_bytes(story[:600].encode() + "ü".encode()[:1])
        for arguments in (["eval", MODEL, "--ctx", 64, "--text", path], ["run", MODEL, "-f", path, "-n", 2]):
            done = sluice(*arguments)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotIn(b"UTF-8", done.stderr)


class ClosedStreams(Folder):
    def closed(self, numbers, *arguments):
        return sluice(*arguments, preexec_fn=lambda: [os.close(number) for number in numbers])

    def test_a_closed_standard_input_is_said(self):
        for verb in ("run", "tokenize"):
            done = self.closed([0], verb, MODEL)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"standard input is closed", done.stderr)

    def test_no_file_takes_the_place_of_a_closed_stream(self):
        out = self.folder / "out.npy"
        for numbers in ([0], [0, 2]):
            self.assertEqual(self.closed(numbers, "logits", MODEL, "--ids", "1,2", "--out", out).returncode, 0)
            self.assertEqual(out.stat().st_size, NPY_BYTES)
        self.assertEqual(self.closed([1], "logits", MODEL, "--ids", "1,2", "--out", out, "--json").returncode, 1)
        self.assertEqual(out.stat().st_size, NPY_BYTES)


class Signals(Folder):
    def ends(self, process, number, status):
        process.send_signal(number)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            self.fail("a signal was lost")
        finally:
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self.assertIn(process.returncode, status)

    def test_a_signal_before_the_wait_for_input_is_not_lost(self):
        # At any moment of the start: before the handlers are there, it ends the process as it always does.
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            for milliseconds in (0, 2, 4, 6, 8, 10, 15, 20, 30, 40, 60, 80):
                for verb in ("run", "tokenize"):
                    process = subprocess.Popen([SLUICE, verb, MODEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                    time.sleep(milliseconds / 1e3)
                    self.ends(process, number, (code, -number))

    def catches(self, process, number):
        lines = pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
        caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
        return caught >> (number - 1) & 1

    def test_a_signal_before_the_model_is_read_is_heeded_before_it_is_open(self):
        # The warning of the budget, which comes first, waits for a reader of standard error: the signal comes then.
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            for verb in (["run", "-p", "Once"], ["chat", "-p", "Once"], ["eval", "--text", STORY], ["bench", "--no-ceilings"],
                         ["logits", "--ids", "1,2", "--out", self.folder / "out.npy"]):
                reading, writing = os.pipe()
                os.set_blocking(writing, False)
                filled = 0
                try:
                    while True:
                        filled += os.write(writing, b"." * 4096)
                except BlockingIOError:
                    os.set_blocking(writing, True)
                process = subprocess.Popen([SLUICE, verb[0], MODEL, *verb[1:], "--ram", "1000T", "--ctx", "64"],
                                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=writing)
                os.close(writing)
                while not self.catches(process, number):
                    time.sleep(0.001)
                process.send_signal(number)
                with os.fdopen(reading, "rb") as stream:
                    said = stream.read()[filled:]
                out, _ = process.communicate(timeout=60)
                self.assertEqual((process.returncode, out), (code, b""), said)
                self.assertNotIn(b"positions", said)  # what is said once it is open
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_signal_ends_the_wait_for_a_terminal(self):
        master, terminal = pty.openpty()
        process = subprocess.Popen([SLUICE, "run", MODEL], stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(0.05)
        self.ends(process, signal.SIGINT, (130, -signal.SIGINT))
        os.close(master)
        os.close(terminal)

    def test_a_signal_ends_the_wait_for_a_pipe_that_nobody_opens(self):
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        process = subprocess.Popen([SLUICE, "tokenize", MODEL, "--file", pipe], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(1)
        self.ends(process, signal.SIGTERM, (143,))

    def test_a_signal_ends_the_wait_for_a_reader_of_the_result(self):
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        process = subprocess.Popen([SLUICE, "logits", MODEL, "--ids", "1,2", "--out", pipe], stderr=subprocess.PIPE)
        process.stderr.readline()  # the model is open
        time.sleep(1)
        self.ends(process, signal.SIGINT, (130,))
        self.assertTrue(pipe.is_fifo())

    def test_a_pipe_that_opens_late_is_read(self):
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        process = subprocess.Popen([SLUICE, "tokenize", MODEL, "--file", pipe, "--json"], stdout=subprocess.PIPE)
        time.sleep(1)
        with open(pipe, "wb") as writer:
            writer.write(b"Once upon ")
            writer.flush()
            time.sleep(0.1)
            writer.write(b"a time")
        out, _ = process.communicate(timeout=60)
        self.assertEqual(out, sluice("tokenize", MODEL, "--text", "Once upon a time", "--json").stdout)

    def test_an_input_that_does_not_wait_is_waited_for(self):
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        process = subprocess.Popen([SLUICE, "tokenize", MODEL, "--json"], stdin=reading, stdout=subprocess.PIPE)
        os.close(reading)
        time.sleep(1)
        os.write(writing, b"Once")
        os.close(writing)
        out, _ = process.communicate(timeout=60)
        self.assertEqual(out, sluice("tokenize", MODEL, "--text", "Once", "--json").stdout)


if __name__ == "__main__":
    unittest.main()
