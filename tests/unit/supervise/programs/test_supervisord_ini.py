"""What a configuration file may say to supervisord: each key is honoured, or refused with its line and a reason."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from drum_supervisor.config.settings import Settings, choose, resolve
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.supervise.programs import supervisord_keys
from drum_supervisor.supervise.programs.supervisord_ini import ExtraPrograms, absolute, further

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file, and return its path."""

    def made(text: str, name: str = "further.conf") -> str:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return made


@pytest.fixture
def read(write: Write) -> Callable[..., ExtraPrograms]:
    return lambda text, **environ: further(write(text), environ)


def section(found: ExtraPrograms, name: str) -> dict[str, str]:
    return next(dict(section.values) for section in found.sections if section.name == name)


def test_without_a_file_there_is_nothing():
    assert further("", {}) == ExtraPrograms()


def test_only_settings_of_ours_are_nothing_to_supervisord(read):
    found = read("[drum-supervise]\nworkers = 2\n")
    assert (found.sections, found.supervisord, found.warnings) == ((), {}, ())


class TestPrograms:
    def test_keep_what_they_say_and_write_to_us(self, read):
        found = read('[program:metrics]\ncommand = serve %(program_name)s ; to all\nenvironment = A="1",\n  B="2"\n')
        assert section(found, "program:metrics") == {
            "command": "serve %(program_name)s",
            "environment": 'A="1",\nB="2"',
            "stdout_logfile": "/dev/stdout",
            "stderr_logfile": "/dev/stderr",
        }

    @pytest.mark.parametrize(
        ("given", "meant"),
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
    def test_log_files_that_are_our_output_are_never_opened(self, read, given, meant):
        found = read(f"[program:x]\ncommand = x\nstdout_logfile = {given}\n")
        assert section(found, "program:x")["stdout_logfile"] == meant

    def test_inherit_from_the_supervisor_what_they_do_not_say(self, read):
        found = read("[supervisord]\numask = 027\ndirectory = /srv\n[program:x]\ncommand = x\numask = 077\n")
        values = section(found, "program:x")
        assert (values["umask"], values["directory"]) == ("077", "/srv")
        assert found.ours["model-server"] == {"umask": "027", "directory": "/srv"}
        assert found.supervisord == {}

    @pytest.mark.parametrize(("text", "essential"), [("true", {"x"}), ("no", set()), ("", set())])
    def test_that_are_essential_are_told_apart(self, read, text, essential):
        line = f"essential = {text}\n" if text else ""
        found = read(f"[program:x]\ncommand = x\n{line}")
        assert found.essential == essential
        assert "essential" not in section(found, "program:x")

    def test_know_every_key_that_supervisord_knows(self):
        """A newer supervisord may know more: then they are to be looked at."""
        source = inspect.getsource(ServerOptions._processes_from_section)
        asked = set(re.findall(r"get\(section, ?'(\w+)'", source))
        channels = set(re.findall(r"= '%s_(\w+)' % k", source))
        known = asked | {f"{stream}_{name}" for stream in ("stdout", "stderr") for name in channels}
        assert known | {"essential"} == supervisord_keys.ALLOWED["program"]


class TestOurs:
    def test_run_as_the_file_says(self, read):
        found = read(
            '[program:model-server]\nenvironment = A="1"\nstopsignal = QUIT\n[program:error-server]\numask = 0\n'
        )
        assert found.ours["model-server"] == {"environment": 'A="1"', "stopsignal": "QUIT"}
        assert found.ours["error-server"] == {"umask": "0"}
        assert found.sections == ()

    def test_in_a_directory_of_their_own_mean_the_same_files(self, read, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        settings: Settings = resolve(choose({"code_dir": "model"}, {}))
        assert read("[program:model-server]\ndirectory = /srv\n").has_directory
        assert absolute(settings).code_dir == str(tmp_path / "model")
        assert absolute(settings).class_labels_file == ""


class TestIncluded:
    def test_files_are_found_beside_the_file_and_know_where_they_are(self, write):
        path = write("[include]\nfiles = conf.d/*.conf %(ENV_MORE)s\n")
        write("[program:b]\ncommand = %(here)s/b\n", "conf.d/b.conf")
        write("[program:a]\ncommand = a\n", "conf.d/a.conf")
        write("[program:c]\ncommand = c\n", "c.ini")
        found = further(path, {"MORE": "c.ini"})
        assert [section.name for section in found.sections] == ["program:a", "program:b", "program:c"]
        assert section(found, "program:b")["command"] == str(Path(path).parent / "conf.d/b")

    def test_nothing_that_matches_is_a_warning(self, write):
        path = write("[include]\nfiles = none/*.conf\n")
        assert further(path, {}).warnings == (f"--config: no file matches 'none/*.conf', which {path!r} includes",)

    @pytest.mark.parametrize(
        ("included", "complaint"),
        [
            (
                "[program:x]\ncommand = y\n",
                r"other\.conf', line 1: \[program:x\] is in '.*further\.conf', line 3 already",
            ),
            ("[drum-supervise]\n", r"\[drum-supervise\] cannot be in a file that is included"),
            ("[include]\nfiles = more\n", r"\[include\] cannot be in a file that is included"),
        ],
    )
    def test_files_may_not_say_it_twice_or_go_on(self, write, included, complaint):
        path = write("[include]\nfiles = other.conf\n[program:x]\ncommand = x\n")
        write(included, "other.conf")
        with pytest.raises(UsageError, match=complaint):
            further(path, {})

    def test_a_variable_that_is_not_there_is_named(self, read):
        with pytest.raises(UsageError, match=r"line 2: 'files' in \[include\] is refused: cannot be expanded: 'ENV_X'"):
            read("[include]\nfiles = %(ENV_X)s\n")


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("[supervisord]\nlogfile = /x\n", r"line 2: 'logfile' in \[supervisord\] is refused: .*--log-level"),
            (
                "[supervisord]\nuser = nobody\n",
                r"'user' in \[supervisord\] is refused: start drum-supervise as that user",
            ),
            ("[supervisord]\nnodaemon = false\n", r"'nodaemon' .*stays in the foreground"),
            ("[supervisord]\nnodeamon = true\n", r"'nodeamon' in \[supervisord\] is refused: there is no such key"),
            ("[unix_http_server]\nfile = /x\n", r"line 1: \[unix_http_server\] is refused: the control socket is"),
            ("[fcgi-program:x]\nsocket = tcp://x:1\n", r"\[fcgi-program:x\] is refused: .*use \[program:NAME\]"),
            ("[rpcinterface:more]\nx = 1\n", r"\[rpcinterface:more\] is refused: it runs code in the supervisor"),
            ("[programm:x]\ncommand = x\n", r"line 1: there is no section \[programm:x\]"),
            (
                "[program:x]\n\ncommand = x\nautostrat = 1\n",
                r"line 4: 'autostrat' in \[program:x\] is refused: there is no",
            ),
            ("[program:x]\nautostart = true\n", r"\[program:x\] has no command"),
            (
                "[program:x]\ncommand = x\nessential = perhaps\n",
                r"line 3: 'essential' in \[program:x\] is refused: write",
            ),
            ("[program:stand-in]\ncommand = x\n", r"\[program:stand-in\] is refused: stand-in is a name of ours"),
            ("[program:exporter]\ncommand = x\n", "exporter is a name of ours"),
            ("[program:model-server-2]\ncommand = x\n", "is a name of ours"),
            ("[eventlistener:model-server]\ncommand = x\n", "is a name of ours"),
            ("[group:g]\nprograms = x,model-server\n", r"'programs' in \[group:g\] .*model-server belongs to no group"),
            ("[program:model-server]\ncommand = x\n", r"'command' in \[program:model-server\] .*stands after --"),
            ("[program:model-server]\nautorestart = true\n", r"the policy decides on that: --max-restarts"),
            ("[program:model-server]\nnumprocs = 2\n", r"--workers says how many"),
            ("[program:model-server]\nstdout_logfile = /x\n", r"its output passes through"),
            ("[program:model-server]\nstopwaitsecs = 2\n", r"--stop-timeout says that"),
            ("[program:error-server]\nuser = nobody\n", r"it has to read the failure"),
            ("[eventlistener:x]\ncommand = x\nresult_handler = a:b\n", r"it runs code in the supervisor"),
            ("", r"has no section, like \[drum-supervise\] or \[program:NAME\]"),
        ],
    )
    def test_with_the_line_and_a_reason(self, read, text, complaint):
        with pytest.raises(UsageError, match=complaint) as caught:
            read(text)
        assert str(caught.value).startswith("--config: '")
        assert "\n" not in str(caught.value)

    def test_is_not_what_is_meant_for_others_or_says_nothing_new(self, read):
        found = read(
            "[supervisord]\nnodaemon = true\n[supervisorctl]\nserverurl = unix:///x\n[ctlplugin:x]\na = b\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
        )
        assert (found.supervisord, found.sections) == ({}, ())


def test_a_control_port_without_a_password_is_a_warning(read):
    found = read("[inet_http_server]\nport = 0.0.0.0:9001\n")
    (warning,) = found.warnings
    assert warning.startswith("whoever reaches 0.0.0.0:9001 controls this supervisor")
    assert section(found, "inet_http_server") == {"port": "0.0.0.0:9001"}
    assert read("[inet_http_server]\nport = 1\nusername = x\npassword = y\n").warnings == ()
