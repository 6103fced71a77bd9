import random
import tomllib
from typing import Any

from limes.toml_positions import key_positions

DOCUMENT = '''# a comment with [brackets] and "quotes"
name = "hello" # not = a key
text = """
[not.a.header]
key = 1 \\"\"" more"""
raw = \'\'\'
x = ]\'\'\'\'
dotted . "quoted key".'it''s' = 1
list = [ # comment ]
  1, "two, ]", [3, { deep = true }],
]
date = 1979-05-27 07:32:00
[limits]
  memory = "64MiB"
[grants.env]
A = 'b # c'
[[dirs]]
host = "x"
[[dirs]]
host = "y"
inline = {a = 1, b = {c = [{d = 2}]}}
'''.replace("'it''s'", "'its'")


def paths(value: Any, at: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    found = {at} if at else set()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    else:
        children = ()
    return found.union(*(paths(child, (*at, key)) for key, child in children))


def test_every_key_has_a_place_and_nothing_else_has():
    assert set(key_positions(DOCUMENT)) == paths(tomllib.loads(DOCUMENT))


def test_a_place_is_where_the_key_is_written():
    lines = DOCUMENT.splitlines()
    for path, place in key_positions(DOCUMENT).items():
        if isinstance(path[-1], str):
            written = lines[place.line - 1][place.column - 1 :]
            assert written.lstrip("'\"").startswith(path[-1])


def test_it_agrees_with_tomllib_on_documents_of_all_kinds():
    chance = random.Random(4)
    scalars = ["1", '"a # ] }"', "'b, {'", "true", "1.5", '"""m\n"" [x]\n"""', "'''n\n'' = '''", "07:32:00"]

    def value(depth: int) -> str:
        kind = chance.randrange(4) if depth else 0
        if kind == 1:
            return "[" + ", \n".join(value(depth - 1) for _ in range(chance.randrange(4))) + " ]"
        if kind == 2:
            pairs = (f"{key(i)} = {value(depth - 1)}" for i in range(chance.randrange(4)))
            inline = ", ".join(pairs)
            return "{ " + inline + " }"
        return chance.choice(scalars)

    def key(number: int) -> str:
        return chance.choice(
            [f"k{number}", f'"k {number}"', f"'k.{number}'", f"k{number}.sub", f"k{number} . 'x y'"]
        )

    for _ in range(500):
        blocks = []
        for number in range(chance.randrange(5)):
            header = chance.choice(["", f"[t{number}]\n", f"[[a{number % 2}]]\n", f"[t{number}.'u v']\n"])
            if not header and blocks:
                header = f"[h{number}]\n"
            blocks.append(
                header + "".join(f"{key(i)} = {value(3)} # c\n" for i in range(chance.randrange(4)))
            )
        document = "\n".join(blocks)
        assert set(key_positions(document)) == paths(tomllib.loads(document)), document
