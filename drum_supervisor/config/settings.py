"""Every setting, declared once, on its field of `Settings`: default, environment variables, help, parser.

Command line options, environment, configuration file, arguments of child processes, documentation and tests
derive from these declarations. Precedence: flag, environment, configuration file, profile, default.
Functions raise UsageError for a bad value; the message names the option, the value, its source and what is accepted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from drum_supervisor.config import ini, parsers, profiles
from drum_supervisor.config.declaration import Declaration, Value, convert, read_environment, setting
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.failure_report import ErrorDetail
from drum_supervisor.contract.listener import DEFAULT_BACKLOG, Address, parse_address

AUTO = 0  # the number of workers for `auto`: the supervisor decides at its start
OFF = "off"

TARGET_TYPES = tuple(
    "binary regression anomaly unstructured multiclass transform textgeneration geopoint vectordatabase "
    "agenticworkflow multilabel".split()
)


def _parameter(*names: str) -> list[str]:
    """Return the variables of DRUM's runtime parameters, with and without the prefix."""
    return [variable for name in names for variable in (parsers.RUNTIME_PARAMETER_PREFIX + name, name)]


@dataclass(frozen=True)
class Settings:
    """The effective settings of one supervisor. Empty text and empty tuples mean: not set."""

    address: Address = setting(
        "0.0.0.0:8080",
        "Address to serve on: HOST:PORT, [IPv6]:PORT or unix:/path. Port 0 picks a free port and prints it.",
        parse_address,
        metavar="HOST:PORT",
        variables=["ADDRESS"],
    )
    code_dir: str = setting("", "Model folder for the built-in model server.", metavar="DIR", variables=["CODE_DIR"])
    target_type: str = setting(
        "",
        "What the model predicts. Unset: read from model-metadata.yaml.",
        parsers.choice(*TARGET_TYPES),
        metavar="TYPE",
        variables=["TARGET_TYPE"],
    )
    server_type: str = setting(
        "fastapi",
        "Built-in model server: fastapi (on uvicorn), flask, or gunicorn (Flask on gunicorn). drum runs the "
        "installed DRUM.",
        parsers.choice("fastapi", "flask", "gunicorn", "drum", uvicorn="fastapi", werkzeug="flask"),
        metavar="TYPE",
        variables=[parsers.RUNTIME_PARAMETER_PREFIX + "DRUM_SERVER_TYPE"],
    )
    positive_class_label: str = setting(
        "",
        "Binary models: the label whose probability is predicted.",
        metavar="LABEL",
        variables=["POSITIVE_CLASS_LABEL"],
    )
    negative_class_label: str = setting(
        "", "Binary models: the other label.", metavar="LABEL", variables=["NEGATIVE_CLASS_LABEL"]
    )
    class_labels: tuple[str, ...] = setting(
        "",
        "Multiclass models: the class labels, separated by spaces.",
        parsers.words,
        metavar="LABELS",
        variables=["CLASS_LABELS"],
    )
    class_labels_file: str = setting(
        "", "Multiclass models: a file with one class label per line.", metavar="FILE", variables=["CLASS_LABELS_FILE"]
    )
    url_prefix: str = setting(
        "", "Prefix of every path that is served.", parsers.url_prefix, metavar="PATH", variables=["URL_PREFIX"]
    )
    workers: int = setting(
        "1",
        "Number of model server processes on the address. auto: as many as processors and memory allow.",
        parsers.integer(1, parsers.MAX_WORKERS, auto=AUTO),
        metavar="N",
        variables=[parsers.RUNTIME_PARAMETER_PREFIX + "CUSTOM_MODEL_WORKERS", "MAX_WORKERS"],
    )
    max_concurrent_requests: int = setting(
        "1",
        "Predictions that a process makes at a time, each in its own thread. More than 1 needs a thread-safe model.",
        parsers.integer(1, 10000),
        metavar="N",
        variables=_parameter("DRUM_MAX_CONCURRENT_REQUESTS", "DRUM_FASTAPI_EXECUTOR_WORKERS"),
    )
    max_queue_depth: int = setting(
        "1000",
        "Predictions that may wait in each process. Further requests get 503.",
        parsers.integer(0, 10**6),
        metavar="N",
        variables=_parameter("DRUM_MAX_QUEUE_DEPTH"),
    )
    request_timeout: float = setting(
        "0",
        "Seconds until a prediction, queued or running, is answered with 504. 0: no limit.",
        parsers.seconds_up_to(3600),
        metavar="S",
        variables=_parameter("DRUM_CLIENT_REQUEST_TIMEOUT"),
    )
    max_body: int = setting(
        "128M", "Largest request body that the built-in model server accepts.", parsers.byte_size, metavar="SIZE"
    )
    backlog: int = setting(
        str(DEFAULT_BACKLOG),
        "Connections that the kernel queues until a process accepts them.",
        parsers.integer(1, 10000),
        metavar="N",
        variables=_parameter("DRUM_WEBSERVER_BACKLOG"),
    )
    listener: str = setting(
        "auto",
        "Whether the model server inherits the listening socket or binds the port itself. auto: built-in servers, "
        "DRUM on gunicorn and commands with {fd} inherit.",
        parsers.choice("auto", "inherit", "bind"),
        metavar="auto|inherit|bind",
    )
    ready: str = setting(
        "auto",
        "How the supervisor learns that the model server is ready: report pipe, HTTP answer, open port or "
        "sd_notify. auto: report for the built-in servers, http for commands.",
        parsers.choice("auto", "report", "http", "port", "notify"),
        metavar="auto|report|http|port|notify",
    )
    ready_path: str = setting(
        "",
        "Path of the probe for --ready http; 2xx or 3xx means ready. Unset: /ping, and any status below 500 "
        "means ready, because a server without /ping answers 404.",
        parsers.url_path,
        metavar="PATH",
    )
    ready_failed: int = setting(
        "513",
        "Status with which a server answers the probe of --ready http when initialization has failed for "
        "good. The message in the answer becomes the reason.",
        parsers.integer(400, 599),
        metavar="STATUS",
    )
    startup_timeout: float = setting(
        "600",
        "Seconds to become ready. A model server that is not ready by then has failed.",
        parsers.seconds,
        metavar="S",
    )
    while_starting: str = setting(
        "hold",
        "What clients get until the model is ready. hold: connections wait. respond: a stand-in answers 503.",
        parsers.choice("hold", "respond"),
        metavar="hold|respond",
    )
    with_error_server: bool = setting(
        "true",
        "After a failure, serve the reason on the address. Without it, exit with the code of the cause.",
        parsers.boolean,
        variables=["WITH_ERROR_SERVER"],
        off="--no-error-server",
    )
    error_server_ttl: float = setting(
        "0",
        "Seconds to serve the reason before exiting with the code of the cause. 0: no limit.",
        parsers.seconds,
        metavar="S",
    )
    failed_ping: int = setting(
        "200", "Status of /, /ping and /health after a failure.", parsers.status_with_body, metavar="STATUS"
    )
    error_detail: ErrorDetail = setting(
        "message",
        "How much of the failure clients see. full adds the stage, the type and the traceback to the message.",
        lambda value: ErrorDetail(parsers.choice("none", "message", "full")(value)),
        metavar="none|message|full",
    )
    max_retries: int = setting(
        "0",
        "How often to retry a failed initialization. The error server answers meanwhile.",
        parsers.integer(0, 10**6),
        metavar="N",
    )
    retry_interval: float = setting(
        "10",
        "Seconds before the first retry. The interval doubles with each retry, up to 5 minutes, with jitter.",
        parsers.seconds,
        metavar="S",
    )
    retry_permanent: bool = setting(
        "false",
        "Also retry failures considered permanent: a syntax error, a missing module, bad configuration.",
        parsers.boolean,
        off="--no-retry-permanent",
    )
    max_restarts: int = setting(
        "5",
        "Crashes within --restart-window that lead to a restart. The next one is a failure.",
        parsers.integer(0, 10**6),
        metavar="N",
    )
    restart_window: float = setting(
        "60", "Seconds in which crashes count towards --max-restarts.", parsers.seconds, metavar="S"
    )
    alive_path: str = setting(
        "",
        "Path of the liveness probe, polled while the server is ready. A server that stops answering is "
        "restarted. Unset: no probe.",
        parsers.url_path,
        metavar="PATH",
    )
    alive_interval: float = setting(
        "10", "Interval between liveness probes, in seconds.", parsers.seconds_at_least(0.1), metavar="S"
    )
    alive_timeout: float = setting(
        "5",
        "Timeout of a liveness probe, in seconds. A server that handles one request at a time answers the "
        "probe after all earlier requests.",
        parsers.seconds_at_least(0.1),
        metavar="S",
    )
    alive_failures: int = setting(
        "3",
        "Consecutive failed liveness probes (no answer or 5xx) before the server counts as crashed.",
        parsers.integer(1, 1000),
        metavar="N",
    )
    max_worker_memory: parsers.MemoryAmount = setting(
        "0",
        "Gracefully recycle a worker whose RSS exceeds this in several checks in a row: a size, or a "
        "percentage of the container's memory limit. 0: never.",
        parsers.memory_amount,
        metavar="SIZE|N%",
    )
    max_requests: int = setting(
        "0",
        "Gracefully recycle a worker of the built-in model server after this many requests, plus up to a "
        "tenth at random. 0: never.",
        parsers.integer(0, 10**9),
        metavar="N",
    )
    stop_timeout: float = setting(
        "25", "Seconds between SIGTERM and SIGKILL when a program is stopped.", parsers.seconds, metavar="S"
    )
    run_dir: str = setting(
        "",
        "Directory (mode 0700) for the control socket and the last failure report. Unset: a private one under "
        "$XDG_RUNTIME_DIR or the temporary directory.",
        metavar="DIR",
    )
    profile: str = setting(
        "default",
        "Named set of defaults: default, sagemaker or kubernetes.",
        parsers.choice("default", "sagemaker", "kubernetes"),
        metavar="NAME",
    )
    metrics_address: Address | None = setting(
        OFF,
        "Address for Prometheus metrics, at /metrics: HOST:PORT, [IPv6]:PORT or unix:/path. Port 0 picks a "
        "free port and prints it.",
        lambda text: None if text == OFF else parse_address(text),
        metavar="HOST:PORT",
    )
    log_format: str = setting(
        "text",
        "Format of the supervisor's own log lines on stderr.",
        parsers.choice("text", "json"),
        metavar="text|json",
    )
    log_prefix: bool = setting(
        "false",
        "Prefix each line of a program's output with its name; with --log-format json, wrap it in a record. "
        "Without it, output passes through unchanged.",
        parsers.boolean,
        off="--no-log-prefix",
    )
    log_level: str = setting(
        "info",
        "Lowest severity of the supervisor's own log lines.",
        parsers.choice("debug", "info", "warning", "error"),
        metavar="debug|info|warning|error",
    )
    config: str = setting(
        "",
        f"Configuration file: a [{ini.CONFIG_SECTION}] section with these settings, and supervisord's sections "
        "for extra programs.",
        metavar="FILE",
    )
    termination_log: str = setting(
        "/dev/termination-log",
        "File for the termination message of Kubernetes, written if it exists and is writable.",
        metavar="FILE",
    )


DECLARATIONS: Mapping[str, Declaration] = {
    declared.name: Declaration(declared.name, *declared.metadata["declaration"]) for declared in fields(Settings)
}


def choose(flags: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Value]:
    """Return the text and the source of every setting; `flags` are those of the command line, by name."""
    given = {**read_environment(DECLARATIONS, environ), **{name: Value(text, "flag") for name, text in flags.items()}}
    given = {**_read_file(given["config"].text if "config" in given else ""), **given}
    profile = convert(DECLARATIONS["profile"], given.get("profile", Value("default", "default")))
    chosen = {name: Value(declared.default, "default") for name, declared in DECLARATIONS.items()}
    chosen.update({name: Value(*found) for name, found in profiles.read_profile(profile, environ).items()})
    return {**chosen, **given}


def _read_file(path: str) -> dict[str, Value]:
    if not path:
        return {}
    found = ini.read_settings(path, [name for name in DECLARATIONS if name != "config"])
    return {name: Value(text, path) for name, text in found.items()}


def resolve(chosen: Mapping[str, Value]) -> Settings:
    return Settings(**{name: convert(DECLARATIONS[name], value) for name, value in chosen.items()})


def to_arguments(settings: Settings, names: Iterable[str]) -> list[str]:
    """Return the arguments that pass the named settings to a child process, without those that are not set."""
    texts = {name: _format(getattr(settings, name)) for name in names}
    return [argument for name, text in texts.items() if text for argument in (DECLARATIONS[name].option, text)]


def _format(value: Any) -> str:
    """Return `value` as a user writes it."""
    if value is None:
        return OFF
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return " ".join(value)
    return str(getattr(value, "value", value))


def from_options(options: object, environ: Mapping[str, str]) -> Settings:
    """Return settings from an `argparse.Namespace`, or anything with attributes that are named like settings.

    A setting without such an attribute, or with None, comes from `environ`. `Settings` are returned as they are.
    """
    if isinstance(options, Settings):
        return options
    given = {name: getattr(options, name, None) for name in DECLARATIONS}
    return resolve(choose({name: _format(value) for name, value in given.items() if value is not None}, environ))


def from_environment(names: Iterable[str], environ: Mapping[str, str]) -> Settings:
    """Return settings with the named ones read from the environment and defaults for all others."""
    chosen = choose({}, environ)
    return resolve({**choose({}, {}), **{name: chosen[name] for name in names}})


def from_arguments(argv: Sequence[str]) -> tuple[Settings, dict[str, str]]:
    """Parse in a child process what `to_arguments` wrote; return options that are not settings by name."""
    options = list(argv[::2])
    if len(argv) % 2 or not all(option.startswith("--") for option in options):
        raise UsageError(f"Expected pairs of --option and value, got: {' '.join(argv)}")
    given = {option[2:].replace("-", "_"): value for option, value in zip(options, argv[1::2], strict=True)}
    flags = {name: text for name, text in given.items() if name in DECLARATIONS}
    others = {name: text for name, text in given.items() if name not in DECLARATIONS}
    return resolve(choose(flags, {})), others
