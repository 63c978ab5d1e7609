"""Every setting, declared once, on its field of `Settings`: default, environment variables, help, how to read it.

Command line options, environment, configuration file, arguments of child processes, documentation and tests
derive from these declarations. Precedence: flag, environment, configuration file, profile, default.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from drum_supervisor.config import parsers, profiles
from drum_supervisor.config.declaration import (
    CONFIG_SECTION,
    RUNTIME_PARAMETER,
    Declaration,
    Value,
    converted,
    in_environment,
    in_file,
)
from drum_supervisor.config.declaration import setting as _setting
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.failure_report import ErrorDetail
from drum_supervisor.contract.listener import DEFAULT_BACKLOG, Address, parse_address

MOST_WORKERS = 199
AUTO = 0  # as a number of workers: to be decided on the spot
OFF = "off"

TARGET_TYPES = tuple(
    "binary regression anomaly unstructured multiclass transform textgeneration geopoint vectordatabase "
    "agenticworkflow multilabel".split()
)


def _parameter(*names: str) -> list[str]:
    """Return the variables of DRUM's runtime parameters, by either of their names."""
    return [variable for name in names for variable in (RUNTIME_PARAMETER + name, name)]


@dataclass(frozen=True)
class Settings:
    """The effective settings of one supervisor. Empty text and empty tuples mean: not set."""

    address: Address = _setting(
        "0.0.0.0:8080",
        "Where to serve: HOST:PORT, [IPv6]:PORT, unix:/path; port 0 takes a free one and prints it.",
        parse_address,
        metavar="HOST:PORT",
        also=["ADDRESS"],
    )
    code_dir: str = _setting("", "Model folder for the built-in model server.", metavar="DIR", also=["CODE_DIR"])
    target_type: str = _setting(
        "",
        "What the model predicts; else read from model-metadata.yaml.",
        parsers.choice(*TARGET_TYPES),
        metavar="TYPE",
        also=["TARGET_TYPE"],
    )
    server_type: str = _setting(
        "fastapi",
        "Built-in model server: fastapi (uvicorn), flask, or gunicorn (Flask under gunicorn); drum: installed DRUM.",
        parsers.choice("fastapi", "flask", "gunicorn", "drum", uvicorn="fastapi", werkzeug="flask"),
        metavar="TYPE",
        also=[RUNTIME_PARAMETER + "DRUM_SERVER_TYPE"],
    )
    positive_class_label: str = _setting(
        "", "Binary: the label whose probability is predicted.", metavar="LABEL", also=["POSITIVE_CLASS_LABEL"]
    )
    negative_class_label: str = _setting("", "Binary: the other label.", metavar="LABEL", also=["NEGATIVE_CLASS_LABEL"])
    class_labels: tuple[str, ...] = _setting(
        "", "Multiclass: the labels, separated by spaces.", parsers.words, metavar="LABELS", also=["CLASS_LABELS"]
    )
    class_labels_file: str = _setting(
        "", "Multiclass: a file with one label a line.", metavar="FILE", also=["CLASS_LABELS_FILE"]
    )
    url_prefix: str = _setting(
        "", "Prefix of every path that is served.", parsers.url_prefix, metavar="PATH", also=["URL_PREFIX"]
    )
    workers: int = _setting(
        "1",
        "Number of model server processes on the address; auto: as many as processors and memory allow.",
        parsers.whole_number(1, MOST_WORKERS, auto=AUTO),
        metavar="N",
        also=[RUNTIME_PARAMETER + "CUSTOM_MODEL_WORKERS", "MAX_WORKERS"],
    )
    max_concurrent_requests: int = _setting(
        "1",
        "Predictions that each process makes at the same time, in as many threads: more need a model that is safe "
        "under threads.",
        parsers.whole_number(1, 10000),
        metavar="N",
        also=_parameter("DRUM_MAX_CONCURRENT_REQUESTS", "DRUM_FASTAPI_EXECUTOR_WORKERS"),
    )
    max_queue_depth: int = _setting(
        "1000",
        "Predictions that may wait for their turn in each process; further ones are answered with 503.",
        parsers.whole_number(0, 10**6),
        metavar="N",
        also=_parameter("DRUM_MAX_QUEUE_DEPTH"),
    )
    request_timeout: float = _setting(
        "0",
        "Seconds until a prediction that has not ended, or not begun, is answered with 504; 0: never.",
        parsers.seconds_up_to(3600),
        metavar="S",
        also=_parameter("DRUM_CLIENT_REQUEST_TIMEOUT"),
    )
    max_body: int = _setting(
        "128M", "Largest request body the built-in model server takes.", parsers.byte_size, metavar="SIZE"
    )
    backlog: int = _setting(
        str(DEFAULT_BACKLOG),
        "Connections the kernel keeps waiting while nothing accepts them.",
        parsers.whole_number(1, 10000),
        metavar="N",
        also=_parameter("DRUM_WEBSERVER_BACKLOG"),
    )
    listener: str = _setting(
        "auto",
        "Whether the child inherits our socket or binds the port itself; auto: built-in servers and commands "
        "with {fd} inherit.",
        parsers.choice("auto", "inherit", "bind"),
        metavar="auto|inherit|bind",
    )
    ready: str = _setting(
        "auto",
        "How readiness is known: the report pipe, an HTTP answer, an open port, sd_notify; auto: report for the "
        "built-in server, http for commands.",
        parsers.choice("auto", "report", "http", "port", "notify"),
        metavar="auto|report|http|port|notify",
    )
    ready_path: str = _setting(
        "",
        "What --ready http asks for: 2xx or 3xx is ready. Without it /ping is asked for, and any answer below 500 "
        "is ready: a server that knows no /ping is up all the same.",
        parsers.url_path,
        metavar="PATH",
    )
    ready_failed: int = _setting(
        "513",
        "Status of an answer to --ready http that says that initialization failed for good; its message is the reason.",
        parsers.whole_number(400, 599),
        metavar="STATUS",
    )
    startup_timeout: float = _setting(
        "600", "Seconds to become ready; not ready by then is a failure.", parsers.seconds, metavar="S"
    )
    while_starting: str = _setting(
        "hold",
        "hold: requests wait until the model is ready; respond: a stand-in answers 503 meanwhile.",
        parsers.choice("hold", "respond"),
        metavar="hold|respond",
    )
    with_error_server: bool = _setting(
        "true",
        "After a failure serve the reason on the address; without it exit with the cause's code.",
        parsers.switch,
        also=["WITH_ERROR_SERVER"],
        off="--no-error-server",
    )
    error_server_ttl: float = _setting(
        "0", "Seconds to serve the error, then exit with the cause's code; 0: for ever.", parsers.seconds, metavar="S"
    )
    failed_ping: int = _setting(
        "200",
        "Status of /, /ping and /health once failed.",
        parsers.status_with_body,
        metavar="STATUS",
    )
    error_detail: ErrorDetail = _setting(
        "message",
        "How much of the failure clients see.",
        lambda value: ErrorDetail(parsers.choice("none", "message", "full")(value)),
        metavar="none|message|full",
    )
    max_retries: int = _setting(
        "0",
        "Further attempts to initialize, behind the error server.",
        parsers.whole_number(0, 10**6),
        metavar="N",
    )
    retry_interval: float = _setting(
        "10", "Seconds before the first retry; doubled each time, capped, jittered.", parsers.seconds, metavar="S"
    )
    retry_permanent: bool = _setting(
        "false",
        "Retry also what would only fail again: a syntax error, a module that is not installed, bad configuration.",
        parsers.switch,
        off="--no-retry-permanent",
    )
    max_restarts: int = _setting(
        "5",
        "Crashes after ready, within the window, that are answered by a restart.",
        parsers.whole_number(0, 10**6),
        metavar="N",
    )
    restart_window: float = _setting("60", "Seconds in which crashes are counted.", parsers.seconds, metavar="S")
    alive_path: str = _setting(
        "",
        "What a model server that is ready is asked for again and again; one that answers no more counts as crashed. "
        "Without it nobody asks.",
        parsers.url_path,
        metavar="PATH",
    )
    alive_interval: float = _setting(
        "10", "Seconds from an answer to --alive-path to the next question.", parsers.seconds_from(0.1), metavar="S"
    )
    alive_timeout: float = _setting(
        "5",
        "Seconds in which --alive-path is to be answered. A server that does one thing at a time answers when "
        "everything before it is done.",
        parsers.seconds_from(0.1),
        metavar="S",
    )
    alive_failures: int = _setting(
        "3",
        "Questions in a row that are not answered, or with a status of 500 or more, before it counts as crashed.",
        parsers.whole_number(1, 1000),
        metavar="N",
    )
    max_worker_memory: parsers.Share = _setting(
        "0",
        "Replace a worker gracefully that has more resident memory than this, several times in a row: a size, or a "
        "percentage of the container's memory limit; 0: never.",
        parsers.share,
        metavar="SIZE|N%",
    )
    max_requests: int = _setting(
        "0",
        "Replace a worker of the built-in model server gracefully after so many requests, up to a tenth more by "
        "chance; 0: never.",
        parsers.whole_number(0, 10**9),
        metavar="N",
    )
    stop_timeout: float = _setting(
        "25", "Seconds between TERM and KILL when something is stopped.", parsers.seconds, metavar="S"
    )
    run_dir: str = _setting(
        "",
        "Directory (mode 0700) of the control socket and the last failure; default: a private one under "
        "$XDG_RUNTIME_DIR or the temporary directory.",
        metavar="DIR",
    )
    profile: str = _setting(
        "default",
        "Named set of defaults: default, sagemaker, kubernetes.",
        parsers.choice("default", "sagemaker", "kubernetes"),
        metavar="NAME",
    )
    metrics_address: Address | None = _setting(
        OFF,
        "Where to offer metrics to Prometheus, at /metrics: HOST:PORT, [IPv6]:PORT or unix:/path; port 0 takes a free "
        "one and prints it.",
        lambda text: None if text == OFF else parse_address(text),
        metavar="HOST:PORT",
    )
    log_format: str = _setting(
        "text", "The supervisor's own lines on stderr.", parsers.choice("text", "json"), metavar="text|json"
    )
    log_prefix: bool = _setting(
        "false",
        "Put the program's name before each line of its output; with --log-format json make a record of each. "
        "Without it the output passes through untouched.",
        parsers.switch,
        off="--no-log-prefix",
    )
    log_level: str = _setting(
        "info",
        "Least severe of the supervisor's own lines.",
        parsers.choice("debug", "info", "warning", "error"),
        metavar="debug|info|warning|error",
    )
    config: str = _setting(
        "",
        f"Configuration file: a [{CONFIG_SECTION}] section of these settings, and sections of supervisord for further "
        "programs.",
        metavar="FILE",
    )
    termination_log: str = _setting(
        "/dev/termination-log",
        "Where the last words go for Kubernetes, if it exists and is writable.",
        metavar="FILE",
    )


DECLARATIONS: Mapping[str, Declaration] = {
    declared.name: Declaration(declared.name, *declared.metadata["declaration"]) for declared in fields(Settings)
}


def choose(flags: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Value]:
    """Return the text and the source of every setting.

    Args:
        flags: what was given on the command line, by name.
        environ: the environment; empty variables count as unset, as in DRUM.

    Raises:
        UsageError: the configuration file cannot be read, or there is no such profile.
    """
    given = {**in_environment(DECLARATIONS, environ), **{name: Value(text, "flag") for name, text in flags.items()}}
    given = {**in_file(DECLARATIONS, given.get("config", Value("", "")).text), **given}
    profile = converted(DECLARATIONS["profile"], given.get("profile", Value("default", "default")))
    chosen = {name: Value(declared.default, "default") for name, declared in DECLARATIONS.items()}
    chosen.update({name: Value(*found) for name, found in profiles.values(profile, environ).items()})
    return {**chosen, **given}


def resolve(chosen: Mapping[str, Value]) -> Settings:
    """Convert what was chosen.

    Raises:
        UsageError: a value cannot be read; the sentence names the setting, the value, its source and what is accepted.
    """
    return Settings(**{name: converted(DECLARATIONS[name], value) for name, value in chosen.items()})


def arguments(settings: Settings, names: Iterable[str]) -> list[str]:
    """Return the arguments that hand the named settings to a child process; what is not set is left out."""
    written = {name: _written(getattr(settings, name)) for name in names}
    return [text for name, value in written.items() if value for text in (DECLARATIONS[name].option, value)]


def _written(value: Any) -> str:
    """Return `value` as a user would write it."""
    if value is None:
        return OFF
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return " ".join(value)
    return str(getattr(value, "value", value))


def from_options(options: object, environ: Mapping[str, str]) -> Settings:
    """Return settings from the attributes of `options` that are called like settings, and are not None.

    Args:
        options: settings already, or anything else, an `argparse.Namespace` for example.
        environ: says the rest.

    Raises:
        UsageError: a value cannot be read.
    """
    if isinstance(options, Settings):
        return options
    given = {name: getattr(options, name, None) for name in DECLARATIONS}
    return resolve(choose({name: _written(value) for name, value in given.items() if value is not None}, environ))


def from_environment(names: Iterable[str], environ: Mapping[str, str]) -> Settings:
    """Return settings of which the named ones are what the environment says, and all others their defaults.

    Raises:
        UsageError: a value of those cannot be read.
    """
    chosen = choose({}, environ)
    return resolve({**choose({}, {}), **{name: chosen[name] for name in names}})


def from_arguments(argv: Sequence[str]) -> tuple[Settings, dict[str, str]]:
    """Read what `arguments` wrote, in a child process; options that are no setting come back by name.

    Raises:
        UsageError: not a list of `--option value` pairs, or a bad value.
    """
    options = list(argv[::2])
    if len(argv) % 2 or not all(option.startswith("--") for option in options):
        raise UsageError(f"Expected pairs of --option and value, got: {' '.join(argv)}")
    given = {option[2:].replace("-", "_"): value for option, value in zip(options, argv[1::2], strict=True)}
    flags = {name: text for name, text in given.items() if name in DECLARATIONS}
    others = {name: text for name, text in given.items() if name not in DECLARATIONS}
    return resolve(choose(flags, {})), others
