"""Settings: how one declaration becomes a flag, an environment variable and a line of help.

No setting in particular is known here. A class declares its settings as attributes, and an instance
holds the values that its layers give: for each setting, the first layer that has it.

    class Settings(Declared):
        keepalive_timeout = setting(75.0, "Idle seconds ...", SECONDS, "Timeouts")

    Settings([arguments, environment]).keepalive_timeout
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Generic, TypeAlias, TypeVar, overload

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# --help: no wider than this, and the meanings begin in that column.
HELP_WIDTH: Final = 80
HELP_COLUMN: Final = 30


class ConfigError(Exception):
    """What is wrong with the configuration, and where: one line for the operator."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[T_co]):
    """The values that a setting may have, and how they are written."""

    metavar: str  # stands for the value in --help: "SEC"
    accepts: str  # what is allowed, in words that go after "must be"
    # Raises ValueError when that is all there is to say, ConfigError when it knows better.
    parse: Callable[[str], T_co]

    def read(self, text: str) -> T_co:
        """The value of `text`. Raises ConfigError that says what is wrong with it."""
        try:
            return self.parse(text)
        except ValueError:
            raise ConfigError(f"must be {self.accepts}, not {text!r}") from None


@dataclass(frozen=True, slots=True)
class Given:
    """What one layer gives for a setting: texts (several only for a list), and where they stood."""

    texts: tuple[str, ...]
    where: str


Layer: TypeAlias = Mapping[str, Given]


@dataclass
class Setting(Generic[T]):
    """One setting. As an attribute of a class it is itself; of an instance, the value."""

    default: T
    help: str
    kind: Kind[Any]
    group: str
    read: Callable[[Sequence[str]], T]  # raises ConfigError
    repeatable: bool = False
    argument: str = ""  # the name of a positional argument, which has no flag
    name: str = field(default="", init=False)

    def __set_name__(self, owner: type[Declared], name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type[Declared]) -> Setting[T]: ...
    @overload
    def __get__(self, instance: Declared, owner: type[Declared]) -> T: ...
    def __get__(self, instance: Declared | None, owner: type[Declared]) -> Setting[T] | T:
        if instance is None:
            return self
        value: T = instance.values[self.name]
        return value

    @property
    def flag(self) -> str:
        """`--keepalive-timeout`; a positional argument's name."""
        return self.argument or "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """`MPSERVE_KEEPALIVE_TIMEOUT`."""
        return "MPSERVE_" + self.name.upper()

    @property
    def shown_default(self) -> str:
        """The default as one would write it; nothing where there is none."""
        return shown(self.default)


def setting(
    default: T, meaning: str, kind: Kind[T], group: str, *, argument: str = ""
) -> Setting[T]:
    """A setting with one value: given more than once, the last one counts."""
    return Setting(
        default, meaning, kind, group, lambda texts: kind.read(texts[-1]), argument=argument
    )


def listed(
    default: tuple[T, ...], meaning: str, kind: Kind[T], group: str
) -> Setting[tuple[T, ...]]:
    """A setting that may be given several times; then the whole default is forgotten."""
    return Setting(
        default,
        meaning,
        kind,
        group,
        lambda texts: tuple(map(kind.read, texts)),
        repeatable=True,
    )


def shown(value: object) -> str:
    """A value as one would write it."""
    match value:
        case None:
            return ""
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:g}"
        case bytes():
            return value.decode()
        case Enum():
            return str(value.value)
        case tuple():
            return ", ".join(map(shown, value))
    return str(value)


class Declared:
    """The base of a class that declares settings."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        """Raises ConfigError for the first value that is not allowed."""
        self.values: dict[str, Any] = {}
        self._given: dict[str, Given] = {}
        for declaration in self.declarations():
            name = declaration.name
            self.values[name] = declaration.default
            for layer in layers:
                if name in layer:
                    self._given[name] = layer[name]
                    self.values[name] = self._read(declaration, layer[name])
                    break

    @staticmethod
    def _read(declaration: Setting[T], given: Given) -> T:
        try:
            return declaration.read(given.texts)
        except ConfigError as error:
            raise ConfigError(f"{given.where}: {error}") from None

    @classmethod
    def declarations(cls) -> tuple[Setting[Any], ...]:
        """Every setting of the class, in the order of its text."""
        return tuple(value for value in vars(cls).values() if isinstance(value, Setting))

    def where(self, declaration: Setting[Any]) -> str:
        """Where the value of a setting comes from: its flag, unless something else gave it."""
        given = self._given.get(declaration.name)
        return declaration.flag if given is None else given.where


# --- Kinds of values that any program may want ----------------------------------------------------


def parse_switch(text: str) -> bool:
    """On or off."""
    match text.lower():
        case "on" | "yes" | "true" | "1":
            return True
        case "off" | "no" | "false" | "0":
            return False
    raise ValueError


def parse_path(text: str) -> str:
    """The path of a file that is yet to be opened."""
    if not text or "\0" in text:
        raise ValueError
    return text


def parse_seconds(text: str) -> float:
    """Seconds, possibly with a fraction."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or not 0 < float(text) <= LONGEST:
        raise ValueError
    return float(text)


def up_to(most: float) -> Kind[float]:
    """Seconds, possibly with a fraction, possibly none, `most` at most."""

    def parse(text: str) -> float:
        seconds = 0.0 if re.fullmatch(r"0(\.0{1,9})?", text) else parse_seconds(text)
        if seconds > most:
            raise ValueError
        return seconds

    return Kind("SEC", f"a number of seconds from 0 to {most:g}", parse)


def whole(low: int, high: int, metavar: str = "N") -> Kind[int]:
    """Whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError
        return int(text)

    return Kind(metavar, f"a whole number from {low} to {high}", parse)


def one_of(*names: str) -> Kind[str]:
    """One of these words."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError
        return text

    return Kind("|".join(names), f"{', '.join(names[:-1])} or {names[-1]}", parse)


LONGEST: Final = 86400  # seconds: a day

SWITCH: Final = Kind("", "on or off", parse_switch)
PATH: Final = Kind("PATH", "a path", parse_path)
SECONDS: Final = Kind("SEC", f"a number of seconds above 0, {LONGEST} at most", parse_seconds)
DURATION: Final = up_to(LONGEST)


# --- The environment ------------------------------------------------------------------------------


def environment_layer(
    declarations: Iterable[Setting[Any]], environ: Mapping[str, str]
) -> dict[str, Given]:
    """What `MPSERVE_<SETTING>` gives; a list by newlines; an empty variable gives nothing.

    Other variables of that prefix are let be: a service named mpserve makes Kubernetes set a dozen.
    """
    layer: dict[str, Given] = {}
    for declaration in declarations:
        text = environ.get(declaration.variable, "")
        lines = text.split("\n") if declaration.repeatable else [text]
        if texts := tuple(line for line in lines if line):
            layer[declaration.name] = Given(texts, declaration.variable)
    return layer


# --- The command line -----------------------------------------------------------------------------


class CommandLine:
    """The flags of a class of settings, and the actions that may take the usual one's place.

    `elsewhere` is what other servers call a thing, without dashes, and what it is called here.
    """

    def __init__(
        self,
        declarations: Sequence[Setting[Any]],
        actions: Mapping[str, str],
        elsewhere: Mapping[str, str],
        *,
        usage: str,
        description: str,
        epilog: str,
    ) -> None:
        self._declarations = declarations
        self._elsewhere = elsewhere
        self._flags: list[str] = []
        self._parser = argparse.ArgumentParser(
            usage=usage,
            description=description,
            epilog=epilog,
            formatter_class=_formatter,
            allow_abbrev=False,
            add_help=False,
            exit_on_error=False,
        )
        for group in dict.fromkeys(declaration.group for declaration in declarations):
            section = self._parser.add_argument_group(group)
            for declaration in declarations:
                if declaration.group == group:
                    self._add(section, declaration)
        section = self._parser.add_argument_group("Other")
        for action, meaning in actions.items():
            flags = ["-h", "--help"] if action == "help" else [f"--{action}"]
            self._flags += flags
            section.add_argument(
                *flags, dest="action", action="store_const", const=action, help=meaning
            )

    def _add(self, section: argparse._ArgumentGroup, declaration: Setting[Any]) -> None:
        """One setting. Texts are only collected here: `Declared` reads those of all layers."""
        name, flag, meaning = declaration.name, declaration.flag, _help(declaration)
        if declaration.argument:
            section.add_argument(name, nargs="?", metavar=flag, help=meaning)
            return
        self._flags.append(flag)
        if declaration.kind is not SWITCH:
            metavar = declaration.kind.metavar
            section.add_argument(flag, action="append", metavar=metavar, help=meaning)
            return
        # A switch that the environment turns on is turned off by --no-SWITCH.
        opposite = flag.replace("--", "--no-", 1)
        section.add_argument(flag, action="append_const", const="on", dest=name, help=meaning)
        section.add_argument(
            opposite, action="append_const", const="off", dest=name, help=argparse.SUPPRESS
        )

    def parse(self, argv: Sequence[str]) -> tuple[dict[str, Given], str | None]:
        """What `argv` gives for the settings, and the action it asks for. Raises ConfigError."""
        try:
            found, strays = self._parser.parse_known_args(argv)
        except argparse.ArgumentError as error:
            raise ConfigError(_complaint(error)) from None
        for stray in strays:
            raise ConfigError(self._objection(stray))
        layer: dict[str, Given] = {}
        for declaration in self._declarations:
            texts = getattr(found, declaration.name)
            if texts is not None:
                texts = (texts,) if declaration.argument else tuple(texts)
                layer[declaration.name] = Given(texts, declaration.flag)
        return layer, found.action

    def _objection(self, stray: str) -> str:
        """What is wrong with a word that belongs to no setting."""
        if not stray.startswith("-"):
            return f"{stray!r}: there is an argument already, and one is all there may be"
        flag = stray.partition("=")[0]
        # Without the dashes: they would make every two short words alike.
        ours = {each.lstrip("-"): each for each in self._flags}
        name = flag.lstrip("-")
        near = difflib.get_close_matches(name, ours, n=1)
        meant = self._elsewhere.get(name) or (ours[near[0]] if near else None)
        return f"{flag}: no such flag; " + (f"did you mean {meant}?" if meant else "see --help")

    def help(self) -> str:
        """The text of --help, as wide as the terminal at hand but no wider than a page."""
        return self._parser.format_help()


def _complaint(error: argparse.ArgumentError) -> str:
    """What argparse has found, in words of ours where its own are about itself."""
    if error.message.startswith("ignored explicit argument"):
        return f"{error.argument_name}: takes no value"
    return f"{error.argument_name}: {error.message}"


def _formatter(prog: str) -> argparse.HelpFormatter:
    import shutil  # noqa: PLC0415  # for help alone: a start is 2 ms sooner

    width = min(HELP_WIDTH, shutil.get_terminal_size().columns)
    # Raw: description and epilog are laid out by hand.
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=HELP_COLUMN, width=width)


def _help(declaration: Setting[Any]) -> str:
    """A setting's line of help, with its default."""
    default = declaration.shown_default
    text = f"{declaration.help} [{default}]" if default else declaration.help
    return text.replace("%", "%%")  # argparse formats it once more
