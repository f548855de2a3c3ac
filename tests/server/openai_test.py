"""The server with OpenAI's own client, unchanged: whole and streamed answers, errors, and clients that stop listening.

usage: openai_test.py SLUICE
"""

import asyncio
import sys
import unittest

sys.dont_write_bytecode = True
import openai  # noqa: E402

from server_test import PROMPTS, Server, alone  # noqa: E402

MESSAGES = [{"role": "user", "content": "Tell me a story"}]


class OpenAiClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--parallel", 4, "--contexts", 4)
        cls.settings = {"base_url": f"http://127.0.0.1:{cls.server.port}/v1", "api_key": "none", "max_retries": 0}

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def test_whole_and_streamed(self):
        with openai.OpenAI(**self.settings) as client:
            self.assertEqual([model.id for model in client.models.list()], ["tales"])
            text = client.completions.create(model="tales", prompt=PROMPTS[0], max_tokens=12, temperature=0)
            self.assertEqual(text.choices[0].text, alone(PROMPTS[0], 12))
            asked = {"model": "tales", "messages": MESSAGES, "max_tokens": 20, "temperature": 0}
            whole = client.chat.completions.create(**asked, logprobs=True, top_logprobs=2)
            self.assertEqual(len(whole.choices[0].logprobs.content), 20)
            self.assertEqual(whole.usage.completion_tokens, 20)
            chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
            self.assertEqual("".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices),
                             whole.choices[0].message.content)
            self.assertEqual(chunks[-1].usage.completion_tokens, 20)

    def test_errors_have_their_classes(self):
        with openai.OpenAI(**self.settings) as client:
            with self.assertRaises(openai.BadRequestError) as caught:
                client.completions.create(model="tales", prompt="x", frequency_penalty=1)
            self.assertEqual(caught.exception.param, "frequency_penalty")
            with self.assertRaises(openai.NotFoundError):
                client.embeddings.create(model="tales", input="x")

    def test_who_stops_listening_is_let_go(self):
        endless = {"model": "tales", "prompt": "Once", "max_tokens": 240, "extra_body": {"ignore_eos": True}}
        with openai.OpenAI(**self.settings) as client:
            stream = client.completions.create(**endless, stream=True)
            next(stream)
            stream.close()
        self.server.wait_for("sluice_requests_running", 0)

        async def cancelled():
            async with openai.AsyncOpenAI(**self.settings) as client:
                task = asyncio.create_task(client.completions.create(**endless))
                await asyncio.sleep(0.02)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                texts = await asyncio.gather(*[client.completions.create(model="tales", prompt=prompt, max_tokens=16, temperature=0)
                                               for prompt in PROMPTS])
                self.assertEqual([text.choices[0].text for text in texts], [alone(prompt, 16) for prompt in PROMPTS])

        asyncio.run(cancelled())
        self.server.wait_for("sluice_requests_running", 0)


if __name__ == "__main__":
    unittest.main()
