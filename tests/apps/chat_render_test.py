"""`sluice chat --render`: what Transformers does around a template. Standard library only."""

import json
import sys
import unittest

sys.dont_write_bytecode = True
from command import MODEL, Folder, sluice  # noqa: E402


class Render(Folder):
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

    def test_integers_that_nobody_can_hold_are_refused(self):
        template = self.file("t.jinja", "{{ x }}{{ messages[0].x }}")
        message = {"role": "user", "content": "Hi"}
        for number, fits in ((2**63 - 1, True), (-2**63, True), (2**63, False), (-2**63 - 1, False), (10**40, False)):
            file = self.file("c.json", {"messages": [{**message, "x": number}], "x": 1})
            done = sluice("chat", MODEL, "--template", template, "--render", file)
            self.assertEqual(done.returncode, 0 if fits else 1, done.stderr)
            self.assertEqual(done.stdout.decode(), f"1{number}" if fits else "")
            if not fits:
                self.assertIn(f"the integer {number} has more than 64 bits".encode(), done.stderr)
            done = sluice("chat", MODEL, "--template", template, "--variables", json.dumps({"x": number}), "--render", self.file("m.json", [message]))
            self.assertEqual(done.returncode, 0 if fits else 1, done.stderr)


if __name__ == "__main__":
    unittest.main()
