"""The man page, from the declarations in mpserve/declarations.py. scripts/settings_doc.py writes it."""

from __future__ import annotations

from typing import Any

from mpserve.declarations import ACTIONS, Settings
from mpserve.settings import SWITCH, Setting

OPENING = r"""
.\" Made by scripts/settings_doc.py from mpserve/declarations.py: change it there.
.TH MPSERVE 1 "" mpserve "User Commands"
.SH NAME
mpserve \- serve a directory over HTTP/1.1 from several processes
.SH SYNOPSIS
.B mpserve
.RI [ OPTIONS ]
.RI [ ROOT ]
.br
.B mpserve top
.RB [ \-\-pid\-file
.IR PATH ]
.RB [ \-\-once | \-\-json ]
.RI [ PID ]
.SH DESCRIPTION
.B mpserve
serves the files beneath a directory over HTTP/1.1.
A master process owns the listening sockets, and keeps a worker for each processor that it may use.
Nothing outside of
.I ROOT
is served, and no name that begins with a dot, unless an option says so.
.PP
Without any option it serves the current directory to this machine alone, on port 8000.
.PP
.B mpserve top
shows what a running server does, in a table of its processes; q ends it.
With
.B \-\-once
one table is printed, with
.B \-\-json
one reading.
"""

OPTIONS = r"""
.SH OPTIONS
Each setting is a flag, an environment variable and a key of the configuration file.
The flag beats the variable, the variable beats the file, and the file beats the default.
A switch is turned off by
.BR \-\-no\-\fISWITCH .
"""

CLOSING = r"""
.SH CONFIGURATION FILE
The file that
.B \-\-config
names is TOML: each setting stands at the top level by the name of its flag with underscores,
.I ROOT
as
.BR root .
Switches are booleans, and what is repeatable is an array.
.PP
.EX
root = "/srv/site/current"
bind = [":80", "unix:/run/mpserve.sock"]
workers = 4
header = ["Cache\-Control: max\-age=60"]
keepalive_timeout = 65
access_log = "/var/log/mpserve/access.log"
.EE
.PP
A relative path starts at the directory in which the server was started, as one in a flag does.
.SH ENVIRONMENT
Where several values may be given, a variable has one in each line.
An empty variable counts as none.
.SH SIGNALS
To the master:
.TP
.B TERM
Stop gracefully: what has connected is answered. The second time, stop at once.
.TP
.BR INT ", " QUIT
Stop at once.
.TP
.B HUP
Reload: read the configuration anew, and replace the workers without loss.
On any error what was served goes on.
.TP
.BR TTIN ", " TTOU
One worker more, or less.
.TP
.B USR1
Open the logs anew: their files were renamed.
.TP
.B USR2
Upgrade in place to the code that is installed now.
.SH EXIT STATUS
.TP
.B 0
The server was stopped as it was told to, or
.B \-\-check
found all well.
.TP
.B 2
An option, a variable, a line of the configuration file or a path is wrong.
.TP
.B 3
No worker could start.
.SH EXAMPLES
.EX
mpserve /var/www
mpserve \-\-listing \-\-bind :8080 \-\-workers 4 ./public
mpserve \-\-check \-\-config /etc/mpserve.toml
.EE
"""


def manual() -> str:
    """The whole page, for man(7)."""
    settings = Settings.declarations()
    parts = [OPENING[1:] + OPTIONS[1:]]
    for group in dict.fromkeys(setting.group for setting in settings):
        parts.append(f".SS {escape(group)}\n")
        parts += [entry(each) for each in settings if each.group == group]
    parts.append(".SS Other\n")
    parts += [f".TP\n.B \\-\\-{name}\n{escape(text)}\n" for name, text in ACTIONS.items()]
    parts.append(CLOSING[1:])
    return "".join(parts)


def entry(setting: Setting[Any]) -> str:
    """One setting: its flag, what it means, its default, its variable."""
    name = f".I {escape(setting.argument)}" if setting.argument else flag(setting)
    meaning = setting.help.replace(" Repeatable.", " May be given several times.")
    variable = f"variable: {setting.variable}."
    if setting.shown_default:
        variable = f"default: {setting.shown_default}; {variable}"
    return f".TP\n{name}\n{escape(meaning)}\n{escape(variable[0].upper() + variable[1:])}\n"


def flag(setting: Setting[Any]) -> str:
    """The line that a flag stands in, with what it takes."""
    if setting.kind is SWITCH:
        return f".B {escape(setting.flag)}"
    return f'.BI "{escape(setting.flag)} " "{escape(setting.kind.metavar)}"'


def escape(text: str) -> str:
    """`text` as roff is to print it."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{text}" if text.startswith((".", "'")) else text
