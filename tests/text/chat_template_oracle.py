#!/usr/bin/env python3
"""Renders templates with jinja2, set up as Hugging Face Transformers does for chat templates.

usage: chat_template_oracle.py render CASES OUT      lines {"template", "variables"} -> lines {"text"} or {"error"}
       chat_template_oracle.py apply CASES OUT       the same with all that apply_chat_template does around a template
       chat_template_oracle.py random SEED COUNT OUT  lines {"template", "variables", "text" or "error"} of random expressions
"""

import datetime
import functools
import json
import random
import re
import sys
import types
import warnings

import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

NOW = datetime.datetime(2026, 3, 7, 4, 5, 9)  # the tests say the same


class Generation(jinja2.ext.Extension):
    """{% generation %}: Transformers marks there what the assistant said."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class Namespace(jinja2.utils.Namespace):
    """Transformers keeps names with an underscore out."""

    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)


def make_environment():
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = NOW.strftime
    environment.globals["namespace"] = Namespace
    return environment


ENVIRONMENT = make_environment()


@functools.cache
def compiled(template):
    return ENVIRONMENT.from_string(template)


def render(template, variables):
    try:
        text = compiled(template).render(**variables)
        text.encode("utf-8")
        return {"text": text}
    except Exception as error:  # whatever a template can bring about
        return {"error": f"{type(error).__name__}: {error}"[:300]}


REASONING = ("reasoning_content", "thinking", "reasoning")
TAG = "CONTINUE_FINAL_MESSAGE_TAG "


def with_reasoning(message):
    reasoning = next((message[key] for key in REASONING if message.get(key) is not None), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def around_template(messages, template, continue_final_message=False, **variables):
    """What Transformers 5 does in render_jinja_template, for one conversation."""
    for given in (variables["tools"], variables["documents"], messages):
        if not all(isinstance(one, dict) for one in given or []):
            raise TypeError("not a list of dicts")
    messages = [with_reasoning(message) for message in messages]
    if not continue_final_message:
        return compiled(template).render(messages=messages, **variables)
    field = continue_final_message if isinstance(continue_final_message, str) else "content"
    last = messages[-1]
    final = last.get(field)
    if final is None:
        raise ValueError(f"no {field} to continue")
    fields = [name for name in REASONING if last.get(name) == final] if field in REASONING else [field]
    if not any(name in template for name in fields):
        raise ValueError(f"the template does not read {field}")
    if isinstance(final, list):
        block = next(block for block in reversed(final) if "text" in block)
        final = block["text"]
        block["text"] = final + TAG
    else:
        for name in fields:
            last[name] = last[name] + TAG
    text = compiled(template).render(messages=messages, **variables)
    if final.strip() not in text or TAG.strip() not in text:
        raise ValueError("the final message is not in the text")
    at = text.rindex(TAG.strip())
    return text[:at] if text[at:at + len(TAG)] == TAG else text[:at].rstrip()


def around_template_of_transformers():
    """The function itself, where the package is installed; it needs no PyTorch."""
    try:
        from transformers.utils import chat_template_utils
    except ImportError:
        return None
    chat_template_utils.datetime = types.SimpleNamespace(now=lambda: NOW)

    def render(messages, template, **variables):
        return chat_template_utils.render_jinja_template([messages], chat_template=template, **variables)[0][0]
    return render


NO_VARIABLES = ("chat_template", "max_length", "padding", "return_assistant_tokens_mask", "return_dict", "return_tensors",
                "sanitize_control_tokens", "tokenize", "tokenizer_kwargs", "truncation")
AROUND_TEMPLATE = around_template


def apply(template, variables):
    """apply_chat_template(**variables, tokenize=False)"""
    variables = {"tools": None, "documents": None, "add_generation_prompt": False, **variables}
    try:
        messages = [{key: value for key, value in message.items() if value is not None} for message in variables.pop("messages")]
        if not messages:
            raise ValueError("an empty conversation")
        if variables.get("continue_final_message") and variables["add_generation_prompt"]:
            raise ValueError("continue_final_message and add_generation_prompt are not compatible")
        variables = {key: value for key, value in variables.items() if key not in NO_VARIABLES}
        return {"text": AROUND_TEMPLATE(messages, template, **variables)}
    except Exception as error:  # whatever a template can bring about
        return {"error": f"{type(error).__name__}: {error}"[:300]}


VARIABLES = {
    "i": 7, "zero": 0, "neg": -3, "f": 2.5, "small": 0.0001, "big": 1e17, "t": True, "n": None,
    "s": "Hello World", "u": "Grüße, 世界! 🙂é", "e": "", "sp": " \n\t padded  x ", "q": "it's \"so\" \\ &<>",
    "xs": [3, 1, 2], "names": ["b", "A", "c", "a"], "mixed": [1, "a", None, True, 2.5, [1], {"k": "v"}], "nothing": [],
    "d": {"b": 1, "a": "x", "items": [1, 2], "é": {"k": None}}, "ds": [{"n": "x", "v": 3}, {"n": "Y", "v": 1}, {"n": "z", "v": 2}],
    "empty": {}, "text": "one two  three\nfour", "num": "42", "bad": "4x2", "float": " 3.5e2 ",
}


class Expressions:
    """Random expressions, mostly of types that fit together."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, *choices):
        return self.random.choice(choices)

    def any(self, depth):
        return getattr(self, self.pick("number", "string", "string", "list", "truth", "wild"))(depth)

    def wild(self, depth):
        if depth <= 0:
            return self.pick("d", "n", "missing", "ds", "mixed", "d.a", "d['items']", "d.missing", "u", "none")
        a, b = self.any(depth - 1), self.any(depth - 1)
        return self.pick(
            f"({a}, {b})", f"{{'k': {a}, {self.number(0)}: {b}}}", f"({a}|default({b}))", f"({a} if {self.truth(depth - 1)} else {b})",
            f"({a} or {b})", f"({a} and {b})", f"{self.list(depth - 1)}[{self.number(0)}]", f"({self.list(depth - 1)}|first)",
            f"({self.list(depth - 1)}|last)", f"d[{self.string(depth - 1)}]", f"d.get({self.string(0)}, {b})", f"({a} + {b})",
            f"({a} * {b})", f"({a} - {b})", f"({self.list(depth - 1)}|max)", f"({self.list(depth - 1)}|min)", f"dict(x={a}, y={b})")

    def number(self, depth):
        if depth <= 0:
            return self.pick("i", "zero", "neg", "f", "1", "-2", "3", "0.5", "10", "t", "small", "1.0", "2e3", "0x1F", "1_000")
        a, b = self.number(depth - 1), self.number(depth - 1)
        operator = self.pick("+", "-", "*", "/", "//", "%")
        return self.pick(
            f"({a} {operator} {b})", f"({a} {operator} {b})", f"(-{a})", f"(+{a})", f"({a}|abs)", f"({a}|round({self.pick(0, 1, 2)}))",
            f"({a}|int)", f"({a}|float)", f"({self.string(depth - 1)}|length)", f"({self.list(depth - 1)}|length)", f"({a} ** {self.pick(0, 1, 2, 3)})",
            f"({self.string(depth - 1)}|int({b}))", f"({self.string(depth - 1)}|float)", f"{self.string(depth - 1)}.count({self.string(0)})",
            f"{self.string(depth - 1)}.find({self.string(0)})", f"({self.string(depth - 1)}|wordcount)", f"(xs|sum)", f"(ds|sum(attribute='v'))",
            f"({a}|round(1, '{self.pick('ceil', 'floor', 'common')}'))", f"({a} if {self.truth(depth - 1)} else {b})")

    def string(self, depth):
        if depth <= 0:
            return self.pick("s", "u", "e", "sp", "q", "text", "num", "bad", "float", "'a'", "'l'", "'é'", "'\\n'", "\"o\"", "' '", "d.a", "''")
        a, b = self.string(depth - 1), self.string(depth - 1)
        short = self.pick("'l'", "'o'", "' '", "'e'", "'x'", "'é'", "'wo'")
        method = self.pick("upper", "lower", "title", "capitalize", "strip", "lstrip", "rstrip", "swapcase")
        bounds = [self.pick("", "1", "2", "-1", "-3", "0", "100", "-100") for _ in range(3)]
        bounds[2] = self.pick("", "", ":", ":2", ":-1", ":-2")
        return self.pick(
            f"({a} + {b})", f"({a} ~ {self.any(depth - 1)})", f"({a} * {self.pick(0, 1, 2, -1)})", f"{a}.{method}()",
            f"({a}|{self.pick('upper', 'lower', 'title', 'capitalize', 'trim', 'string', 'reverse', 'e', 'safe')})",
            f"{a}[{bounds[0]}:{bounds[1]}{bounds[2]}]", f"{a}[{self.pick(0, 1, -1, -2)}]", f"{a}.replace({short}, {b})",
            f"{a}.replace({short}, {b}, 1)", f"({a}|replace({short}, {b}))", f"({self.any(depth - 1)}|string)", f"({self.any(depth - 1)}|tojson)",
            f"({self.wild(depth - 1)}|tojson(indent={self.pick(0, 2, 4)}))", f"({self.wild(depth - 1)}|tojson(sort_keys=true))",
            f"({self.list(depth - 1)}|join({short}))", f"{a}.strip({short})", f"({a}|trim({short}))", f"{a}.join({self.list(depth - 1)})",
            f"({a}|center({self.pick(5, 20)}))", f"({a}|truncate({self.pick(5, 8)}))", f"({a}|indent({self.pick(1, 2)}))",
            f"({a} if {self.truth(depth - 1)} else {b})", f"({self.wild(depth - 1)}|string)", f"('%s|%5s' % ({a}, {b}))",
            f"('%d %05.1f %x' % ({self.number(0)}, {self.number(0)}, 255))", f"('%s-%r'|format({a}, {b}))",
            f"'{{0}} {{0}}'.format({a})", f"'{{:>8}}|{{:<6}}|{{!r}}'.format({a}, {self.number(0)}, {b})", f"{a}.removeprefix({b})", f"{a}.zfill(9)",
            f"{a}.rjust(6, 'é')", f"{a}.partition({short})[{self.pick(0, 1, 2)}]", f"({a}|default({b}, true))")

    def list(self, depth):
        if depth <= 0:
            return self.pick("xs", "names", "nothing", "mixed", "[1, 'a']", "range(4)", "range(5, 0, -2)", "(1, 2)", "ds", "'abc'", "d")
        a = self.list(depth - 1)
        bounds = [self.pick("", "1", "-1", "-2", "0", "9") for _ in range(2)]
        test = self.pick("odd", "none", "string", "number", "defined", "mapping", "'eq', 1", "'in', [1, 'a']", "true")
        test = test if test.startswith("'") else f"'{test}'"
        return self.pick(
            f"({a}|list)", f"({a}|sort)", f"({a}|sort(reverse=true))", f"({a}|reverse|list)", f"({a}|unique|list)", f"({a}|list + {self.list(depth - 1)}|list)",
            f"{a}[{bounds[0]}:{bounds[1]}{self.pick('', ':2', ':-1')}]", f"({a}|map('{self.pick('upper', 'string', 'length', 'tojson', 'int')}')|list)",
            f"({a}|{self.pick('select', 'reject')}({test})|list)", f"(ds|{self.pick('selectattr', 'rejectattr')}('v', 'gt', {self.pick(1, 2)})|list)",
            f"(ds|map(attribute='{self.pick('n', 'v', 'zz')}')|list)", f"(ds|sort(attribute='{self.pick('n', 'v')}')|list)",
            f"({a}|batch(2)|list)", f"({a}|batch(2, 'x')|list)", f"({a}|slice(2)|list)", f"{self.string(depth - 1)}.split()",
            f"{self.string(depth - 1)}.split({self.pick(chr(39) + 'o' + chr(39), chr(39) + ' ' + chr(39))}, {self.pick(-1, 1, 2)})",
            f"{self.string(depth - 1)}.rsplit(None, 1)", f"{self.string(depth - 1)}.splitlines()", f"(d|dictsort)", f"(d.items()|list)", f"d.keys()", f"d.values()",
            f"(d|items|list)", f"[{self.any(depth - 1)}, {self.any(depth - 1)}]", f"({self.string(depth - 1)}|list)", f"(ds|groupby('n'))", f"[{self.any(depth - 1)}] * 2")

    def truth(self, depth):
        if depth <= 0:
            return self.pick("true", "false", "t", "n", "e", "zero", "i > 3", "s", "missing", "missing is defined", "none")
        a, b = self.any(depth - 1), self.any(depth - 1)
        x, y = self.number(depth - 1), self.number(depth - 1)
        test = self.pick("defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "true", "false", "boolean", "integer", "float",
                         "callable", "lower", "upper", "escaped", "sameas none", "in [1, 'a', none]", "eq 7", "odd", "even", "divisibleby 3", "not string")
        return self.pick(
            f"({a} is {test})", f"({a} is {test})", f"(not {a})", f"({a} == {b})", f"({a} != {b})", f"({x} {self.pick('<', '<=', '>', '>=')} {y})",
            f"({self.string(depth - 1)} {self.pick('<', '>=')} {self.string(depth - 1)})", f"({self.string(0)} in {self.string(depth - 1)})",
            f"({a} in {self.list(depth - 1)})", f"({a} not in {self.list(depth - 1)})", f"({x} < {y} <= {self.number(0)})",
            f"{self.string(depth - 1)}.startswith({self.string(0)})", f"{self.string(depth - 1)}.endswith(('x', 'd'))", f"({a} and {b})", f"({a} or not {b})",
            f"{self.string(depth - 1)}.{self.pick('isdigit', 'isalpha', 'isupper', 'islower', 'isspace', 'isalnum')}()", f"('k' in {self.wild(depth - 1)})")

    def tag(self, kind, text):
        """A tag with random signs and white space."""
        opening, closing = {"%": ("{%", "%}"), "#": ("{#", "#}"), "{": ("{{", "}}")}[kind]
        before, after = self.pick("", "", "-", "+"), self.pick("", "", "-", "+" if kind != "{" else "")
        return f"{opening}{before}{self.pick(' ', '  ', chr(10))}{text}{self.pick(' ', chr(10), '')}{after}{closing}"

    def layout(self, depth):
        """Tags amid white space, which they take along or not."""
        parts = []
        for _ in range(self.random.randint(1, 5)):
            parts.append("".join(self.pick(" ", "\n", "\t", "a", "\r\n", "  ", "\u00a0", "é ", "{", "") for _ in range(self.random.randint(0, 4))))
            inner = self.layout(depth - 1) if depth > 0 else self.pick("x", " \n", "")
            parts.append(self.pick(
                self.tag("%", "set x = 1"), self.tag("#", self.pick("c", "{{ x }}", "%}", "-", "")), self.tag("{", "i"), self.tag("{", "'}}'"),
                self.tag("%", "if 1") + inner + self.tag("%", "endif"), self.tag("%", "for x in xs") + inner + self.tag("%", "endfor"),
                self.tag("%", "raw") + self.pick(" {{ x }} ", "\n {% if\n", " \n") + self.tag("%", "endraw"),
                self.tag("%", "set y") + inner + self.tag("%", "endset") + "{{ y }}", self.tag("%", "generation") + inner + self.tag("%", "endgeneration"),
                self.tag("%", "macro m()") + inner + self.tag("%", "endmacro") + "{{ m() }}", self.tag("%", "filter upper") + inner + self.tag("%", "endfilter")))
        return "".join(parts)

    def program(self, depth):
        """Statements that set, loop and call, in scopes within scopes."""
        name, other = self.pick("x", "y", "i", "ns.a", "s"), self.pick("x", "y", "i", "ns.a", "loop.index", "s", "loop.last", "varargs|list", "missing")
        inner = self.program(depth - 1) if depth > 0 else "{{ x }}"
        second = self.program(depth - 1) if depth > 0 else "."
        simple = self.number(0) if self.pick(0, 1) else f"{other} ~ {self.string(0)}"
        return self.pick(
            f"{{% set {name} = {simple} %}}", f"[{{{{ {other} }}}}]", f"{{% set {name} = {simple} %}}{inner}{{{{ {name} }}}}",
            f"{{% set x, y = y, {simple} %}}{inner}", f"{{% if {other} is defined %}}{inner}{{% else %}}{second}{{% endif %}}",
            f"{{% for x in {self.list(0)} %}}{inner}{{% endfor %}}", f"{{% for y in [1, 2, 3] if y != {self.number(0)} %}}{inner}{{{{ loop.length }}}}{{% else %}}{second}{{% endfor %}}",
            f"{{% for i in range(4) %}}{{% if i == {self.pick(0, 1, 2)} %}}{{% {self.pick('break', 'continue')} %}}{{% endif %}}{inner}{{% endfor %}}{second}",
            f"{{% for x in xs if ns.a %}}{{% set ns.a = ns.a - 1 %}}{inner}{{% endfor %}}", f"{{% set {name} %}}{inner}{{% endset %}}{second}{{{{ {name} }}}}",
            f"{{% macro m(x, y={simple}) %}}{inner}{{% endmacro %}}{{{{ m({self.pick('', '1', '1, 2', 'y=3', '1, 2, 3', 'x=i, y=s')}) }}}}{second}",
            f"{{% macro m(x) %}}({{{{ caller({other}) }}}}){{% endmacro %}}{{% call(y) m(1) %}}{inner}{{% endcall %}}", f"{{% with x={simple}, y=x %}}{inner}{{% endwith %}}{second}",
            f"{{% filter upper %}}{inner}{{% endfilter %}}", f"{{% generation %}}{inner}{{% endgeneration %}}{second}", f"{inner}{second}", f"{inner}{second}")

    def template(self):
        form = self.random.random()
        if form < 0.15:
            return self.layout(2)
        if form < 0.45:
            return "{% set ns = namespace(a=2) %}" + self.program(4)
        value = self.any(self.pick(1, 2, 2, 3))
        return self.pick(
            f"{{{{ {value} }}}}", f"{{{{ {value} }}}}", f"{{% set x = {value} %}}[{{{{ x }}}}|{{{{ x|string|length }}}}]",
            f"{{% for x in {self.list(2)} %}}{{{{ loop.index }}}}:{{{{ x }}}}{{{{ ',' if not loop.last }}}}{{% else %}}none{{% endfor %}}",
            f"{{% if {self.truth(2)} %}}yes {{{{ {value} }}}}{{% else %}}no{{% endif %}}")


# What Python prints with an address, or as integers that have more than 64 bits, is nobody's reference.
UNSPEAKABLE = re.compile(r" at 0x|<generator|<class|\d{19}|<function|<built-in")


def random_cases(seed, count):
    expressions = Expressions(seed)
    while count > 0:
        template = expressions.template()
        result = render(template, VARIABLES)
        if UNSPEAKABLE.search(result.get("text", "")):
            continue
        count -= 1
        yield {"template": template, "variables": VARIABLES, **result}


def main():
    warnings.simplefilter("ignore")  # of what random templates compile to
    if sys.argv[1] in ("render", "apply"):
        global AROUND_TEMPLATE
        if sys.argv[1] == "apply":
            AROUND_TEMPLATE = around_template_of_transformers() or around_template
        oracle = {"render": render, "apply": apply}[sys.argv[1]]
        with open(sys.argv[2], encoding="utf-8") as cases:
            results = [oracle(case["template"], case["variables"]) for case in map(json.loads, cases)]
    else:
        results = random_cases(int(sys.argv[2]), int(sys.argv[3]))
    with open(sys.argv[-1], "w", encoding="utf-8") as out:
        for result in results:
            out.write(json.dumps(result, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
