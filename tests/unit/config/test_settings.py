"""Settings: sources, precedence, errors, and the way to child processes."""

import random
import re
import string
from dataclasses import fields, replace
from types import SimpleNamespace

import pytest

from drum_supervisor.config.declaration import PREFIX
from drum_supervisor.config.ini import CONFIG_SECTION
from drum_supervisor.config.parsers import parse_runtime_parameter
from drum_supervisor.config.profiles import PROFILES
from drum_supervisor.config.settings import (
    DECLARATIONS,
    Settings,
    choose,
    from_arguments,
    from_environment,
    from_options,
    resolve,
    to_arguments,
)
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.failure_report import ErrorDetail
from drum_supervisor.contract.listener import Address

DEFAULTS = resolve(choose({}, {}))


@pytest.fixture
def config(tmp_path):
    def write(text: str, section: str = f"[{CONFIG_SECTION}]\n") -> str:
        path = tmp_path / "supervise.ini"
        path.write_text(section + text, encoding="utf-8")
        return str(path)

    return write


def chosen(name: str, flags: dict[str, str], environ: dict[str, str]) -> tuple[str, str]:
    return tuple(choose(flags, environ)[name])


class TestDeclarations:
    def test_each_field_has_one(self):
        assert list(DECLARATIONS) == [each.name for each in fields(Settings)]

    def test_variables_are_unique(self):
        variables = [variable for declared in DECLARATIONS.values() for variable in declared.all_variables]
        assert len(variables) == len(set(variables))
        assert all(f"{PREFIX}{name.upper()}" in variables for name in DECLARATIONS)

    @pytest.mark.parametrize("declared", DECLARATIONS.values(), ids=lambda declared: declared.name)
    def test_default_is_accepted(self, declared):
        getattr(resolve(choose({}, {})), declared.name)
        if declared.default:
            declared.parse(declared.default)

    @pytest.mark.parametrize("declared", DECLARATIONS.values(), ids=lambda declared: declared.name)
    def test_help_is_a_sentence(self, declared):
        assert declared.help.endswith(".")
        assert declared.metavar or declared.off

    @pytest.mark.parametrize("profile", PROFILES)
    def test_profile_values_are_accepted(self, profile):
        for name, text in PROFILES[profile].items():
            DECLARATIONS[name].parse(text)

    def test_every_profile_can_be_chosen(self):
        for profile in PROFILES:
            assert resolve(choose({"profile": profile}, {})).profile == profile
        with pytest.raises(UsageError, match=", ".join(PROFILES)):
            resolve(choose({"profile": "swarm"}, {}))


class TestDefaults:
    def test_are_as_documented(self):
        promised = {
            "address": Address("0.0.0.0", 8080),
            "code_dir": "",
            "class_labels": (),
            "server_type": "fastapi",
            "workers": 1,
            "max_body": 128 * 1024**2,
            "listener": "auto",
            "startup_timeout": 600.0,
            "while_starting": "hold",
            "with_error_server": True,
            "error_server_ttl": 0.0,
            "failed_ping": 200,
            "error_detail": ErrorDetail.MESSAGE,
            "max_retries": 0,
            "retry_interval": 10.0,
            "max_restarts": 5,
            "restart_window": 60.0,
            "alive_path": "",
            "alive_interval": 10.0,
            "alive_timeout": 5.0,
            "alive_failures": 3,
            "stop_timeout": 25.0,
            "run_dir": "",
            "profile": "default",
            "log_format": "text",
            "log_level": "info",
        }
        assert {name: getattr(DEFAULTS, name) for name in promised} == promised

    def test_source_is_default(self):
        assert {value.source for value in choose({}, {}).values()} == {"default"}


class TestPrecedence:
    @pytest.mark.parametrize(
        ("given", "text", "source"),
        [
            ("flag env file profile", "1", "flag"),
            ("env file profile", "2", "$DRUM_SUPERVISOR_FAILED_PING"),
            ("file profile", "3", "FILE"),
            ("profile", "503", "profile kubernetes"),
            ("", "200", "default"),
        ],
    )
    def test_flag_environment_file_profile_default(self, config, given, text, source):
        sources = given.split()
        path = config("failed-ping = 3\n" if "file" in sources else "")
        flags = {"config": path, **({"failed_ping": "1"} if "flag" in sources else {})}
        environ = {
            **({"DRUM_SUPERVISOR_FAILED_PING": "2"} if "env" in sources else {}),
            **({"DRUM_SUPERVISOR_PROFILE": "kubernetes"} if "profile" in sources else {}),
        }
        assert chosen("failed_ping", flags, environ) == (text, source.replace("FILE", path))

    def test_our_variable_wins_over_drums(self):
        environ = {"MLOPS_RUNTIME_PARAM_CUSTOM_MODEL_WORKERS": "2", "MAX_WORKERS": "3", "DRUM_SUPERVISOR_WORKERS": "4"}
        assert chosen("workers", {}, environ) == ("4", "$DRUM_SUPERVISOR_WORKERS")
        del environ["DRUM_SUPERVISOR_WORKERS"]
        assert chosen("workers", {}, environ) == ("2", "$MLOPS_RUNTIME_PARAM_CUSTOM_MODEL_WORKERS")
        del environ["MLOPS_RUNTIME_PARAM_CUSTOM_MODEL_WORKERS"]
        assert chosen("workers", {}, environ) == ("3", "$MAX_WORKERS")

    @pytest.mark.parametrize(
        ("variable", "name"),
        [
            ("ADDRESS", "address"),
            ("CODE_DIR", "code_dir"),
            ("TARGET_TYPE", "target_type"),
            ("URL_PREFIX", "url_prefix"),
            ("POSITIVE_CLASS_LABEL", "positive_class_label"),
            ("NEGATIVE_CLASS_LABEL", "negative_class_label"),
            ("CLASS_LABELS", "class_labels"),
            ("CLASS_LABELS_FILE", "class_labels_file"),
            ("MAX_WORKERS", "workers"),
            ("WITH_ERROR_SERVER", "with_error_server"),
            ("MLOPS_RUNTIME_PARAM_DRUM_SERVER_TYPE", "server_type"),
            ("DRUM_WEBSERVER_BACKLOG", "backlog"),
        ],
    )
    def test_drum_variables_are_read(self, variable, name):
        assert chosen(name, {}, {variable: "x"}) == ("x", f"${variable}")

    @pytest.mark.parametrize("name", sorted(set(DECLARATIONS) - {"config", "profile"}))
    def test_every_option_has_a_variable(self, name):
        variable = f"{PREFIX}{name.upper()}"
        assert chosen(name, {}, {variable: "x"}) == ("x", f"${variable}")

    @pytest.mark.parametrize("empty", ["", " ", "\n", "\t "])
    def test_empty_variable_is_unset(self, empty):
        assert chosen("workers", {}, {"DRUM_SUPERVISOR_WORKERS": empty}) == ("1", "default")
        assert chosen("workers", {}, {"DRUM_SUPERVISOR_WORKERS": empty, "MAX_WORKERS": "3"})[0] == "3"

    def test_empty_flag_overrides_the_environment(self):
        settings = resolve(choose({"code_dir": "", "class_labels": ""}, {"CODE_DIR": "/model", "CLASS_LABELS": "a b"}))
        assert (settings.code_dir, settings.class_labels) == ("", ())


class TestRuntimeParameter:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ('{"type": "numeric", "payload": 4}', "4"),
            ('{"type": "numeric", "payload": 4.0}', "4.0"),
            ('{"type": "string", "payload": "gunicorn"}', "gunicorn"),
            ('{"type": "boolean", "payload": true}', "True"),
            ('{"type": "string", "payload": null}', ""),
            ('{"type": "string", "payload": ""}', ""),
            ('{"type": "string", "payload": "größe"}', "größe"),
            ("4", "4"),
            ("gunicorn", "gunicorn"),
            ('"gunicorn"', '"gunicorn"'),
            ('{"type": "string"}', '{"type": "string"}'),
            ("[1]", "[1]"),
            ("{broken", "{broken"),
            ("", ""),
        ],
    )
    def test_json_payload_or_plain_text(self, text, value):
        assert parse_runtime_parameter(text) == value

    @pytest.mark.parametrize(
        "text", ["4", "4.0", '{"type": "numeric", "payload": 4}', '{"type": "numeric", "payload": 4.0}']
    )
    def test_numeric_payload_is_a_worker_count(self, text):
        assert resolve(choose({}, {"MLOPS_RUNTIME_PARAM_CUSTOM_MODEL_WORKERS": text})).workers == 4

    @pytest.mark.parametrize("payload", ["null", '""', '" "'])
    def test_empty_payload_is_unset(self, payload):
        environ = {"MLOPS_RUNTIME_PARAM_DRUM_SERVER_TYPE": f'{{"type": "string", "payload": {payload}}}'}
        assert chosen("server_type", {}, environ) == ("fastapi", "default")

    def test_other_variables_are_plain_text(self):
        text = '{"payload": "x"}'
        assert chosen("positive_class_label", {}, {"POSITIVE_CLASS_LABEL": text})[0] == text


class TestFile:
    def test_keys_have_dashes_or_underscores(self, config):
        path = config("stop-timeout = 5\nmax_retries = 3\n")
        settings = resolve(choose({"config": path}, {}))
        assert (settings.stop_timeout, settings.max_retries) == (5.0, 3)

    def test_path_from_the_environment(self, config):
        path = config("workers = 2")
        assert chosen("workers", {}, {"DRUM_SUPERVISOR_CONFIG": path}) == ("2", path)

    def test_file_chooses_the_profile(self, config):
        assert resolve(choose({"config": config("profile = kubernetes")}, {})).failed_ping == 503

    def test_percent_signs_and_other_sections(self, config):
        path = config("code-dir = /models/%(x)s/50%\n[program:x]\ncommand = echo %%\nworkers = many\n")
        settings = resolve(choose({"config": path}, {}))
        assert (settings.code_dir, settings.workers) == ("/models/%(x)s/50%", 1)

    def test_comments_are_ignored(self, config):
        path = config("workers = 2 ; two\n; workers = 3\n# workers = 4\n")
        assert chosen("workers", {"config": path}, {}) == ("2", path)

    def test_empty_value_is_unset(self, config):
        assert chosen("workers", {"config": config("workers =\n")}, {}) == ("1", "default")

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("colour = red\n", "line 2 sets 'colour', which is not a setting"),
            ("config = other.ini\n", "sets 'config', which is not a setting"),
            ("workers = 2\nworkers = 3\n", "is not a configuration file: .*option 'workers'.* already exists"),
            ("workers\n", "is not a configuration file: .*parsing error"),
            ("= 2\n", "is not a configuration file: .*parsing error"),
        ],
    )
    def test_mistake_is_one_line(self, config, text, complaint):
        path = config(text)
        with pytest.raises(UsageError, match=complaint) as caught:
            choose({"config": path}, {})
        assert str(caught.value).startswith(f"--config: {path!r}")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("section", "complaint"),
        [
            ("", "is not a configuration file: File contains no section headers"),
            ("[drum-supervise\n", "is not a configuration file: File contains no section headers"),
        ],
    )
    def test_file_without_sections_is_refused(self, config, section, complaint):
        with pytest.raises(UsageError, match=re.escape(complaint)) as caught:
            choose({"config": config("workers = 2\n", section)}, {})
        assert "\n" not in str(caught.value)

    def test_our_section_may_be_missing(self, config):
        path = config("environment = A=1\n", "[supervisord]\n")
        assert chosen("workers", {"config": path}, {}) == ("1", "default")

    def test_missing_file(self, tmp_path):
        with pytest.raises(UsageError, match=r"--config: cannot read '.*/none\.ini': No such file or directory\."):
            choose({"config": str(tmp_path / "none.ini")}, {})

    def test_directory_is_refused(self, tmp_path):
        with pytest.raises(UsageError, match=r"--config: cannot read .*: Is a directory"):
            choose({"config": str(tmp_path)}, {})

    def test_binary_file_is_refused(self, tmp_path):
        (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
        with pytest.raises(UsageError, match="is not a configuration file"):
            choose({"config": str(tmp_path / "binary")}, {})


class TestProfile:
    def test_sagemaker_model_folder_and_stand_in(self):
        settings = resolve(choose({"profile": "sagemaker"}, {}))
        assert (settings.code_dir, settings.while_starting) == ("/opt/ml/model", "respond")

    def test_sagemaker_port_variable(self):
        environ = {"SAGEMAKER_BIND_TO_PORT": "9000"}
        assert chosen("address", {"profile": "sagemaker"}, environ) == ("0.0.0.0:9000", "$SAGEMAKER_BIND_TO_PORT")
        assert chosen("address", {"profile": "sagemaker"}, {**environ, "ADDRESS": "h:1"}) == ("h:1", "$ADDRESS")

    @pytest.mark.parametrize("port", ["", " "])
    def test_empty_sagemaker_port_is_unset(self, port):
        assert chosen("address", {"profile": "sagemaker"}, {"SAGEMAKER_BIND_TO_PORT": port})[1] == "default"

    def test_sagemaker_port_needs_the_profile(self):
        assert chosen("address", {}, {"SAGEMAKER_BIND_TO_PORT": "9000"})[1] == "default"

    def test_kubernetes_fails_probes(self):
        assert resolve(choose({"profile": "kubernetes"}, {})).failed_ping == 503


class TestBadValue:
    @pytest.mark.parametrize(
        ("name", "text", "accepted"),
        [
            ("address", "8080", "write for example 0.0.0.0:8080"),
            ("target_type", "regresion", "choose from binary, regression, anomaly"),
            ("server_type", "django", "choose from fastapi, flask, gunicorn"),
            ("url_prefix", "a b", "give a plain path"),
            ("workers", "0", "a whole number from 1 to 199"),
            ("workers", "", "a whole number from 1 to 199"),
            ("max_body", "much", "a size like 100M"),
            ("backlog", "0", "a whole number from 1 to 10000"),
            ("listener", "mine", "choose from auto, inherit, bind"),
            ("ready", "soon", "choose from auto, report, http, port, notify"),
            ("ready_path", "ping", "a path like /ping"),
            ("startup_timeout", "-1", "seconds, like 30"),
            ("while_starting", "wait", "choose from hold, respond"),
            ("with_error_server", "maybe", "one of 0, false, f, no, n, off"),
            ("error_server_ttl", "nan", "seconds, like 30"),
            ("failed_ping", "100", "a whole number from 200 to 599"),
            ("error_detail", "some", "choose from none, message, full"),
            ("max_retries", "-1", "a whole number from 0 to 1000000"),
            ("retry_interval", "", "seconds, like 30"),
            ("max_restarts", "1.5", "a whole number from 0 to 1000000"),
            ("restart_window", "1m", "seconds, like 30"),
            ("alive_path", "ping", "a path like /ping"),
            ("alive_interval", "0", "seconds, 0.1 or more"),
            ("alive_timeout", "0.01", "seconds, 0.1 or more"),
            ("alive_timeout", "soon", "seconds, like 30"),
            ("alive_failures", "0", "a whole number from 1 to 1000"),
            ("stop_timeout", "inf", "seconds, like 30"),
            ("profile", "swarm", "choose from default, sagemaker, kubernetes"),
            ("log_format", "xml", "choose from text, json"),
            ("log_level", "loud", "choose from debug, info, warning, error"),
        ],
    )
    def test_message_names_option_value_and_accepted_values(self, name, text, accepted):
        with pytest.raises(UsageError) as caught:
            resolve(choose({name: text}, {}))
        sentence = str(caught.value)
        assert sentence.startswith(f"{DECLARATIONS[name].option}: ")
        assert repr(text) in sentence
        assert accepted in sentence
        assert sentence.endswith(".")
        assert "\n" not in sentence
        assert "from flag" not in sentence

    @pytest.mark.parametrize(("name", "text"), [("workers", "0"), ("address", "8080"), ("profile", "swarm")])
    def test_message_names_the_source(self, config, name, text):
        with pytest.raises(UsageError, match=rf"\(from \${PREFIX}{name.upper()}\)"):
            resolve(choose({}, {f"{PREFIX}{name.upper()}": text}))
        path = config(f"{name} = {text}\n")
        with pytest.raises(UsageError, match=rf"\(from {re.escape(path)}\)"):
            resolve(choose({"config": path}, {}))

    def test_message_names_the_sagemaker_port(self):
        with pytest.raises(UsageError, match=r"--address \(from \$SAGEMAKER_BIND_TO_PORT\): Address '0\.0\.0\.0:http'"):
            resolve(choose({"profile": "sagemaker"}, {"SAGEMAKER_BIND_TO_PORT": "http"}))

    def test_message_shows_the_payload(self):
        environ = {"MLOPS_RUNTIME_PARAM_CUSTOM_MODEL_WORKERS": '{"type": "string", "payload": "many"}'}
        with pytest.raises(UsageError, match=r"--workers: 'many' \(from \$MLOPS_RUNTIME_PARAM_CUSTOM_MODEL_WORKERS\)"):
            resolve(choose({}, environ))


PASSED_ON = tuple(name for name in DECLARATIONS if name not in ("config", "profile", "run_dir", "termination_log"))


def passed_on(settings: Settings) -> Settings:
    read, others = from_arguments(to_arguments(settings, PASSED_ON))
    assert others == {}
    return read


class TestChildArguments:
    def test_defaults_survive(self):
        assert passed_on(DEFAULTS) == DEFAULTS

    def test_unusual_values_survive(self):
        settings = replace(
            DEFAULTS,
            address=Address("fe80::1", 1),
            code_dir="/models/my model",
            target_type="multiclass",
            server_type="flask",
            class_labels=("--yes", "no", "größe", "50%", "{fd}", "a;b", "'", '"'),
            url_prefix="/v1/a",
            workers=199,
            max_body=5000 * 1024**3 + 1,
            listener="inherit",
            ready="notify",
            ready_path="/ready?x=1",
            startup_timeout=0.125,
            with_error_server=False,
            failed_ping=503,
            error_detail=ErrorDetail.FULL,
            stop_timeout=1e9,
            retry_interval=1e-7,
        )
        assert passed_on(settings) == settings

    @pytest.mark.parametrize("address", [Address("::", 0), Address("localhost", 65535), Address(path="/run/a b.sock")])
    def test_address_survives(self, address):
        assert passed_on(replace(DEFAULTS, address=address)).address == address

    def test_any_label_survives(self):
        generator = random.Random(7)
        alphabet = string.printable + "äß失\N{FIRE}\u2028\x1b\udcff" + "---"
        for _ in range(300):
            label = "".join(generator.choices(alphabet, k=generator.randrange(1, 12)))
            settings = replace(DEFAULTS, positive_class_label=label, class_labels_file=label)
            assert passed_on(settings) == settings

    def test_unset_is_left_out(self):
        given = to_arguments(DEFAULTS, ["code_dir", "class_labels", "workers", "url_prefix"])
        assert given == ["--workers", "1"]

    def test_child_environment_is_ignored(self, monkeypatch):
        monkeypatch.setenv("DRUM_SUPERVISOR_WORKERS", "7")
        assert from_arguments(["--backlog", "1"])[0].workers == 1

    def test_other_options_are_returned_by_name(self):
        settings, others = from_arguments(["--workers", "2", "--report", "/run/failure.json", "--plain", "true"])
        assert settings.workers == 2
        assert others == {"report": "/run/failure.json", "plain": "true"}

    @pytest.mark.parametrize(
        "argv", [["--workers"], ["workers", "2"], ["--workers", "2", "x"], ["2", "--workers"], ["-w", "2"]]
    )
    def test_anything_but_pairs_is_refused(self, argv):
        with pytest.raises(UsageError, match="Expected pairs of --option and value"):
            from_arguments(argv)

    def test_bad_value_is_refused(self):
        with pytest.raises(UsageError, match="--workers: 'many' is not accepted"):
            from_arguments(["--workers", "many"])


class TestFromOptions:
    def test_settings_pass_through(self):
        settings = resolve(choose({}, {}))
        assert from_options(settings, {"URL_PREFIX": "/p"}) is settings

    def test_attributes_are_read_as_options(self):
        options = SimpleNamespace(
            address="[::1]:0", class_labels=["a", "b"], with_error_server=False, workers=3, code_dir=None, unrelated=1
        )
        settings = from_options(options, {"URL_PREFIX": "/p", "CODE_DIR": "/model", "MAX_WORKERS": "7"})
        assert settings.address == Address("::1", 0)
        assert (settings.class_labels, settings.with_error_server, settings.workers) == (("a", "b"), False, 3)
        assert (settings.url_prefix, settings.code_dir) == ("/p", "/model")

    def test_bad_value_names_the_option(self):
        with pytest.raises(UsageError, match=r"--workers: '0' is not accepted"):
            from_options(SimpleNamespace(workers=0), {})


class TestFromEnvironment:
    def test_reads_only_the_named_variables(self):
        settings = from_environment(["url_prefix"], {"URL_PREFIX": "/p", "CODE_DIR": "/model", "MAX_WORKERS": "no"})
        assert settings == replace(resolve(choose({}, {})), url_prefix="/p")

    def test_bad_value_names_the_option(self):
        with pytest.raises(UsageError, match=r"--stop-timeout: 'x' \(from \$DRUM_SUPERVISOR_STOP_TIMEOUT\)"):
            from_environment(["stop_timeout"], {"DRUM_SUPERVISOR_STOP_TIMEOUT": "x"})
