"""Facts about the XML-RPC interface of supervisord 4.3.0. When a `trap` fails, its override is no longer needed."""

import inspect
import os
import signal
from types import SimpleNamespace

import pytest
from supervisor.rpcinterface import SupervisorNamespaceRPCInterface
from supervisor.states import ProcessStates
from supervisor.xmlrpc import SystemNamespaceRPCInterface

from drum_supervisor.supervise.api.supervisorctl import SupervisorNamespace
from drum_supervisor.supervise.engine.run import Run
from tests.engine.test_supervisord_facts import Make, plain_process, reap


def refuse(pid: int, number: int) -> None:
    raise PermissionError


def test_trap_start_and_stop_act_on_the_process_at_once() -> None:
    assert "process.spawn()" in inspect.getsource(SupervisorNamespaceRPCInterface.startProcess)
    assert "process.stop()" in inspect.getsource(SupervisorNamespaceRPCInterface.stopProcess)


def test_trap_waiting_for_a_stop_polls_without_a_pause() -> None:
    assert "onwait.delay = 0\n" in inspect.getsource(SupervisorNamespaceRPCInterface.stopProcess)


def test_trap_clear_log_removes_any_file() -> None:
    assert "options.remove(logfile)" in inspect.getsource(SupervisorNamespaceRPCInterface.clearLog)


def test_trap_inherited_methods_are_not_listed() -> None:
    class Inherits(SupervisorNamespaceRPCInterface):  # type: ignore[misc]
        pass

    listed = SystemNamespaceRPCInterface([("supervisor", Inherits(SimpleNamespace()))]).listMethods()
    assert "supervisor.getState" not in listed


def test_our_namespace_lists_all_methods_of_supervisord() -> None:
    theirs, ours = (
        SystemNamespaceRPCInterface([("supervisor", namespace(SimpleNamespace()))]).listMethods()
        for namespace in (SupervisorNamespaceRPCInterface, SupervisorNamespace)
    )
    assert ours == theirs


def test_trap_exit_after_a_forbidden_signal_breaks_the_loop() -> None:
    options, process = plain_process("sleep 1000")
    process.spawn()
    options.kill = refuse
    process.stop()
    assert process.state == ProcessStates.UNKNOWN
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(AssertionError):
        reap(options, process)


def test_exit_after_a_forbidden_signal_is_reported(bench: Make, monkeypatch) -> None:
    made = bench({"x": ["sleep", "1000"]})
    kill = os.kill

    def step() -> None:
        if made.owner.turns == 2:
            with monkeypatch.context() as patched:
                patched.setattr(os, "kill", refuse)
                made.engine.stop("x", 1000)
            kill(runs[0].pid, signal.SIGKILL)
        if made.owner.exits:
            made.engine.end()

    runs: list[Run] = []
    made.owner.begin = lambda: runs.append(made.start("x"))
    made.owner.step = step
    made.run()
    assert made.owner.exits[0].status == signal.SIGKILL
    assert any(b"is not permitted: it runs as another user" in line for line in made.log_lines)
