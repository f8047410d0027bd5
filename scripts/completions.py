"""What shells complete, from the declarations in mpserve/declarations.py. scripts/settings_doc.py writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mpserve.declarations import ACTIONS, Settings
from mpserve.settings import SWITCH, Setting
from mpserve.top import parser

MADE = "Made by scripts/settings_doc.py from mpserve/declarations.py: change it there."


@dataclass(frozen=True)
class Flag:
    """A flag, and what may come after it."""

    name: str
    meaning: str
    value: str  # what it takes, in a word; nothing for a switch
    words: tuple[str, ...]  # values that can be told
    files: bool  # whether a value is a path
    repeatable: bool


def flags() -> list[Flag]:
    """Every flag there is."""
    found = []
    for setting in Settings.declarations():
        if setting.argument:
            continue
        found.append(of_setting(setting))
        if setting.kind is SWITCH:
            name = setting.flag.replace("--", "--no-", 1)
            found.append(Flag(name, f"Not {setting.flag}.", "", (), False, False))
    return found + [
        Flag(f"--{action}", meaning, "", (), False, False) for action, meaning in ACTIONS.items()
    ]


def of_setting(setting: Setting[Any]) -> Flag:
    """The flag of one setting: PATH|-|off is a file, or one of two words."""
    parts = setting.kind.metavar.split("|")
    words = tuple(part for part in parts if re.fullmatch("[a-z-]+", part))
    files = not {"PATH", "FILE"}.isdisjoint(parts)
    value = parts[0].strip("'").lower()
    return Flag(setting.flag, setting.help, value, words, files, setting.repeatable)


def flags_of_top() -> list[Flag]:
    """Every flag of the command top."""
    found = []
    for action in parser()._actions:  # noqa: SLF001  # there is no other way to ask
        if action.option_strings:
            takes_path = action.nargs is None
            value, meaning = "path" if takes_path else "", str(action.help)
            found.append(Flag(action.option_strings[-1], meaning, value, (), takes_path, False))
    return found


# --- bash -----------------------------------------------------------------------------------------

BASH = """\
# {made}

_mpserve() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}
    # bash takes --flag=value apart at the "=".
    if [[ $word == "=" ]]; then
        word=""
    elif [[ $before == "=" ]]; then
        before=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    if [[ ${{COMP_WORDS[1]}} == top && $COMP_CWORD -gt 1 ]]; then
        if [[ $before == --pid-file ]]; then
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
        else
            mapfile -t COMPREPLY < <(compgen -W "{of_top}" -- "$word")
        fi
        return
    fi
    case $before in
{cases}
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "{names}" -- "$word")
    elif ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -d -W top -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -d -- "$word")
    fi
}}

complete -o filenames -F _mpserve mpserve
"""


def bash() -> str:
    """For bash-completion."""
    cases = []
    for flag in flags():
        options = (["-f"] if flag.files else []) + (
            [f'-W "{" ".join(flag.words)}"'] if flag.words else []
        )
        if options:
            call = f'mapfile -t COMPREPLY < <(compgen {" ".join(options)} -- "$word")'
            cases.append(f"        {flag.name})\n            {call}\n            return ;;")
    free = [flag.name for flag in flags() if flag.value and not flag.files and not flag.words]
    cases.append(f"        {' | '.join(free)})\n            COMPREPLY=()\n            return ;;")
    names = " ".join(flag.name for flag in flags())
    of_top = " ".join(flag.name for flag in flags_of_top())
    return BASH.format(made=MADE, cases="\n".join(cases), names=names, of_top=of_top)


# --- zsh ------------------------------------------------------------------------------------------


ZSH = """\
#compdef mpserve
# {made}

if (( CURRENT > 2 )) && [[ ${{words[2]}} == top ]]; then
    shift words
    (( CURRENT-- ))
    _arguments \\
{of_top}
        '1:pid:_pids'
    return
fi
_arguments \\
{specs}
    '1:root or command: _alternative "directories\\:directory\\:_files -/" "commands\\:command\\:(top)"'
"""


def zsh() -> str:
    """For a directory of $fpath."""
    of_top = "\n".join(f"        {quoted(spec(flag))} \\" for flag in flags_of_top())
    specs = "\n".join(f"    {quoted(spec(flag))} \\" for flag in flags())
    return ZSH.format(made=MADE, of_top=of_top, specs=specs)


def spec(flag: Flag) -> str:
    """A flag as _arguments(1) wants it."""
    star = "*" if flag.repeatable else ""
    meaning = re.sub(r"([\[\]:\\])", r"\\\1", flag.meaning)
    if not flag.value:
        return f"{star}{flag.name}[{meaning}]"
    words = " ".join(flag.words)
    # Without an action between its colons, a value is whatever one types.
    action = f"({words})" if words else " "
    if flag.files:
        action = (
            f' _alternative "files\\:file\\:_files" "words\\:word\\:({words})"'
            if words
            else "_files"
        )
    return f"{star}{flag.name}=[{meaning}]:{flag.value.replace(':', '')}:{action}"


def quoted(text: str) -> str:
    """`text` as one word of a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


# --- fish -----------------------------------------------------------------------------------------


SERVING = "not __fish_seen_subcommand_from top"
TOP = "__fish_seen_subcommand_from top"


def fish() -> str:
    """For a directory of vendor completions."""
    lines = [
        f"# {MADE}",
        f"complete -c mpserve -n '{SERVING}' -f -a '(__fish_complete_directories)'",
        "complete -c mpserve -n __fish_use_subcommand -f -a top -d 'Show what a server does.'",
        f"complete -c mpserve -n '{TOP}' -f",
    ]
    lines += [fish_line(flag, SERVING) for flag in flags()]
    lines += [fish_line(flag, TOP) for flag in flags_of_top()]
    return "\n".join(lines) + "\n"


def fish_line(flag: Flag, when: str) -> str:
    """A flag as complete(1) wants it."""
    name = flag.name.removeprefix("--")
    line = f"complete -c mpserve -n '{when}' -l {name} -d {fish_quoted(flag.meaning)}"
    if flag.value:
        line += " -r -F" if flag.files else " -x"
    return line + (f" -a {fish_quoted(' '.join(flag.words))}" if flag.words else "")


def fish_quoted(text: str) -> str:
    """`text` as one word of fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
