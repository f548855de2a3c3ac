"""The ctypes declarations against the header that they repeat."""

import ctypes
import re
import unittest

from support import ROOT
from sluice import _library

HEADER = re.sub(r"/\*.*?\*/", "", (ROOT / "include/sluice.h").read_text(), flags=re.DOTALL)
NUMBERS = {"size_t": ctypes.c_size_t, "uint64_t": ctypes.c_uint64, "uint32_t": ctypes.c_uint32, "int32_t": ctypes.c_int32,
           "float": ctypes.c_float, "double": ctypes.c_double, "sluice_status": ctypes.c_int32,
           "sluice_token": ctypes.c_int32}


def struct_class(name):
    return getattr(_library, "".join(word.capitalize() for word in name.removeprefix("sluice_").split("_")))


def expected(kind, pointers, array):
    """The ctypes type of a declarator; None: a pointer to a handle or to anything."""
    if kind == "sluice_progress":
        return _library.Progress
    if kind == "char":
        if array:
            return ctypes.c_char * int(array)
        return {1: ctypes.c_char_p, 2: ctypes.POINTER(ctypes.c_char_p)}[pointers]
    if kind == "void" or (pointers and re.fullmatch(r"sluice_(runtime|model|session|sampler|writer)", kind)):
        return {1: ctypes.c_void_p, 2: ctypes.POINTER(ctypes.c_void_p)}[pointers]
    base = NUMBERS.get(kind) or struct_class(kind)
    for _ in range(pointers):
        base = ctypes.POINTER(base)
    return base


def declarators(text):
    """(type, stars, name, array length) of each in 'const char *kv; uint64_t a, b;'."""
    for declaration in filter(None, (part.strip() for part in re.split(r"[;]", text))):
        kind, rest = re.match(r"(?:const\s+)?(\w+)\s*(.*)", declaration, re.DOTALL).groups()
        for one in rest.split(","):
            one = one.replace("const", "")
            name, array = re.search(r"(\w+)\s*(?:\[(\d+)\])?\s*$", one).groups()
            yield kind, one.count("*"), name, array


class Binding(unittest.TestCase):
    def test_structs(self):
        structs = re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", HEADER, re.DOTALL)
        self.assertGreater(len(structs), 9)
        for name, body in structs:
            with self.subTest(name):
                fields = [(field, expected(kind, stars, array)) for kind, stars, field, array in declarators(body)]
                self.assertEqual(fields, struct_class(name)._fields_)

    def test_calls(self):
        calls = re.findall(r"SLUICE_API ([\w ]+?[ *]+)(sluice_\w+)\((.*?)\);", HEADER, re.DOTALL)
        known = set(_library._CALLS) | set(_library._OTHERS)
        self.assertEqual({name for _, name, _ in calls}, known)
        for result, name, arguments in calls:
            with self.subTest(name):
                parameters = [] if arguments in ("", "void") else arguments.split(",")
                types = [expected(*next(declarators(parameter + ";"))[:2], None) for parameter in parameters]
                function = getattr(_library.library, name)
                self.assertEqual(types, list(function.argtypes))
                wanted = {"void": None, "const char *": ctypes.c_char_p}.get(result.strip(), NUMBERS.get(result.strip()))
                self.assertEqual(wanted, function.restype)

    def test_constants(self):
        constants = dict(re.findall(r"(SLUICE_\w+) = (\d+)", HEADER))
        self.assertEqual(int(constants["SLUICE_TEXT_ADD_SPECIAL"]), _library.ADD_SPECIAL)
        self.assertEqual(int(constants["SLUICE_TEXT_PARSE_SPECIAL"]), _library.PARSE_SPECIAL)
        stops = [int(value) for name, value in constants.items() if name.startswith("SLUICE_STOP_")]
        self.assertEqual(stops, list(range(len(_library.STOPS))))


if __name__ == "__main__":
    unittest.main()
