"""`sluice chat`: prompts that are jinja2's, turns that reuse what was computed, commands, reasoning, Ctrl-C. Standard library only;
what is compared with jinja2 asks the interpreter in SLUICE_PYTHON."""

import gzip
import json
import os
import pathlib
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True
from command import MIB, MODEL, ROOT, SLUICE, Folder, min_ram, sluice, sluice_json  # noqa: E402
from gguf_patch import Gguf  # noqa: E402

GREEDY = ("--temp", 0, "--repeat-penalty", 1)
DATA = ROOT / "tests/data"

ORACLE = """
import datetime, json, sys
sys.path.insert(0, sys.argv[1])
import chat_template_oracle as oracle
oracle.ENVIRONMENT.globals["strftime_now"] = datetime.datetime.now().strftime
for line in sys.stdin:
    case = json.loads(line)
    print(json.dumps(oracle.apply(open(case["template"], encoding="utf-8").read(), case["variables"])))
"""


def jinja2(cases):
    """What jinja2 makes of [{"template": path, "variables"}], as Transformers sets it up."""
    python = os.environ.get("SLUICE_PYTHON")
    if not python:
        raise unittest.SkipTest("SLUICE_PYTHON is not set")
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run([python, "-B", "-c", ORACLE, str(ROOT / "tests/text")], input=lines.encode(), capture_output=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


class Chat(Folder):
    def unpacked(self, source, name):
        path = self.folder / name
        with gzip.open(source) as packed, open(path, "wb") as plain:
            shutil.copyfileobj(packed, plain)
        return path

    def chat(self, text, *arguments, **options):
        return sluice("chat", MODEL, *GREEDY, *arguments, input=text.encode(), **options)

    def chat_json(self, text, *arguments):
        return sluice_json("chat", MODEL, *GREEDY, *arguments, input=text.encode())


class Render(Chat):
    def test_prompts_are_those_of_jinja2(self):
        # A vocabulary alone will do, of either kind.
        model = self.unpacked(DATA / "tokenizers/vocab/ggml-vocab-llama-spm.gguf.gz", "vocabulary.gguf")
        special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        conversations = json.loads((ROOT / "tests/text/chat_conversations.json").read_text())
        cases, files = [], []
        for template in sorted((DATA / "templates").glob("*.jinja")):
            for i, conversation in enumerate(conversations):
                given = dict(conversation["variables"])
                if i % 4 != 3:  # else absent, which Transformers takes for false
                    given["add_generation_prompt"] = i % 4 != 2
                files.append(self.file(f"{len(files)}.json", given))
                cases.append({"template": str(template), "variables": {**special, **given}})
        rendered = 0
        for case, file, wanted in zip(cases, files, jinja2(cases)):
            done = sluice("chat", model, "--template", case["template"], "--render", file)
            if "error" in wanted:
                self.assertEqual((done.returncode, done.stdout), (1, b""), wanted)
                self.assertTrue(done.stderr)
            else:
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(done.stdout.decode(), wanted["text"], (case, file))
                rendered += 1
        self.assertGreater(rendered, 150)

    def test_a_folder_with_a_tokenizer_alone_will_do(self):
        self.unpacked(DATA / "tokenizers/tales/tokenizer.json.gz", "tokenizer.json")
        shutil.copy(DATA / "tokenizers/tales/tokenizer_config.json", self.folder)
        file = self.file("chat.json", {"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": True})
        template = self.file("t.jinja", "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}")
        result = sluice_json("chat", self.folder, "--template", template, "--render", file)
        self.assertEqual(result["prompt"], "<|im_start|>Hi<|im_end|>")
        self.assertEqual((result["tokens"][0], result["tokens"][-1]), (4094, 4095))

    def test_variables_come_in_three_ways(self):
        template = self.file("t.jinja", "{{ a }}{{ b }}{{ messages|length }}{{ messages[0].role }}")
        message = {"role": "user", "content": "x"}
        for content, options, wanted in (
                ({"messages": [message], "a": 1, "b": 2}, [], "121user"),
                ({"messages": [message], "a": 1, "variables": {"a": 3, "b": 4}}, [], "341user"),
                ({"variables": {"messages": [message], "a": 5}}, ["--variables", '{"b": 6}'], "561user"),
                ([message], [], "1user"),
                ([message], ["--system", "Be brief"], "2system"),
                ([{"role": "system", "content": "x"}, message], ["--system", "Be brief"], "2system")):
            done = sluice("chat", MODEL, "--template", template, "--render", self.file("c.json", content), *options)
            self.assertEqual((done.returncode, done.stdout.decode()), (0, wanted), done.stderr)
        text = json.dumps([message]).encode()
        self.assertEqual(sluice("chat", MODEL, "--template", template, "--render", "-", input=text).stdout, b"1user")

    def test_what_is_wrong_with_the_file_is_named(self):
        for content, words in (("{", ["is no JSON"]), ("3", ["messages"]), ("{}", ["'messages' is missing"]), ('{"messages": 3}', ["not a list"]),
                               ('{"messages": [{}]}', ["message 1", "role"]), ("[" * 300 + "]" * 300, ["too deep"]), ('"\udcff"', ["is no JSON"])):
            path = self.folder / "broken.json"
            path.write_bytes(content.encode("utf-8", "surrogateescape"))
            done = sluice("chat", MODEL, "--render", path)
            self.assertEqual((done.returncode, done.stdout), (1, b""))
            for word in ["broken.json", *words]:
                self.assertIn(word.encode(), done.stderr)
        self.assertEqual(sluice("chat", MODEL, "--render", path, "--variables", "[]").returncode, 2)

    def test_a_broken_template_is_named(self):
        file = self.file("c.json", [{"role": "user", "content": "x"}])
        for source, word in (("{% if %}", b"line 1"), ("{{ raise_exception('no such role') }}", b"no such role"), ("", b"no chat template")):
            done = sluice("chat", MODEL, "--template", self.file("t.jinja", source), "--render", file)
            self.assertEqual(done.returncode, 1)
            self.assertIn(word, done.stderr)


class Turns(Chat):
    def prompt_of(self, messages):
        return sluice_json("chat", MODEL, "--render", self.file("p.json", {"messages": messages, "add_generation_prompt": True}))

    def test_each_turn_is_answered_as_if_it_were_computed_anew(self):
        questions = ["Tell me a story about a cat and a tree.", "And the cat?", "Tell me more."]
        result = self.chat_json("\n".join(questions) + "\n", "--system", "You tell stories.", "-n", 40)
        self.assertEqual([m["role"] for m in result["messages"]], ["system"] + ["user", "assistant"] * 3)
        for number, turn in enumerate(result["turns"]):
            said = result["messages"][:2 + 2 * number]
            self.assertEqual(said[-1]["content"], questions[number])
            prompt = self.prompt_of(said)
            self.assertEqual(turn["prompt_tokens"], len(prompt["tokens"]))
            alone = sluice_json("run", MODEL, *GREEDY, "-n", 40, "-p", prompt["prompt"])
            self.assertEqual((turn["text"], turn["tokens"], turn["finish_reason"]), (alone["text"], alone["tokens"], alone["finish_reason"]))
            self.assertEqual(result["messages"][2 + 2 * number]["content"], turn["text"])
        self.assertEqual(result["turns"][0]["reused_tokens"], 0)
        for before, after in zip(result["turns"], result["turns"][1:]):
            # All of the last prompt at the least; what was answered too, where its ids are those of its text.
            self.assertGreaterEqual(after["reused_tokens"], before["prompt_tokens"])
            self.assertLess(after["reused_tokens"], after["prompt_tokens"])
        for key in ("text", "tokens", "prompt_tokens", "timings", "reused_tokens"):
            self.assertEqual(result[key], result["turns"][-1][key])
        self.assertGreater(result["experts"]["requests"], 0)

    def test_the_end_of_a_turn_is_not_shown(self):
        done = self.chat("Tell me a story about a cat and a tree.\n", "-n", 1000)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn(b"<|im_end|>", done.stdout)
        result = self.chat_json("Tell me a story about a cat and a tree.\n", "-n", 1000)
        self.assertEqual(result["finish_reason"], "end_of_text")
        self.assertEqual(done.stdout.decode(), result["text"] + "\n")

    def test_a_templates_own_end_ends_the_answer(self):
        # Words that the story has, as if they were markup: a text, for the vocabulary has it as no control token.
        told = self.chat_json("", "-p", "Tell me a story about a cat and a tree.", "-n", 60)["text"]
        word = told.split(" ")[12]
        template = self.file("t.jinja", "{%- for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + ('<|im_end|>' if m.role == 'user' else '"
                             + word + "') + '\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}")
        cut = self.chat_json("", "-p", "Tell me a story about a cat and a tree.", "-n", 60, "--template", template)
        self.assertEqual((cut["text"], cut["finish_reason"]), (told[:told.index(word)], "stop"))

    def test_one_turn_comes_from_an_option_or_a_file(self):
        text = "Tell me a story\nof two lines."
        wanted = self.chat_json("", "-p", text, "-n", 10)
        self.assertEqual(len(wanted["messages"]), 2)
        self.assertEqual(wanted["messages"][0]["content"], text)
        self.assertEqual(self.chat_json("", "-f", self.file("q", text), "-n", 10)["text"], wanted["text"])
        # Two lines of standard input that a backslash joins are the same message.
        self.assertEqual(self.chat_json(text.replace("\n", "\\\n"), "-n", 10)["messages"], wanted["messages"])

    def test_commands(self):
        saved, again = self.folder / "saved.json", self.folder / "again.json"
        lines = ["Tell me a story about a dog.", "/regenerate", f"/save {saved}", "Tell me of a cat.", "/undo", "  ", "/nonsense", "/save", "/undo now",
                 f"/save {again}", "/help", "/exit", "never asked"]
        done = sluice("chat", MODEL, "-n", 12, "--json", "--temp", 1, input="\n".join(lines).encode())
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        self.assertEqual(len(result["turns"]), 3)  # two answers to the first, and one that was taken back
        self.assertEqual([turn["finish_reason"] for turn in result["turns"]], ["length"] * 3)
        first, second, _ = result["turns"]
        self.assertNotEqual(first["text"], second["text"])
        self.assertEqual(second["reused_tokens"], first["prompt_tokens"] - 1)
        self.assertEqual(result["messages"], [{"role": "user", "content": lines[0]}, {"role": "assistant", "content": second["text"]}])
        self.assertEqual(saved.read_text(), again.read_text())
        self.assertEqual(json.loads(saved.read_text()), {"messages": result["messages"]})
        for word in ("no command '/nonsense'", "/save needs a FILE", "/undo stands alone", "another answer", "Ctrl-C"):
            self.assertIn(word.encode(), done.stderr)

    def test_a_message_may_begin_with_a_slash(self):
        self.assertEqual(self.chat_json("//usr is a folder", "-n", 1)["messages"][0]["content"], "/usr is a folder")

    def test_nothing_to_take_back_is_said(self):
        done = self.chat("/undo\n/regenerate\n", "--json")
        self.assertEqual((done.returncode, json.loads(done.stdout)["messages"]), (0, []))
        self.assertIn(b"nothing to take back", done.stderr)
        self.assertIn(b"no answer yet", done.stderr)

    def test_a_saved_conversation_is_rendered_and_gone_on_with(self):
        saved = self.folder / "saved.json"
        self.chat(f"Tell me a story.\n/save {saved}\n", "-n", 8, "--variables", '{"mood": "glad"}')
        conversation = json.loads(saved.read_text())
        self.assertEqual(conversation["mood"], "glad")
        said = conversation["messages"]
        self.assertEqual(sluice("chat", MODEL, "--render", saved).stdout.decode(),
                         "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in said))
        result = self.chat_json("And then?\n", "--load", saved, "-n", 8)
        self.assertEqual(result["messages"][:3], said + [{"role": "user", "content": "And then?"}])
        # One that waits for an answer gets it at once.
        waiting = self.file("waiting.json", {"messages": said[:1]})
        self.assertEqual(self.chat_json("", "--load", waiting, "-n", 8)["messages"], said)

    def test_the_model_is_not_written_over(self):
        copy = self.folder / "model.gguf"
        shutil.copy(MODEL, copy)
        before = copy.read_bytes()
        done = sluice("chat", copy, "-n", 1, input=f"Hi\n/save {copy}\n/save /nowhere/x\n".encode())
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"the model itself", done.stderr)
        self.assertIn(b"/nowhere/x: cannot be written: No such file", done.stderr)
        self.assertEqual(copy.read_bytes(), before)

    def test_bytes_that_are_no_text_are_marked(self):
        done = sluice("chat", MODEL, "-n", 1, "--json", input=b"caf\xe9 \xff\n")
        self.assertEqual(json.loads(done.stdout)["messages"][0]["content"], "caf\ufffd \ufffd")

    def test_no_template_names_the_remedy(self):
        model = Gguf(MODEL)
        model.replace(b"tokenizer.chat_template", b"tokenizer.chat_xemplate")
        path = model.write(self.folder / "base.gguf")
        for arguments in ([], ["--render", self.file("c.json", [{"role": "user", "content": "x"}])]):
            done = sluice("chat", path, *arguments, input=b"Hi\n")
            self.assertEqual((done.returncode, done.stdout), (1, b""))
            for word in (b"base.gguf", b"no chat template", b"--template FILE", b"'run'"):
                self.assertIn(word, done.stderr)


class Context(Chat):
    LINES = "Tell me a story about a cat and a tree.\nAnd a dog?\nAnd a bird?\nAnd a fish?\n"

    def test_a_full_context_ends_a_script_with_the_remedies(self):
        done = self.chat(self.LINES, "--ctx", 64, "-n", 30)
        self.assertEqual(done.returncode, 1)
        for word in (b"context holds 64", b"--ctx", b"/undo", b"--ctx-shift"):
            self.assertIn(word, done.stderr)

    def test_a_shifting_context_lets_the_oldest_turns_go(self):
        result = self.chat_json(self.LINES, "--ctx", 96, "-n", 30, "--ctx-shift", "--system", "Be kind.")
        self.assertEqual(len(result["messages"]), 9)  # nothing is lost but to the model
        last = result["turns"][-1]
        self.assertLessEqual(last["prompt_tokens"], 96)
        # The last prompt is that of the system's message and the newest turns.
        prompts = {len(Turns.prompt_of(self, result["messages"][:1] + result["messages"][i:-1])["tokens"]) for i in (1, 3, 5, 7)}
        self.assertIn(last["prompt_tokens"], prompts)

    def test_one_long_message_is_shifted_like_a_prompt(self):
        text = "and then the cat sat on the mat " * 20
        done = self.chat("", "-p", text, "--ctx", 64, "-n", 5, "--ctx-shift", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertLessEqual(json.loads(done.stdout)["prompt_tokens"], 64)
        self.assertEqual(self.chat("", "-p", text, "--ctx", 64).returncode, 1)

    def test_a_line_beyond_any_context_is_refused(self):
        done = self.chat("a" * 1_000_000 + "\n", "--ctx", 256)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"passed over", done.stderr)

    def test_the_budget_holds(self):
        least = min_ram("--ctx", 512)
        lines = self.LINES * 2 + "x" * 60_000 + "\n"
        result = self.chat_json(self.LINES * 2, "--ctx", 512, "-n", 40, "--ram", least, "--ctx-shift")
        self.assertLessEqual(result["memory"]["peak_rss"], least)
        script = "import subprocess, sys, resource; subprocess.run(sys.argv[1:], stdin=0, stdout=-3, stderr=-3); " \
                 "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        out = subprocess.run([sys.executable, "-c", script, SLUICE, "chat", MODEL, "--ctx", "512", "-n", "4", "--ram", str(least)],
                             input=lines.encode(), capture_output=True, check=True).stdout
        self.assertLessEqual(int(out) << 10, least)
        self.assertGreater(least, 20 * MIB)


class Terminal(Chat):
    """A person at a terminal."""

    def begin(self, *arguments, model=MODEL, **environment):
        process, terminal = pty.fork()
        if process == 0:
            for name in ("NO_COLOR", "TERM"):
                os.environ.pop(name, None)
            os.environ.update(environment)
            os.execv(SLUICE, [SLUICE, "chat", str(model), *map(str, GREEDY), *map(str, arguments)])
        self.process, self.terminal, self.shown = process, terminal, ""
        self.addCleanup(os.close, terminal)
        self.addCleanup(self.reap)

    def reap(self):
        if self.process is not None:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
            self.process = None  # a test that began several is told of one failure, once

    def type(self, text):
        os.write(self.terminal, text.encode())

    def read_until(self, words, seconds=60):
        """All that is shown up to and with `words`, from where the last call ended."""
        end = time.monotonic() + seconds
        while words not in self.shown:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.terminal], [], [], left)[0]:
                self.fail(f"{words!r} did not come after {self.shown!r}")
            try:
                self.shown += os.read(self.terminal, 65536).decode(errors="replace").replace("\r\n", "\n")
            except OSError:
                self.fail(f"{words!r} did not come before the end of {self.shown!r}")
        before, _, self.shown = self.shown.partition(words)
        return before + words

    def ends(self, status):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            # What is shown must be taken, or the process waits for it.
            if select.select([self.terminal], [], [], 0.05)[0]:
                try:
                    os.read(self.terminal, 65536)
                except OSError:
                    pass
            done, code = os.waitpid(self.process, os.WNOHANG)
            if done:
                self.process = None
                self.assertEqual(os.waitstatus_to_exitcode(code), status)
                return
        self.fail("it did not end")

    def test_ctrl_c_stops_the_answer_and_then_the_chat(self):
        self.begin("-n", 1000000, "--ignore-eos", "--ctx-shift")
        self.read_until("> ")
        self.type("Tell me a story.\n")
        self.read_until("Tell me a story.\n")
        self.read_until(" ")  # it has begun
        for _ in range(2):
            self.type("\x03")
            self.read_until("\n> ")
            self.type("/regenerate\n")
            self.read_until("/regenerate\n")
            self.read_until(" ")
        self.type("\x03")
        self.read_until("\n> ")
        saved = self.folder / "saved.json"
        self.type(f"/save {saved}\n")
        self.read_until("2 messages")
        self.assertGreater(len(json.loads(saved.read_text())["messages"][1]["content"]), 0)
        self.read_until("> ")
        self.type("\x03")
        self.ends(130)

    def test_sigterm_ends_it_within_an_answer(self):
        self.begin("-n", 1000000, "--ignore-eos", "--ctx-shift")
        self.read_until("> ")
        self.type("Tell me a story.\n")
        self.read_until("Tell me a story.\n")
        self.read_until(" ")
        os.kill(self.process, signal.SIGTERM)
        self.ends(143)

    def test_the_end_of_input_ends_it(self):
        self.begin("-n", 4)
        self.read_until("> ")
        self.type("Hi\n")
        self.read_until("> ")
        self.type("\x04")
        self.ends(0)

    def test_errors_are_said_and_it_goes_on(self):
        self.begin("-n", 4, "--ctx", 40)
        self.read_until("> ")
        self.type("and the cat sat on the mat " * 10 + "\n")
        self.read_until("context holds 40")
        self.read_until("\n> ")
        self.type("Hi\n")
        self.read_until("\n> ")
        self.type("/exit\n")
        self.ends(0)

    def thinker(self):
        """The bundled model, to which the word "little" ends its reasoning; and a template whose prompt begins it."""
        model = Gguf(MODEL)
        # An entry of the vocabulary: its length, then its bytes.
        model.replace(b"\x08\0\0\0\0\0\0\0" + "Ġlittle".encode(), b"\x08\0\0\0\0\0\0\0</think>")
        # The merge that makes it becomes another once more.
        model.replace("Ġl ittle".encode(), "Ġf riend".encode())
        template = self.file("t.jinja", "{%- for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{%- endfor %}"
                             "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}<think>\n{% endif %}")
        return model.write(self.folder / "thinker.gguf"), template

    def test_reasoning_is_dimmed_and_leaves_the_history(self):
        model, template = self.thinker()
        question = "Tell me a story about a little girl."
        arguments = ("--template", template, "-n", 60)
        plain = sluice("chat", model, *GREEDY, *arguments, input=(question + "\n").encode())
        self.assertEqual(plain.returncode, 0, plain.stderr)
        result = sluice_json("chat", model, *GREEDY, *arguments, input=f"{question}\nMore.\n".encode())
        first = result["turns"][0]
        self.assertTrue(first["reasoning"] and first["text"], first)
        self.assertNotIn("think>", first["reasoning"] + first["text"])
        self.assertEqual(plain.stdout.decode(), f"<think>\n{first['reasoning']}\n</think>\n\n{first['text']}\n")
        self.assertEqual(result["messages"][1], {"role": "assistant", "content": first["text"], "reasoning_content": first["reasoning"]})
        # This template knows of no reasoning: the next prompt is without it.
        said = self.file("p.json", {"messages": result["messages"][:3], "add_generation_prompt": True})
        prompt = sluice_json("chat", model, "--template", template, "--render", said)
        self.assertNotIn(first["reasoning"], prompt["prompt"])
        self.assertEqual(result["turns"][1]["prompt_tokens"], len(prompt["tokens"]))

        for environment, dimmed in (({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)):
            self.begin(*arguments, model=model, **environment)
            self.read_until("> ")
            self.type(question + "\n")
            self.read_until(question + "\n")
            shown = self.read_until("\n> ")[:-3]
            if dimmed:
                reasoning, _, text = shown.partition("\n\n")
                self.assertTrue(reasoning.startswith("\x1b[2m") and reasoning.endswith("\x1b[22m"), shown)
                self.assertEqual(reasoning.replace("\x1b[2m", "").replace("\x1b[22m", ""), first["reasoning"])
                self.assertEqual(text, first["text"])
            else:
                self.assertNotIn("\x1b", shown)
                self.assertEqual(shown + "\n", plain.stdout.decode())
            self.type("\x04")
            self.ends(0)


class Signals(Chat):
    def let_work(self, process, seconds):
        """Waits until the process has used so much time of a processor: on a busy machine it may not have begun to answer when a clock says so."""
        def used():
            fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        enough = used() + seconds
        end = time.monotonic() + 60
        while used() < enough and time.monotonic() < end:
            time.sleep(0.01)

    def test_a_script_goes_on_after_the_first_and_ends_with_the_second(self):
        for signals, turns in ((1, 2), (2, 1)):
            process = subprocess.Popen([SLUICE, "chat", MODEL, *map(str, GREEDY), "-n", "3000", "--ignore-eos", "--ctx-shift", "--threads", "1", "--json"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            process.stderr.readline()  # the model is open
            process.stdin.write(b"Tell me a story.\n" * 2)
            process.stdin.flush()
            for _ in range(signals):
                self.let_work(process, 0.1)
                process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=300)
            self.assertEqual(process.returncode, 130, error)
            result = json.loads(out)
            self.assertEqual(result["turns"][0]["finish_reason"], "cancelled")
            self.assertEqual(len(result["turns"]), 2)
            self.assertEqual(sum(turn["finish_reason"] == "cancelled" for turn in result["turns"]), 3 - turns)

    def test_at_the_prompt_it_ends(self):
        process = subprocess.Popen([SLUICE, "chat", MODEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stderr.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=30), 130)
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()

    def test_a_reader_that_goes_away_ends_it(self):
        process = subprocess.Popen([SLUICE, "chat", MODEL, "-n", "100000", "--ignore-eos", "--ctx-shift"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        process.stdin.write(b"Tell me a story.\n" * 2)
        process.stdin.flush()
        process.stdout.read(10)
        process.stdout.close()
        self.assertNotEqual(process.wait(timeout=60), 0)
        process.stdin.close()
        process.stderr.close()


if __name__ == "__main__":
    unittest.main()
