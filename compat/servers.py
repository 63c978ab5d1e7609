"""The servers, as data: one declaration each. Their applications are in `apps/`."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Server:
    """A third-party server with the command line of its recipe in docs/servers.md.

    Attributes:
        command: what follows `drum-supervise start ... --`; {environment} is its environment, {bin} the folder of that
            environment's programs, {python} its Python. {fd}, {host} and {port} are left to the supervisor.
        packages: with lower bounds, which were tested. The first one's version is shown.
        options: of `drum-supervise start`.
        environ: required variables.
        folder: where it is started, below `apps/`.
        prepare: a command that runs once in `folder` when the environment is new.
        version: a command that prints the version, if no package has it.
        path, question: the prediction request; without a question it is a GET. The response has 42 in it.
        worker: part of its workers' command line; empty if it has none.
        patience: seconds that a start may take.
        startup_timeout: startup timeout in seconds for failing models.
    """

    name: str
    command: str
    packages: tuple[str, ...] = ()
    options: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    folder: str = "."
    prepare: str = ""
    version: str = ""
    path: str = "/predict"
    question: str = '{"x": 21}'
    worker: str = ""
    patience: float = 60.0
    startup_timeout: float = 8.0

    @property
    def shared(self) -> bool:
        """Whether it inherits the listener."""
        return "{fd}" in self.command or "--listener inherit" in self.options

    @property
    def environment(self) -> str:
        """The name of its environment, shared by servers with the same packages."""
        return self.packages[0].partition(">=")[0].partition("[")[0] if self.packages else self.name.lower()


FASTAPI = "fastapi>=0.110"
FLASK = "flask>=3.0"
SPAWNED = "spawn_main"  # what Python's multiprocessing calls its children

SERVERS = (
    # --- ASGI
    Server("uvicorn", "{bin}/uvicorn asgi_app:app --fd {fd}", ("uvicorn>=0.29", FASTAPI)),
    Server(
        "uvicorn, 2 workers",
        "{bin}/uvicorn asgi_app:app --fd {fd} --workers 2",
        ("uvicorn>=0.29", FASTAPI),
        worker=SPAWNED,
    ),
    Server(
        "uvicorn, own port",
        "{bin}/uvicorn asgi_app:app --host {host} --port {port}",
        ("uvicorn>=0.29", FASTAPI),
    ),
    Server(
        "fastapi run",
        "{bin}/fastapi run asgi_app.py --host {host} --port {port}",
        ("fastapi[standard]>=0.115",),
    ),
    Server("hypercorn", "{bin}/hypercorn --bind fd://{fd} asgi_app:app", ("hypercorn>=0.17", FASTAPI), worker=SPAWNED),
    Server(
        "hypercorn, 2 workers",
        "{bin}/hypercorn --bind fd://{fd} --workers 2 asgi_app:app",
        ("hypercorn>=0.17", FASTAPI),
        worker=SPAWNED,
    ),
    Server(
        "granian",
        "{bin}/granian --interface asgi --host {host} --port {port} asgi_app:app",
        ("granian>=2.0", FASTAPI),
        worker="granian",
    ),
    Server("daphne", "{bin}/daphne --fd {fd} raw_asgi_app:app", ("daphne>=4.1",)),
    # --- WSGI
    Server("gunicorn", "{bin}/gunicorn -b fd://{fd} wsgi_app:app", ("gunicorn>=21.2", FLASK), worker="gunicorn"),
    Server(
        "gunicorn, 2 workers",
        "{bin}/gunicorn -b fd://{fd} -w 2 wsgi_app:app",
        ("gunicorn>=21.2", FLASK),
        worker="gunicorn",
    ),
    Server(
        "gunicorn, uvicorn worker",
        "{bin}/gunicorn -b fd://{fd} -k uvicorn_worker.UvicornWorker asgi_app:app",
        ("uvicorn-worker>=0.3", "gunicorn>=21.2", FASTAPI),
        worker="gunicorn",
    ),
    Server(
        "flask run",
        "{bin}/flask --app wsgi_app run --host {host} --port {port}",
        (FLASK,),
    ),
    Server(
        "flask run, inherited",
        "env WERKZEUG_RUN_MAIN=true WERKZEUG_SERVER_FD={fd} {bin}/flask --app wsgi_app run",
        (FLASK,),
    ),
    Server("waitress", "{bin}/waitress-serve --listen {host}:{port} wsgi_app:app", ("waitress>=3.0", FLASK)),
    Server("waitress, inherited", "{python} waitress_server.py {fd}", ("waitress>=3.0", FLASK)),
    Server(
        "cheroot",
        "env PYTHONPATH=. {bin}/cheroot wsgi_app:app",
        ("cheroot>=10.0", FLASK),
        options="--listener inherit",
    ),
    Server(
        "uWSGI",
        "env PYTHONPATH=. {bin}/uwsgi --http-socket fd://{fd} --master --die-on-term --need-app --processes 2 "
        "--module wsgi_app:app",
        ("pyuwsgi>=2.0.27", FLASK),
        worker="uwsgi",
    ),
    # --- with their own framework
    Server("Tornado", "{python} tornado_app.py {fd}", ("tornado>=6.4",)),
    Server("aiohttp", "{python} aiohttp_app.py {fd}", ("aiohttp>=3.9",)),
    Server(
        "Sanic, --alive-path",
        "{bin}/sanic sanic_app:app --host {host} --port {port}",
        ("sanic>=24.6",),
        # it does not notice when its worker is killed
        options="--alive-path /ping --alive-interval 2 --alive-timeout 3",
        worker=SPAWNED,
    ),
    Server(
        "Sanic, one process",
        "{bin}/sanic sanic_app:app --host {host} --port {port} --single-process",
        ("sanic>=24.6",),
    ),
    Server(
        "Robyn",
        "env ROBYN_HOST={host} ROBYN_PORT={port} {python} robyn_app.py",
        ("robyn>=0.70",),
    ),
    Server(
        "http.server",
        "python3 -m http.server --bind {host} {port}",
        version="python3 --version",
        folder="files",
        path="/answer.json",
        question="",
    ),
    # --- model servers
    Server(
        "MLflow",
        "env PATH={bin}:/usr/bin:/bin {bin}/mlflow models serve -m {environment}/model --env-manager local "
        "--host {host} --port {port} --workers 1",
        ("mlflow>=3.0",),
        prepare="{python} mlflow_model.py {environment}/model",
        path="/invocations",
        question='{"dataframe_split": {"columns": ["x"], "data": [[21]]}}',
        worker="uvicorn",
        startup_timeout=60,
    ),
    Server(
        "MLflow on uvicorn",
        "env __pyfunc_model_path__={environment}/model {bin}/uvicorn --fd {fd} mlflow.pyfunc.scoring_server.app:app",
        ("mlflow>=3.0",),
        prepare="{python} mlflow_model.py {environment}/model",
        path="/invocations",
        question='{"dataframe_split": {"columns": ["x"], "data": [[21]]}}',
        startup_timeout=60,
    ),
    Server(
        "BentoML",
        "{bin}/bentoml serve bento_app:Double --host {host} --port {port}",
        ("bentoml>=1.3",),
        options="--ready-path /readyz",
        environ={"BENTOML_DO_NOT_TRACK": "1"},
        worker="_bentoml_impl.worker",
        startup_timeout=20,
    ),
    Server(
        "MLServer",
        "env PYTHONPATH=.. MLSERVER_HOST={host} MLSERVER_HTTP_PORT={port} MLSERVER_GRPC_PORT=0 MLSERVER_METRICS_PORT=0 "
        "{bin}/mlserver start .",
        ("mlserver>=1.6", "uvloop<0.22"),  # its workers die under later versions
        options="--ready-path /v2/models/double/ready",
        folder="mlserver",
        path="/v2/models/double/infer",
        question='{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [21]}]}',
        worker=SPAWNED,
        startup_timeout=20,
    ),
    Server(
        "LitServe",
        "{python} litserve_app.py {fd}",
        ("litserve>=0.2.10",),
        options="--ready-path /health",
        worker=SPAWNED,
        startup_timeout=20,
    ),
    Server(
        "Ray Serve",
        "{python} ray_app.py {host} {port}",
        ("ray[serve]>=2.40",),
        options="--ready report",
        environ={"RAY_USAGE_STATS_ENABLED": "0"},
        worker="ray::ServeReplica",
        patience=180,
        startup_timeout=40,
    ),
    # --- other languages, and scripts
    Server("Node.js", "node server.js {fd}", version="node --version"),
    Server(
        "Go",
        "{environment}/server {fd}",
        prepare="go build -o {environment}/server server.go",
        version="go version",
    ),
    Server("Java", "java Server.java {host} {port}", version="java --version"),
    Server(
        "a script that execs",
        "./exec.sh {bin}/uvicorn asgi_app:app --fd {fd}",
        ("uvicorn>=0.29", FASTAPI),
    ),
    Server(
        "a script that forks",
        "./fork.sh {bin}/uvicorn asgi_app:app --fd {fd}",
        ("uvicorn>=0.29", FASTAPI),
        worker="uvicorn",
    ),
)
