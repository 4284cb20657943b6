"""How every command reads its arguments: the parameters of a function are its options, the docstring is their help.

A parameter that is a dataclass gives one option a field, and a dataclass within it options with its name in front. What cannot
be read is one line that names the option, what it wants and what it got, with the nearest name where it looks like a slip.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
HELP = ("-h", "--help")


@dataclass(frozen=True)
class Positional:
    """Marks a parameter that is given without a flag: Annotated[Path, Positional("RUN")]."""

    metavar: str


Run = Annotated[Path, Positional("RUN")]


@dataclass(frozen=True)
class Option:
    """One thing that a command line may give.

    Args:
        name: that of the parameter, with those of the dataclasses it lies in: blurring.sigma_blur_max.
        kind: its type.
        default: its value where it is not given; MISSING where it must be.
        text: what it means, a sentence or two.
        group: the dataclass it lies in, none for those of the command itself.
        metavar: the name of a positional argument; empty for a flag.
    """

    name: str
    kind: Any
    default: Any
    text: str
    group: type | None = None
    metavar: str = ""

    @property
    def flag(self) -> str:
        return self.metavar or "--" + self.name.replace("_", "-")


def parse(options: Callable[..., T], command: str, arguments: Sequence[str]) -> T:
    """What `options` returns for the arguments of `softdiff COMMAND`.

    Raises:
        ValueError: an argument is unknown, missing or has a bad value; the message is for the person who typed it.
        SystemExit: after the help was asked for and shown.
    """
    if set(HELP) & set(arguments):
        from softdiff_ext.commands.help import show_help

        show_help(options, command)
        raise SystemExit(0)
    return call(options, command, read(options, command, arguments))


def read(options: Callable[..., Any], command: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The values that were given, by the names of their options; raises ValueError as `parse` does."""
    known = list(collect(options))
    flags = {option.flag: option for option in known if not option.metavar}
    positional = [option for option in known if option.metavar]
    given: dict[str, Any] = {}
    words: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if word.startswith("-"):
            option, value = read_flag(word, rest, flags, command)
            given[option.name] = value
        else:
            words.append(word)
    if len(words) > len(positional):
        raise ValueError(f"{words[len(positional)]!r} is one argument too many: softdiff {command} --help shows what it takes")
    for option, word in zip(positional, words, strict=False):
        given[option.name] = convert(option.kind, [word], option.flag)
    return given


def read_flag(word: str, rest: list[str], flags: Mapping[str, Option], command: str) -> tuple[Option, Any]:
    """The option that a word names, and its value, whose words are taken from the front of `rest`."""
    name, equals, value = word.partition("=")
    name = name.replace("_", "-")
    turned_off = name.startswith("--no-") and name not in flags
    option = flags.get("--" + name.removeprefix("--no-") if turned_off else name)
    if option is None or (turned_off and option.kind is not bool):
        raise ValueError(f"unknown option {name}; {meant(name, flags) or f'softdiff {command} --help lists all'}")
    if option.kind is bool:
        if equals:
            raise ValueError(f"{name} takes no value, got {value!r}")
        return option, not turned_off
    taken = [value] if equals else []
    most = 0 if equals else most_words(option.kind)
    while rest and len(taken) < most and not rest[0].startswith("--"):
        taken.append(rest.pop(0))
    return option, convert(option.kind, taken, option.flag)


def call(options: Callable[..., T], command: str, given: dict[str, Any]) -> T:
    """Call `options` with the values that were given, each as a parameter or into the default of its dataclass."""
    arguments: dict[str, Any] = {}
    for name, parameter in inspect.signature(options).parameters.items():
        if is_dataclass(parameter.default):
            arguments[name] = updated(parameter.default, given)
        elif name in given:
            arguments[name] = given[name]
        elif parameter.default is inspect.Parameter.empty:
            metavars = [option.metavar for option in collect(options) if option.name == name]
            raise ValueError(f"{metavars[0]} is missing: softdiff {command} {metavars[0]} ...")
    return options(**arguments)


def updated(instance: Any, given: dict[str, Any], prefix: str = "") -> Any:
    """A dataclass with the values that were given in place of its own."""
    changes = {}
    for field in fields(instance):
        name, value = prefix + field.name, getattr(instance, field.name)
        if is_dataclass(value):
            changes[field.name] = updated(value, given, f"{name}.")
        elif name in given:
            changes[field.name] = given[name]
    return replace(instance, **changes)


def collect(options: Callable[..., Any]) -> Iterator[Option]:
    """The options of a command, in the order of its parameters."""
    hints, texts = get_type_hints(options, include_extras=True), parameter_texts(options)
    for name, parameter in inspect.signature(options).parameters.items():
        kind, default = hints[name], parameter.default
        if is_dataclass(default):
            yield from collect_fields(default)
            continue
        marks = [mark for mark in get_args(kind)[1:] if isinstance(mark, Positional)] if is_annotated(kind) else []
        missing = MISSING if default is inspect.Parameter.empty else default
        kind = get_args(kind)[0] if is_annotated(kind) else kind
        yield Option(name, kind, missing, texts.get(name, ""), metavar=marks[0].metavar if marks else "")


def collect_fields(instance: Any, prefix: str = "") -> Iterator[Option]:
    """The options of a dataclass, those of the dataclasses within it last."""
    hints, texts = get_type_hints(type(instance)), field_texts(type(instance))
    nested = []
    for field in fields(instance):
        value, name = getattr(instance, field.name), prefix + field.name
        if is_dataclass(value):
            nested.append((value, name))
        else:
            yield Option(name, hints[field.name], value, texts.get(field.name, ""), type(instance))
    for value, name in nested:
        yield from collect_fields(value, f"{name}.")


def is_annotated(kind: Any) -> bool:
    return get_origin(kind) is Annotated


def parameter_texts(function: Callable[..., Any]) -> dict[str, str]:
    """The lines "name: text" below "Args:" in a docstring."""
    texts: dict[str, str] = {}
    name = ""
    for line in (inspect.getdoc(function) or "").partition("Args:\n")[2].splitlines():
        if line.startswith(" " * 8):
            texts[name] += f" {line.strip()}"
        elif line.startswith(" " * 4):
            name, _, text = line.strip().partition(": ")
            texts[name] = text
    return texts


def field_texts(kind: type) -> dict[str, str]:
    """The string below each field of a dataclass."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    texts = {}
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    for statement, after in pairwise(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            texts[statement.target.id] = inspect.cleandoc(str(after.value.value)).replace("\n", " ")
    return texts


def members(kind: Any) -> tuple[Any, ...]:
    """The types that a union allows; a type by itself."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def most_words(kind: Any) -> int:
    """How many words of a command line the value of an option may take."""
    return max(
        (1_000_000 if get_args(member)[-1] is Ellipsis else len(get_args(member))) if get_origin(member) is tuple else 1
        for member in members(kind)
    )


def convert(kind: Any, words: Sequence[str], flag: str) -> Any:
    """Words as a value of a type; raises ValueError with the option, what it wants and what it got."""
    for member in members(kind):
        try:
            return convert_one(member, words)
        except ValueError:
            pass
    got = " ".join(words)
    choices = choices_of(kind)
    near = next(filter(None, (meant(word, choices) for word in words if word not in choices)), "")
    raise ValueError(f"{flag} wants {wanted_by(kind)}, got {repr(got) if words else 'nothing'}{near and f'; {near}'}")


def convert_one(kind: Any, words: Sequence[str]) -> Any:
    """The same for one member of a union; raises ValueError without a message."""
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        kinds = (kinds[0],) * len(words) if kinds[-1] is Ellipsis else kinds
        if len(kinds) != len(words):
            raise ValueError
        return tuple(convert_one(part, [word]) for part, word in zip(kinds, words, strict=True))
    if len(words) != 1:
        raise ValueError
    (word,) = words
    if kind is NoneType or get_origin(kind) is Literal:
        choices = {"none": None} if kind is NoneType else {str(choice): choice for choice in get_args(kind)}
        if word not in choices:
            raise ValueError
        return choices[word]
    return kind(word)


def choices_of(kind: Any) -> list[str]:
    """The words that a Literal, a tuple of them or a union with one allows; empty for other types."""
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    parts = get_args(kind)[:1] if get_origin(kind) is tuple else members(kind)
    return [] if parts == (kind,) else [choice for part in parts for choice in choices_of(part)]


def wanted_by(kind: Any) -> str:
    """A type in words: "an integer", "2 numbers", "one of grey, rgb or none"."""
    names = {int: "an integer", float: "a number", str: "a text", Path: "a path", NoneType: "none"}
    plural = {int: "integers", float: "numbers", str: "texts", Path: "paths"}

    def words(member: Any) -> str:
        if get_origin(member) is tuple:
            first, *others = get_args(member)
            some = plural[first] if first in plural else f"of {', '.join(choices_of(first))}"
            number = "" if others == [Ellipsis] else f"{len(others) + 1} "
            return f"{number or ('' if first in plural else 'any ')}{some}"
        return f"one of {', '.join(choices_of(member))}" if choices_of(member) else names[member]

    return " or ".join(words(member) for member in members(kind))


def meant(word: str, known: Iterable[str]) -> str:
    """ "did you mean X?" for the known name nearest to a word; empty where none is near."""
    names = list(known)
    ending = [name for name in names if name.rpartition(".")[2] == word.removeprefix("--")]
    near = ending or difflib.get_close_matches(word, names, n=1)
    return f"did you mean {' or '.join(near)}?" if near else ""
