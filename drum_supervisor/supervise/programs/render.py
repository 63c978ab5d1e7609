"""The supervisord configuration: the engine reads it, and people find it in the run directory. Pure."""

import shlex
from collections.abc import Mapping

from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.programs.program import Program, Programs
from drum_supervisor.supervise.programs.supervisord_ini import ExtraPrograms

_DEFAULTS = {"minfds": "64", "minprocs": "1"}


def render(programs: Programs, run_dir: RunDir, extra: ExtraPrograms) -> str:
    """Return the configuration of our programs and of the extra programs.

    supervisord must not start or restart our programs by itself (autostart, autorestart, startsecs): the policy alone
    decides. Children inherit the real environment, so that ours have `environment` only if the user has set it.
    """
    supervisord = _lines({**_DEFAULTS, **extra.supervisord}).rstrip()
    head = _HEAD.format(socket=_escape(run_dir.socket), pid_file=_escape(run_dir.pid_file), supervisord=supervisord)
    ours = [_program_section(program, extra.overrides.get(program.group, {})) for program in programs.all]
    theirs = [f"[{section.name}]\n{_lines(section.values)}" for section in extra.sections]
    return "\n".join([f"{head}\n", *ours, *theirs])


def _program_section(program: Program, overrides: Mapping[str, str]) -> str:
    command = " ".join(shlex.join(program.argv).split())  # one line; the exact arguments go to exec as they are
    return _PROGRAM.format(name=program.name, command=_escape(command), overrides=_lines(overrides))


def _lines(values: Mapping[str, str]) -> str:
    """Return one line per key; further lines of a value are indented."""
    return "".join(f"{key}={value.replace(chr(10), chr(10) + '  ')}\n" for key, value in values.items())


def _escape(value: object) -> str:
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
{overrides}"""
