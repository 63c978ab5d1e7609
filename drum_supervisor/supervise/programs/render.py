"""The supervisord configuration: what the engine reads, and what people read in the run directory. Pure."""

import shlex
from collections.abc import Mapping

from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.programs.program import Program, Programs
from drum_supervisor.supervise.programs.supervisord_ini import ExtraPrograms

_DEFAULTS = {"minfds": "64", "minprocs": "1"}

NOTHING = ExtraPrograms()


def render(found: Programs, run_dir: RunDir, further: ExtraPrograms = NOTHING) -> str:
    """Return the configuration of our programs, and of all further ones.

    What supervisord would do with ours by itself is turned off (autostart, autorestart, startsecs), because the policy
    alone decides. Children inherit the real environment: ours have `environment` only where it is asked for.
    """
    supervisord = _lines({**_DEFAULTS, **further.supervisord}).rstrip()
    head = _HEAD.format(socket=_quoted(run_dir.socket), pid_file=_quoted(run_dir.pid_file), supervisord=supervisord)
    ours = [_program(program, further.ours.get(program.group, {})) for program in found.all]
    theirs = [f"[{section.name}]\n{_lines(section.values)}" for section in further.sections]
    return "\n".join([f"{head}\n", *ours, *theirs])


def _program(program: Program, tuned: Mapping[str, str]) -> str:
    command = " ".join(shlex.join(program.argv).split())  # one line; the exact arguments go to exec as they are
    return _PROGRAM.format(name=program.name, command=_quoted(command), tuned=_lines(tuned))


def _lines(values: Mapping[str, str]) -> str:
    """Return keys and values; a value of several lines goes on, indented."""
    return "".join(f"{key}={value.replace(chr(10), chr(10) + '  ')}\n" for key, value in values.items())


def _quoted(value: object) -> str:
    return str(value).replace("%", "%%")


_HEAD = """\
; Rendered by drum-supervise for reading; changes here have no effect.
[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
nocleanup=true
pidfile={pid_file}
identifier=drum-supervise
{supervisord}

[unix_http_server]
file={socket}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=drum_supervisor.supervise.api.supervisorctl:make_rpc_interface

[rpcinterface:drum]
supervisor.rpcinterface_factory=drum_supervisor.supervise.api.rpc:make_rpc_interface

[supervisorctl]
serverurl=unix://{socket}"""

_PROGRAM = """\
[program:{name}]
command={command}
autostart=false
autorestart=false
startsecs=0
startretries=0
stopasgroup=true
killasgroup=true
stdout_logfile=NONE
stderr_logfile=NONE
{tuned}"""
