"""Which sections and keys of a supervisord configuration are honoured, and what takes the place of the others."""

from collections.abc import Mapping

_OUTPUT = (
    "redirect_stderr stdout_logfile stdout_logfile_maxbytes stdout_logfile_backups stdout_capture_maxbytes "
    "stdout_events_enabled stdout_syslog stderr_logfile stderr_logfile_maxbytes stderr_logfile_backups "
    "stderr_capture_maxbytes stderr_events_enabled stderr_syslog"
).split()
_LIFE = "autostart autorestart startsecs startretries exitcodes".split()
_COPIES = "process_name numprocs numprocs_start".split()
_SURROUNDINGS = "directory umask environment user".split()
_STOP = "stopsignal stopwaitsecs stopasgroup killasgroup".split()

_PROGRAM = frozenset(["command", "priority", "serverurl", *_OUTPUT, *_LIFE, *_COPIES, *_SURROUNDINGS, *_STOP])

INHERITED = frozenset(["umask", "directory"])
"""Keys of [supervisord] that its programs inherit; supervisord itself honours them as a daemon only."""

ALLOWED: Mapping[str, frozenset[str]] = {
    "supervisord": INHERITED | {"environment", "strip_ansi", "minfds", "minprocs"},
    "program": _PROGRAM | {"essential"},
    "program:model-server": frozenset([*_SURROUNDINGS, "stopsignal", "priority"]),
    "program:error-server": frozenset(["directory", "umask", "environment"]),
    "group": frozenset(["programs", "priority"]),
    "eventlistener": (_PROGRAM - {"redirect_stderr"}) | {"events", "buffer_size"},
    "inet_http_server": frozenset(["port", "username", "password"]),
}

FOR_OTHERS = frozenset(["supervisorctl", "ctlplugin"])
"""Sections that are read by supervisorctl, from that file: they are none of our business."""

REFUSED_SECTIONS: Mapping[str, str] = {
    "unix_http_server": "the control socket is supervisor.sock in the run directory (--run-dir)",
    "fcgi-program": "its socket belongs to programs of its own; use [program:NAME], with a socket that it binds itself",
}

_POLICY = "the policy decides on that: --max-restarts, --max-retries, --startup-timeout"
_WORKERS = "--workers says how many there are"
_THROUGH = "its output passes through; drum-supervise logs shows it"
_OF_OURS: Mapping[str, str] = {
    "command": "the command stands after --, or there is --code-dir",
    "stopwaitsecs": "--stop-timeout says that",
    "stopasgroup": "everything that it has started is stopped in any case",
    "killasgroup": "everything that it has started is killed in any case",
    "serverurl": "it is always the control socket",
    "essential": "the supervisor is there for it: --no-error-server ends both together",
    **dict.fromkeys(_LIFE, _POLICY),
    **dict.fromkeys(_COPIES, _WORKERS),
    **dict.fromkeys(_OUTPUT, _THROUGH),
}
_LOG = "the supervisor's own lines go to stderr (--log-level, --log-format)"

REFUSED: Mapping[str, Mapping[str, str]] = {
    "supervisord": {
        "nodaemon": "the supervisor stays in the foreground",
        "user": "start drum-supervise as that user; a program may have a user of its own",
        "pidfile": "it is supervisord.pid in the run directory (--run-dir)",
        "identifier": "it is drum-supervise",
        "childlogdir": "output without a file of its own goes to the supervisor's stdout and stderr, and into no files",
        "nocleanup": "there are no files to clean up",
        "profile_options": "it would end without stopping anything",
        **dict.fromkeys("logfile logfile_maxbytes logfile_backups loglevel silent".split(), _LOG),
    },
    "program:model-server": _OF_OURS,
    "program:error-server": {
        **_OF_OURS,
        "essential": "it is there for the failure of another",
        "user": "it has to read the failure, which only this user may",
        "stopsignal": "it obeys TERM",
        "priority": "it starts when it is needed",
    },
    "eventlistener": {
        "redirect_stderr": "its stdout is the protocol",
        "result_handler": "it runs code in the supervisor",
        "essential": "only a [program:NAME] can be that",
    },
}

OURS: Mapping[str, str] = {
    "/dev/stdout": "/dev/stdout",
    "/dev/fd/1": "/dev/stdout",
    "/proc/self/fd/1": "/dev/stdout",
    "/dev/stderr": "/dev/stderr",
    "/dev/fd/2": "/dev/stderr",
    "/proc/self/fd/2": "/dev/stderr",
}
"""Log files that mean the supervisor's own output, which we never open: a reader that stalls would stop everything."""
