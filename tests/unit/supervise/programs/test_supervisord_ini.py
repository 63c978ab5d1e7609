"""supervisord sections in the configuration file: each key is honoured, or refused with its line and a reason."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from drum_supervisor.config.settings import Settings, choose, resolve
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.supervise.programs import supervisord_keys
from drum_supervisor.supervise.programs.plan import make_paths_absolute
from drum_supervisor.supervise.programs.supervisord_ini import ExtraPrograms, read_extra_programs

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file and return its path."""

    def write_file(text: str, name: str = "extra.conf") -> str:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write_file


@pytest.fixture
def read(write: Write) -> Callable[..., ExtraPrograms]:
    return lambda text, **environ: read_extra_programs(write(text), environ)


def section(extra: ExtraPrograms, name: str) -> dict[str, str]:
    return next(dict(section.values) for section in extra.sections if section.name == name)


def test_without_a_file_there_are_no_extra_programs():
    assert read_extra_programs("", {}) == ExtraPrograms()


def test_section_of_settings_is_not_for_supervisord(read):
    extra = read("[drum-supervise]\nworkers = 2\n")
    assert (extra.sections, extra.supervisord, extra.warnings) == ((), {}, ())


class TestExtraPrograms:
    def test_keep_their_keys_and_write_to_our_output(self, read):
        extra = read('[program:metrics]\ncommand = serve %(program_name)s ; to all\nenvironment = A="1",\n  B="2"\n')
        assert section(extra, "program:metrics") == {
            "command": "serve %(program_name)s",
            "environment": 'A="1",\nB="2"',
            "stdout_logfile": "/dev/stdout",
            "stderr_logfile": "/dev/stderr",
        }

    @pytest.mark.parametrize(
        ("given", "rendered"),
        [
            ("AUTO", "/dev/stdout"),
            ("/dev/stdout", "/dev/stdout"),
            ("/dev/fd/1", "/dev/stdout"),
            ("/proc/self/fd/2", "/dev/stderr"),
            ("/dev/stderr", "/dev/stderr"),
            ("/var/log/metrics.log", "/var/log/metrics.log"),
            ("NONE", "NONE"),
        ],
    )
    def test_log_files_that_are_our_output_are_never_opened(self, read, given, rendered):
        extra = read(f"[program:x]\ncommand = x\nstdout_logfile = {given}\n")
        assert section(extra, "program:x")["stdout_logfile"] == rendered

    def test_inherit_umask_and_directory_of_supervisord(self, read):
        extra = read("[supervisord]\numask = 027\ndirectory = /srv\n[program:x]\ncommand = x\numask = 077\n")
        values = section(extra, "program:x")
        assert (values["umask"], values["directory"]) == ("077", "/srv")
        assert extra.overrides["model-server"] == {"umask": "027", "directory": "/srv"}
        assert extra.supervisord == {}

    @pytest.mark.parametrize(("text", "essential"), [("true", {"x"}), ("no", set()), ("", set())])
    def test_may_be_essential(self, read, text, essential):
        line = f"essential = {text}\n" if text else ""
        extra = read(f"[program:x]\ncommand = x\n{line}")
        assert extra.essential == essential
        assert "essential" not in section(extra, "program:x")

    def test_may_have_every_key_that_supervisord_knows(self):
        """A newer supervisord may have more keys: then decide whether to honour them."""
        source = inspect.getsource(ServerOptions._processes_from_section)
        keys = set(re.findall(r"get\(section, ?'(\w+)'", source))
        channels = set(re.findall(r"= '%s_(\w+)' % k", source))
        known = keys | {f"{stream}_{name}" for stream in ("stdout", "stderr") for name in channels}
        assert known | {"essential"} == supervisord_keys.ALLOWED["program"]


class TestOurPrograms:
    def test_have_overrides(self, read):
        extra = read(
            '[program:model-server]\nenvironment = A="1"\nstopsignal = QUIT\n[program:error-server]\numask = 0\n'
        )
        assert extra.overrides["model-server"] == {"environment": 'A="1"', "stopsignal": "QUIT"}
        assert extra.overrides["error-server"] == {"umask": "0"}
        assert extra.sections == ()

    def test_find_the_same_files_in_another_directory(self, read, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        settings: Settings = resolve(choose({"code_dir": "model"}, {}))
        assert read("[program:model-server]\ndirectory = /srv\n").changes_directory
        assert make_paths_absolute(settings).code_dir == str(tmp_path / "model")
        assert make_paths_absolute(settings).class_labels_file == ""


class TestInclude:
    def test_patterns_and_here_are_relative_to_the_file(self, write):
        path = write("[include]\nfiles = conf.d/*.conf %(ENV_MORE)s\n")
        write("[program:b]\ncommand = %(here)s/b\n", "conf.d/b.conf")
        write("[program:a]\ncommand = a\n", "conf.d/a.conf")
        write("[program:c]\ncommand = c\n", "c.ini")
        extra = read_extra_programs(path, {"MORE": "c.ini"})
        assert [section.name for section in extra.sections] == ["program:a", "program:b", "program:c"]
        assert section(extra, "program:b")["command"] == str(Path(path).parent / "conf.d/b")

    def test_pattern_without_a_match_is_a_warning(self, write):
        path = write("[include]\nfiles = none/*.conf\n")
        warnings = read_extra_programs(path, {}).warnings
        assert warnings == (f"--config: no file matches 'none/*.conf', included by {path!r}",)

    @pytest.mark.parametrize(
        ("included", "message"),
        [
            ("[program:x]\ncommand = y\n", "[program:x] is in '{path}', line 3 already."),
            ("[drum-supervise]\n", "[drum-supervise] cannot be in an included file."),
            ("[include]\nfiles = more\n", "[include] cannot be in an included file."),
        ],
    )
    def test_included_file_is_refused(self, write, included, message):
        path = write("[include]\nfiles = other.conf\n[program:x]\ncommand = x\n")
        other = write(included, "other.conf")
        with pytest.raises(UsageError) as caught:
            read_extra_programs(path, {})
        assert str(caught.value) == f"--config: {other!r}, line 1: {message.format(path=path)}"

    def test_unknown_variable_is_named(self, write):
        path = write("[include]\nfiles = %(ENV_X)s\n")
        with pytest.raises(UsageError) as caught:
            read_extra_programs(path, {})
        reason = "'files' in [include] is refused: cannot be expanded: 'ENV_X'."
        assert str(caught.value) == f"--config: {path!r}, line 2: {reason}"


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "[supervisord]\nlogfile = /x\n",
                "line 2: 'logfile' in [supervisord] is refused: the supervisor's own lines go to stderr "
                "(--log-level, --log-format).",
            ),
            (
                "[supervisord]\nuser = nobody\n",
                "line 2: 'user' in [supervisord] is refused: start drum-supervise as that user; a program can have a "
                "user of its own.",
            ),
            (
                "[supervisord]\nnodaemon = false\n",
                "line 2: 'nodaemon' in [supervisord] is refused: the supervisor stays in the foreground.",
            ),
            (
                "[supervisord]\nnodeamon = true\n",
                "line 2: 'nodeamon' in [supervisord] is refused: there is no such key.",
            ),
            (
                "[unix_http_server]\nfile = /x\n",
                "line 1: [unix_http_server] is refused: the control socket is supervisor.sock in the run directory "
                "(--run-dir).",
            ),
            (
                "[fcgi-program:x]\nsocket = tcp://x:1\n",
                "line 1: [fcgi-program:x] is refused: FastCGI sockets are not supported; use [program:NAME] with a "
                "socket that it binds itself.",
            ),
            (
                "[rpcinterface:more]\nx = 1\n",
                "line 1: [rpcinterface:more] is refused: it runs code in the supervisor.",
            ),
            ("[programm:x]\ncommand = x\n", "line 1: there is no section [programm:x]."),
            (
                "[program:x]\n\ncommand = x\nautostrat = 1\n",
                "line 4: 'autostrat' in [program:x] is refused: there is no such key.",
            ),
            ("[program:x]\nautostart = true\n", "line 1: [program:x] has no command."),
            (
                "[program:stand-in]\ncommand = x\n",
                "line 1: [program:stand-in] is refused: stand-in is a reserved name.",
            ),
            (
                "[program:exporter]\ncommand = x\n",
                "line 1: [program:exporter] is refused: exporter is a reserved name.",
            ),
            (
                "[program:model-server-2]\ncommand = x\n",
                "line 1: [program:model-server-2] is refused: model-server-2 is a reserved name.",
            ),
            (
                "[eventlistener:model-server]\ncommand = x\n",
                "line 1: [eventlistener:model-server] is refused: model-server is a reserved name.",
            ),
            (
                "[group:g]\nprograms = x,model-server\n",
                "line 2: 'programs' in [group:g] is refused: model-server cannot be in a group.",
            ),
            (
                "[program:model-server]\ncommand = x\n",
                "line 2: 'command' in [program:model-server] is refused: give the command after --, or use --code-dir.",
            ),
            (
                "[program:model-server]\nautorestart = true\n",
                "line 2: 'autorestart' in [program:model-server] is refused: the policy decides this: --max-restarts, "
                "--max-retries, --startup-timeout.",
            ),
            (
                "[program:model-server]\nnumprocs = 2\n",
                "line 2: 'numprocs' in [program:model-server] is refused: use --workers.",
            ),
            (
                "[program:model-server]\nstdout_logfile = /x\n",
                "line 2: 'stdout_logfile' in [program:model-server] is refused: its output goes to the supervisor's "
                "own; see drum-supervise logs.",
            ),
            (
                "[program:model-server]\nstopwaitsecs = 2\n",
                "line 2: 'stopwaitsecs' in [program:model-server] is refused: use --stop-timeout.",
            ),
            (
                "[program:error-server]\nuser = nobody\n",
                "line 2: 'user' in [program:error-server] is refused: it must read the failure report, which only "
                "this user can.",
            ),
            (
                "[eventlistener:x]\ncommand = x\nresult_handler = a:b\n",
                "line 3: 'result_handler' in [eventlistener:x] is refused: it runs code in the supervisor.",
            ),
        ],
    )
    def test_with_the_line_and_a_reason(self, write, text, message):
        path = write(text)
        with pytest.raises(UsageError) as caught:
            read_extra_programs(path, {})
        assert str(caught.value) == f"--config: {path!r}, {message}"

    def test_value_of_essential_that_is_not_boolean(self, read):
        with pytest.raises(UsageError, match=r"line 3: 'essential' in \[program:x\] is refused: write "):
            read("[program:x]\ncommand = x\nessential = perhaps\n")

    def test_file_without_a_section(self, write):
        path = write("")
        with pytest.raises(UsageError) as caught:
            read_extra_programs(path, {})
        assert str(caught.value) == f"--config: {path!r} has no section, like [drum-supervise] or [program:NAME]."

    def test_not_sections_of_supervisorctl_and_the_default_interface(self, read):
        extra = read(
            "[supervisord]\nnodaemon = true\n[supervisorctl]\nserverurl = unix:///x\n[ctlplugin:x]\na = b\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
        )
        assert (extra.supervisord, extra.sections) == ({}, ())


def test_control_port_without_a_password_is_a_warning(read):
    extra = read("[inet_http_server]\nport = 0.0.0.0:9001\n")
    assert extra.warnings == (
        "anyone who reaches 0.0.0.0:9001 controls this supervisor: [inet_http_server] has no username and password",
    )
    assert section(extra, "inet_http_server") == {"port": "0.0.0.0:9001"}
    assert read("[inet_http_server]\nport = 1\nusername = x\npassword = y\n").warnings == ()
