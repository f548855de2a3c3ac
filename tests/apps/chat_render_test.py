"""`sluice chat --render`: what Transformers does around a template. Standard library only."""

import json
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
from command import MODEL, sluice  # noqa: E402


class Render(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, name, content):
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    def test_the_last_message_is_gone_on_with(self):
        template = self.file("t.jinja", "{% for m in messages %}<{{ m.role }}>{{ m.content|trim }}</s>{% endfor %}")
        messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "The answer is ", "tool_calls": None}]
        for given, wanted in (({"continue_final_message": True}, "<user>Hi</s><assistant>The answer is"),
                              ({"continue_final_message": False}, "<user>Hi</s><assistant>The answer is</s>")):
            done = sluice("chat", MODEL, "--template", template, "--render", self.file("c.json", {"messages": messages, **given}))
            self.assertEqual((done.returncode, done.stdout.decode()), (0, wanted), done.stderr)
        both = {"messages": messages, "continue_final_message": True, "add_generation_prompt": True}
        done = sluice("chat", MODEL, "--template", template, "--render", self.file("c.json", both))
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"set one of them", done.stderr)


if __name__ == "__main__":
    unittest.main()
