"""The sections and keys of a supervisord configuration that are honoured, and alternatives to the others."""

from collections.abc import Mapping

_OUTPUT = (
    "redirect_stderr stdout_logfile stdout_logfile_maxbytes stdout_logfile_backups stdout_capture_maxbytes "
    "stdout_events_enabled stdout_syslog stderr_logfile stderr_logfile_maxbytes stderr_logfile_backups "
    "stderr_capture_maxbytes stderr_events_enabled stderr_syslog"
).split()
_LIFECYCLE = "autostart autorestart startsecs startretries exitcodes".split()
_NUMPROCS = "process_name numprocs numprocs_start".split()
_PROCESS = "directory umask environment user".split()
_STOP = "stopsignal stopwaitsecs stopasgroup killasgroup".split()

_PROGRAM = frozenset(["command", "priority", "serverurl", *_OUTPUT, *_LIFECYCLE, *_NUMPROCS, *_PROCESS, *_STOP])

INHERITED = frozenset(["umask", "directory"])
"""Keys of [supervisord] that programs inherit; supervisord itself honours them only as a daemon."""

ALLOWED: Mapping[str, frozenset[str]] = {
    "supervisord": INHERITED | {"environment", "strip_ansi", "minfds", "minprocs"},
    "program": _PROGRAM | {"essential"},
    "program:model-server": frozenset([*_PROCESS, "stopsignal", "priority"]),
    "program:error-server": frozenset(["directory", "umask", "environment"]),
    "group": frozenset(["programs", "priority"]),
    "eventlistener": (_PROGRAM - {"redirect_stderr"}) | {"events", "buffer_size"},
    "inet_http_server": frozenset(["port", "username", "password"]),
}

IGNORED_SECTIONS = frozenset(["supervisorctl", "ctlplugin"])
"""Sections that supervisorctl reads from the same file."""

REFUSED_SECTIONS: Mapping[str, str] = {
    "unix_http_server": "the control socket is supervisor.sock in the run directory (--run-dir)",
    "fcgi-program": "FastCGI sockets are not supported; use [program:NAME] with a socket that it binds itself",
}

_POLICY = "the policy decides this: --max-restarts, --max-retries, --startup-timeout"
_WORKERS = "use --workers"
_FORWARDED = "its output goes to the supervisor's own; see drum-supervise logs"
_MODEL_SERVER: Mapping[str, str] = {
    "command": "give the command after --, or use --code-dir",
    "stopwaitsecs": "use --stop-timeout",
    "stopasgroup": "its descendants are always stopped too",
    "killasgroup": "its descendants are always killed too",
    "serverurl": "it is always the control socket",
    "essential": "use --no-error-server: then the supervisor ends with it",
    **dict.fromkeys(_LIFECYCLE, _POLICY),
    **dict.fromkeys(_NUMPROCS, _WORKERS),
    **dict.fromkeys(_OUTPUT, _FORWARDED),
}
_LOG = "the supervisor's own lines go to stderr (--log-level, --log-format)"

REFUSED: Mapping[str, Mapping[str, str]] = {
    "supervisord": {
        "nodaemon": "the supervisor stays in the foreground",
        "user": "start drum-supervise as that user; a program can have a user of its own",
        "pidfile": "it is supervisord.pid in the run directory (--run-dir)",
        "identifier": "it is drum-supervise",
        "childlogdir": "output without a log file of its own goes to the supervisor's stdout and stderr",
        "nocleanup": "there are no files to clean up",
        "profile_options": "it would end without stopping anything",
        **dict.fromkeys("logfile logfile_maxbytes logfile_backups loglevel silent".split(), _LOG),
    },
    "program:model-server": _MODEL_SERVER,
    "program:error-server": {
        **_MODEL_SERVER,
        "essential": "it runs only after a failure of the model server",
        "user": "it must read the failure report, which only this user can",
        "stopsignal": "it stops on TERM",
        "priority": "it starts when needed",
    },
    "eventlistener": {
        "redirect_stderr": "its stdout is the protocol",
        "result_handler": "it runs code in the supervisor",
        "essential": "only a [program:NAME] can be essential",
    },
}

OWN_OUTPUT: Mapping[str, str] = {
    "/dev/stdout": "/dev/stdout",
    "/dev/fd/1": "/dev/stdout",
    "/proc/self/fd/1": "/dev/stdout",
    "/dev/stderr": "/dev/stderr",
    "/dev/fd/2": "/dev/stderr",
    "/proc/self/fd/2": "/dev/stderr",
}
"""Log files that mean the supervisor's own output. They are never opened: a reader that stalls would block us."""
