"""The server against the command's own texts, against clients that vanish, dawdle and talk nonsense. Standard library only.

usage: server_test.py SLUICE
"""

import array
import http.client
import json
import math
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "apps"))
from command import MODEL, SLUICE, sluice_json  # noqa: E402

PROMPTS = ["Once upon a time", "The fox", "A little girl named", "In the forest there was a", "One day the sun",
           "Tom and his dog", "The old man said", "It was raining and"]


class Server:
    def __init__(self, *options, **environment):
        self.process = subprocess.Popen(
            [SLUICE, "serve", MODEL, "--port", "0", "--ram", "512M", "--ctx", "256", *map(str, options)],
            stderr=subprocess.PIPE, text=True, env=os.environ | environment)
        self.said, self.connections = [], []
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"http://[^:]+:(\d+)/v1", line):
                self.port = int(found[1])
                break
        else:
            raise AssertionError("".join(self.said))
        self.reader = threading.Thread(target=lambda: self.said.extend(self.process.stderr))
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()
        for connection in self.connections:
            connection.close()

    def connect(self):
        self.connections.append(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60))
        return self.connections[-1]

    def ask(self, method, path, body=None, headers=()):
        connection = self.connect()
        try:
            data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
            connection.request(method, path, data, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()

    def post(self, path, body, **options):
        status, data, _ = self.ask("POST", path, body, **options)
        return status, json.loads(data)

    def raw(self, data, shut=False):
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
            try:
                client.sendall(data)
                if shut:
                    client.shutdown(socket.SHUT_WR)
                parts = []
                while part := client.recv(65536):
                    parts.append(part)
            except (ConnectionResetError, BrokenPipeError):
                pass
            return b"".join(parts)

    def metric(self, name):
        text = self.ask("GET", "/metrics")[1].decode()
        return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])

    def wait_for(self, name, value):
        for _ in range(400):
            if self.metric(name) == value:
                return
            time.sleep(0.05)
        raise AssertionError(f"{name} is {self.metric(name)}, not {value}")


def events(answer):
    """The data of server-sent events, as they come."""
    for line in answer:
        if line.startswith(b"data: "):
            yield line[6:].rstrip(b"\n").decode()


def streamed(connection, path, body):
    connection.request("POST", path, json.dumps(body | {"stream": True}))
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    chunks = list(events(answer))
    assert chunks[-1] == "[DONE]", chunks[-3:]
    return [json.loads(chunk) for chunk in chunks[:-1]]


def alone(prompt, tokens, *options):
    return sluice_json("run", MODEL, "-p", prompt, "-n", tokens, "--temp", 0, "--ram", "512M", "--ctx", 256, *options)["text"]


class Answers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--parallel", 8, "--contexts", 8)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def completion(self, **fields):
        status, json = self.server.post("/v1/completions", {"temperature": 0} | fields)
        self.assertEqual(status, 200, json)
        return json

    def test_a_text_is_what_the_command_writes(self):
        for prompt in PROMPTS[:3]:
            answer = self.completion(prompt=prompt, max_tokens=25)
            self.assertEqual(answer["choices"][0]["text"], alone(prompt, 25))
            self.assertEqual(answer["choices"][0]["finish_reason"], "length")
            self.assertEqual(answer["usage"]["completion_tokens"], 25)

    def test_a_streamed_text_is_the_whole_one(self):
        chunks = streamed(self.server.connect(), "/v1/completions",
                          {"prompt": PROMPTS[0], "max_tokens": 30, "temperature": 0, "stream_options": {"include_usage": True}})
        text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
        self.assertEqual(text, alone(PROMPTS[0], 30))
        self.assertEqual([choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]][-1], "length")
        self.assertEqual(chunks[-1]["usage"]["completion_tokens"], 30)
        self.assertGreater(len(chunks), 20)

    def test_several_prompts_and_answers(self):
        answer = self.completion(prompt=PROMPTS[:2], max_tokens=8, n=2)
        texts = [choice["text"] for choice in answer["choices"]]
        self.assertEqual(texts, [alone(PROMPTS[0], 8)] * 2 + [alone(PROMPTS[1], 8)] * 2)
        ids = sluice_json("tokenize", MODEL, "--text", PROMPTS[0], "--bos")
        self.assertEqual(self.completion(prompt=ids, max_tokens=8)["choices"][0]["text"], texts[0])
        drawn = [self.completion(prompt="The", max_tokens=12, temperature=1, seed=seed, n=2) for seed in (1, 1, 2)]
        first, again, other = ([choice["text"] for choice in one["choices"]] for one in drawn)
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)
        self.assertNotEqual(first[0], first[1])

    def test_stop_echo_and_logprobs(self):
        whole = alone(PROMPTS[0], 40)
        stop = whole.split(".")[0][-6:]
        answer = self.completion(prompt=PROMPTS[0], max_tokens=40, stop=["#", stop], echo=True)["choices"][0]
        self.assertEqual(answer["text"], PROMPTS[0] + whole[:whole.index(stop)])
        self.assertEqual(answer["finish_reason"], "stop")
        answer = self.completion(prompt=PROMPTS[0], max_tokens=10, logprobs=3)["choices"][0]
        self.assertEqual("".join(answer["logprobs"]["tokens"]), answer["text"])
        for token, own, top in zip(*(answer["logprobs"][name] for name in ("tokens", "token_logprobs", "top_logprobs"))):
            self.assertEqual(len(top), 3)
            self.assertAlmostEqual(max(top.values()), own, 9)  # greedy
            self.assertLessEqual(own, 0)

    def test_a_prompts_logprobs_are_the_models(self):
        """As the command's logits have them, in double precision; a text's first token has none."""
        ids = sluice_json("tokenize", MODEL, "--text", "Once upon a time, there was a fox.", "--bos")
        answer = self.completion(prompt=ids, max_tokens=2, logprobs=1, echo=True)["choices"][0]
        own = answer["logprobs"]["token_logprobs"]
        self.assertEqual(len(own), len(ids) + 2)
        self.assertIsNone(own[0])
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "logits.npy"
            sluice_json("logits", MODEL, "--ids", ",".join(map(str, ids)), "--out", path, "--ram", "512M", "--ctx", 256)
            data = path.read_bytes()
        size = (len(data) - 128) // 4 // len(ids)
        numbers = array.array("f", data[128:])
        for position, token in enumerate(ids[1:]):
            row = numbers[position * size:(position + 1) * size]
            peak = max(row)
            self.assertAlmostEqual(own[position + 1], row[token] - peak - math.log(sum(math.exp(x - peak) for x in row)), 5)
        scored = self.completion(prompt=[ids, ids[:4]], max_tokens=0, logprobs=1, echo=True)["choices"]
        self.assertEqual(scored[0]["logprobs"]["token_logprobs"], own[:len(ids)])
        self.assertEqual(scored[1]["logprobs"]["token_logprobs"], own[:4])

    def test_a_chat(self):
        messages = [{"role": "user", "content": "Tell me a story about a fox"}]
        body = {"messages": messages, "max_tokens": 20, "temperature": 0, "logprobs": True, "top_logprobs": 2}
        status, whole = self.server.post("/v1/chat/completions", body)
        self.assertEqual(status, 200, whole)
        message = whole["choices"][0]["message"]
        self.assertEqual(message["role"], "assistant")
        self.assertEqual(len(whole["choices"][0]["logprobs"]["content"]), 20)
        self.assertEqual("".join(one["token"] for one in whole["choices"][0]["logprobs"]["content"]).lstrip(),
                         message["content"].lstrip())
        chunks = streamed(self.server.connect(), "/v1/chat/completions", body)
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
        self.assertEqual(deltas[0]["role"], "assistant")
        self.assertEqual("".join(delta.get("content", "") for delta in deltas), message["content"])
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(messages, file)
            file.flush()
            chat = subprocess.run([SLUICE, "chat", MODEL, "-p", messages[0]["content"], "-n", "20", "--temp", "0", "--json", "--ram", "512M",
                                   "--ctx", "256"], capture_output=True, check=True)
        self.assertEqual(json.loads(chat.stdout)["text"], message["content"])

    def test_a_conversation_goes_on_where_it_was(self):
        messages = [{"role": "user", "content": "Tell me a story about a very old tree, a river and a boat that nobody wanted"}]
        for turn in range(2):
            status, answer = self.server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 30, "temperature": 0})
            self.assertEqual(status, 200, answer)
            messages += [answer["choices"][0]["message"], {"role": "user", "content": "And then?"}]
        self.assertGreater(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 16)

    def test_tokens_models_health(self):
        text = "Once upon a time 🦊"
        _, tokens = self.server.post("/tokenize", {"content": text})
        self.assertEqual(tokens["tokens"], sluice_json("tokenize", MODEL, "--text", text))
        self.assertEqual(self.server.post("/detokenize", {"tokens": tokens["tokens"]})[1]["content"], text)
        self.assertEqual(json.loads(self.server.ask("GET", "/v1/models")[1])["data"][0]["id"], "tales")
        for path in ("/health", "/ready"):
            self.assertEqual(self.server.ask("GET", path)[0], 200)
        self.assertEqual(self.server.ask("HEAD", "/health")[1], b"")
        status, data, headers = self.server.ask("GET", "/nowhere")
        self.assertEqual((status, json.loads(data)["error"]["type"]), (404, "invalid_request_error"))
        self.assertNotIn("Access-Control-Allow-Origin", headers)

    def test_wrong_fields_are_named(self):
        cases = [({"prompt": 5}, "prompt"), ({}, "prompt"), ({"prompt": []}, "prompt"), ({"prompt": [1, -2]}, "prompt"),
                 ({"prompt": "x", "temperature": "hot"}, "temperature"), ({"prompt": "x", "temperature": -1}, "temperature"),
                 ({"prompt": "x", "top_p": 2}, "top_p"), ({"prompt": "x", "n": 0}, "n"), ({"prompt": "x", "n": 1.5}, "n"),
                 ({"prompt": "x", "max_tokens": -1}, "max_tokens"), ({"prompt": "x", "stop": 5}, "stop"),
                 ({"prompt": "x", "stop": ["a", None]}, "stop"), ({"prompt": "x", "stream": "yes"}, "stream"),
                 ({"prompt": "x", "logit_bias": {"5": 100}}, "logit_bias"), ({"prompt": "x", "suffix": "y"}, "suffix"),
                 ({"prompt": "x", "frequency_penalty": 1}, "frequency_penalty"), ({"prompt": "x", "logprobs": 99}, "logprobs"),
                 ({"prompt": "x", "stream_options": {}}, "stream_options"), ({"prompt": [1 << 20]}, "prompt"),
                 ({"prompt": "word " * 400}, "prompt"), ({"prompt": "x", "seed": "a"}, "seed")]
        for body, field in cases:
            status, answer = self.server.post("/v1/completions", body)
            self.assertEqual((status, answer["error"]["param"]), (400, field), (str(body)[:80], answer))
        chats = [({}, "messages"), ({"messages": []}, "messages"), ({"messages": "hi"}, "messages"),
                 ({"messages": [{"content": "hi"}]}, "messages"), ({"messages": [5]}, "messages"),
                 ({"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_object"}}, "response_format"),
                 ({"messages": [{"role": "user", "content": "x"}], "tool_choice": "required"}, "tool_choice"),
                 ({"messages": [{"role": "user", "content": "x"}], "top_logprobs": 2}, "top_logprobs")]
        for body, field in chats:
            status, answer = self.server.post("/v1/chat/completions", body)
            self.assertEqual((status, answer["error"]["param"]), (400, field), (body, answer))
        for body in (b"", b"{", b"[]", b"\xff\xfe", b'{"prompt": 1e999}', b'"x"', b"null", b"[" * 10000):
            status, answer = self.server.post("/v1/completions", body)
            self.assertEqual((status, answer["error"]["type"]), (400, "invalid_request_error"), body[:20])


class Clients(unittest.TestCase):
    def test_many_streams_each_gets_its_own(self):
        with Server("--parallel", 16, "--contexts", 6, "--queue", 1000) as server:
            expected = {prompt: alone(prompt, 40) for prompt in PROMPTS}
            wrong, threads = [], []

            def one(index):
                prompt = PROMPTS[index % len(PROMPTS)]
                connection = server.connect()
                for _ in range(2):  # on one connection
                    chunks = streamed(connection, "/v1/completions", {"prompt": prompt, "max_tokens": 40, "temperature": 0})
                    text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
                    if text != expected[prompt]:
                        wrong.append((prompt, text))

            for index in range(48):
                threads.append(threading.Thread(target=one, args=(index,)))
                threads[-1].start()
            for thread in threads:
                thread.join()
            self.assertEqual(wrong, [])
            self.assertEqual(server.metric("sluice_requests_finished_total"), 96)
            self.assertEqual(server.metric("sluice_requests_running"), 0)

    def test_who_leaves_is_let_go(self):
        with Server("--parallel", 2, "--contexts", 2) as server:
            body = json.dumps({"prompt": "Once", "max_tokens": 200, "temperature": 0, "ignore_eos": True, "stream": True})
            for shut in (False, True):
                before = server.metric("sluice_requests_cancelled_total")
                clients = []
                for _ in range(6):  # some computed, some waiting
                    client = socket.create_connection(("127.0.0.1", server.port))
                    client.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
                    clients.append(client)
                for client in clients[:2]:
                    self.assertIn(b"200", client.recv(100))
                for client in clients:
                    if shut:
                        client.shutdown(socket.SHUT_RDWR)
                    client.close()
                server.wait_for("sluice_requests_running", 0)
                server.wait_for("sluice_requests_waiting", 0)
                self.assertGreater(server.metric("sluice_requests_cancelled_total"), before)
            self.assertEqual(server.post("/v1/completions", {"prompt": "The fox", "max_tokens": 10, "temperature": 0})[1]
                             ["choices"][0]["text"], alone("The fox", 10))
            server.wait_for("sluice_connections", 1)

    def test_who_dawdles_holds_nobody_up(self):
        with Server("--parallel", 4, "--contexts", 4) as server:
            slow = []
            for data in (b"", b"POST", b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
                         b"GET /health HTTP/1.1\r\nX: " + b"y" * 1000):
                client = socket.create_connection(("127.0.0.1", server.port))
                client.sendall(data)
                slow.append(client)
            body = json.dumps({"prompt": "Once", "max_tokens": 200, "ignore_eos": True, "stream": True})
            reader = socket.create_connection(("127.0.0.1", server.port))
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            reader.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            self.assertEqual(server.post("/v1/completions", {"prompt": "The fox", "max_tokens": 10, "temperature": 0})[1]
                             ["choices"][0]["text"], alone("The fox", 10))
            server.wait_for("sluice_requests_running", 0)  # it is written to the end, read or not
            for client in [*slow, reader]:
                client.close()

    def test_nonsense(self):
        with Server("--max-body", 10000) as server:
            draw = random.Random(1)
            good = b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 44\r\n\r\n{"prompt": "Once", "max_tokens": 2,"seed": 1}'
            for turn in range(300):
                data = bytearray(good if turn % 3 else draw.randbytes(200))
                for _ in range(draw.randint(1, 8)):
                    kind, place = draw.randint(0, 2), draw.randrange(len(data))
                    if kind == 0:
                        data[place] = draw.randrange(256)
                    elif kind == 1:
                        del data[place:place + draw.randint(1, 9)]
                    else:
                        data[place:place] = draw.randbytes(draw.randint(1, 9))
                    data = data or bytearray(b"x")
                answer = server.raw(bytes(data), shut=True)
                self.assertTrue(answer == b"" or answer.startswith(b"HTTP/1."), answer[:80])
            status, answer, _ = server.ask("POST", "/v1/completions", json.dumps({"prompt": "x" * 20000}))
            self.assertEqual((status, json.loads(answer)["error"]["type"]), (413, "invalid_request_error"))
            self.assertIn(b" 431 ", server.raw(b"GET /health HTTP/1.1\r\nX: " + b"y" * 100000 + b"\r\n\r\n").split(b"\n")[0])
            self.assertIn(b" 400 ", server.raw(b"NONSENSE\r\n\r\n").split(b"\n")[0])
            old = server.raw(b"GET /health HTTP/1.0\r\n\r\n")
            self.assertTrue(old.startswith(b"HTTP/1.0 200"), old)
            both = server.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            self.assertEqual(both.count(b"HTTP/1.1 200"), 2)
            self.assertEqual(server.ask("GET", "/health")[0], 200)
            server.wait_for("sluice_connections", 1)

    def test_a_full_queue_and_too_many_connections(self):
        with Server("--parallel", 1, "--contexts", 1, "--queue", 1) as server:
            connections, codes = [], []
            for _ in range(4):
                connection = server.connect()
                connection.request("POST", "/v1/completions", json.dumps(
                    {"prompt": "Once", "max_tokens": 240, "ignore_eos": True, "stream": True}))
                connections.append(connection)
            for connection in connections:
                answer = connection.getresponse()
                codes.append(answer.status)
                if answer.status == 429:
                    self.assertEqual(answer.getheader("Retry-After"), "1")
            self.assertIn(429, codes)
            self.assertIn(200, codes)

    def test_keys_and_origins(self):
        with tempfile.NamedTemporaryFile("w", suffix=".keys") as file:
            file.write("# ours\nsecret-1\n\nsecret-2\n")
            file.flush()
            with Server("--api-keys", file.name, "--cors", "https://page.example") as server:
                for headers, status in (({}, 401), ({"Authorization": "Bearer wrong"}, 401), ({"Authorization": "secret-1"}, 401),
                                        ({"Authorization": "Bearer "}, 401), ({"Authorization": "Bearer secret-1"}, 200),
                                        ({"Authorization": "Bearer secret-2"}, 200)):
                    self.assertEqual(server.ask("GET", "/v1/models", headers=headers)[0], status, headers)
                self.assertEqual(server.ask("GET", "/health")[0], 200)
                for origin, allowed in (("https://page.example", True), ("https://other.example", False)):
                    headers = server.ask("OPTIONS", "/v1/models", headers={"Origin": origin})[2]
                    self.assertEqual("Access-Control-Allow-Origin" in headers, allowed)

    def test_sigterm_lets_answers_end(self):
        with Server("--drain", 20) as server:
            connection = server.connect()
            connection.request("POST", "/v1/completions", json.dumps(
                {"prompt": "Once upon a time", "max_tokens": 150, "temperature": 0, "ignore_eos": True, "stream": True}))
            answer = connection.getresponse()
            stream = events(answer)
            first = json.loads(next(stream))["choices"][0]["text"]
            server.process.send_signal(signal.SIGTERM)
            chunks = list(stream)
            self.assertEqual(chunks[-1], "[DONE]")
            text = first + "".join(json.loads(chunk)["choices"][0]["text"] for chunk in chunks[:-1])
            self.assertEqual(text, alone("Once upon a time", 150, "--ignore-eos"))
            self.assertEqual(server.process.wait(20), 0)
            with self.assertRaises(OSError):
                server.connect().connect()

    def test_what_is_wrong_is_said_at_once(self):
        def said(*arguments):
            done = subprocess.run([SLUICE, "serve", *map(str, arguments)], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 1)
            return done.stderr

        self.assertIn("no/such.gguf", said("no/such.gguf"))
        self.assertIn("no/keys", said(MODEL, "--api-keys", "no/keys"))
        self.assertIn("300.1.1.1", said(MODEL, "--host", "300.1.1.1", "--port", 0, "--ctx", 64))
        with Server() as server:
            self.assertIn(f":{server.port} cannot be listened at", said(MODEL, "--port", server.port, "--ctx", 64))


if __name__ == "__main__":
    unittest.main()
