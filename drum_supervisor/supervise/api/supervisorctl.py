"""supervisord's own XML-RPC namespace, for supervisorctl and all clients that people have already.

What concerns our programs comes to the desk in any case, whoever calls (`ManagedProcess`). Here it gets answers that
say more, that come without a busy loop, and that leave out what nobody can start or stop.
"""

from typing import Any, TypeVar

from supervisor.http import NOT_DONE_YET
from supervisor.options import split_namespec
from supervisor.rpcinterface import SupervisorNamespaceRPCInterface, isNotRunning, isRunning, make_allfunc
from supervisor.states import RUNNING_STATES, STOPPED_STATES, ProcessStates
from supervisor.xmlrpc import Faults, RPCError

from drum_supervisor.supervise.engine.managed_process import ManagedProcess
from drum_supervisor.supervise.engine.run import ProgramControl
from drum_supervisor.supervise.programs.program import MODEL_SERVER

ASK_AGAIN_AFTER = (
    0.005  # seconds; supervisord asks on turns of its loop only, and the loop turns when something changes
)

T = TypeVar("T", bound=type)


def _published(namespace: T) -> T:
    """Make inherited methods its own: `system.listMethods` looks nowhere else."""
    for base in namespace.__mro__[1:]:
        for name, method in vars(base).items():
            if not name.startswith("_") and callable(method) and name not in vars(namespace):
                setattr(namespace, name, method)
    return namespace


@_published
class SupervisorNamespace(SupervisorNamespaceRPCInterface):  # type: ignore[misc]
    """The methods that people know, for our programs and the user's.

    Their docstrings are in supervisord's form: it shows them.
    """

    def startProcess(self, name: str, wait: bool = True) -> Any:
        """Start a program; for the model server: make it ready

        @param string name   Name of the program (or group:name, or group:*)
        @param boolean wait  Wait until it runs, or is ready
        @return boolean result  Always true unless error
        """
        _, process = self._getGroupAndProcess(name)
        if not isinstance(process, ManagedProcess):
            return _prompt(super().startProcess(name, wait))
        if process.get_state() in RUNNING_STATES:
            raise RPCError(Faults.ALREADY_STARTED, name)
        process.spawn()
        if process.spawnerr:
            raise RPCError(Faults.SPAWN_ERROR, process.spawnerr)
        return _prompt(lambda: _is_ready(process)) if wait else True

    def stopProcess(self, name: str, wait: bool = True) -> Any:
        """Stop a program, until it is started by the same way

        @param string name   Name of the program (or group:name, or group:*)
        @param boolean wait  Wait until it, and all that it has started, is gone
        @return boolean result  Always true unless error
        """
        _, process = self._getGroupAndProcess(name)
        if not isinstance(process, ManagedProcess):
            return _prompt(super().stopProcess(name, wait))
        if process.get_state() not in RUNNING_STATES:
            raise RPCError(Faults.NOT_RUNNING, name)
        if refusal := process.stop():
            raise RPCError(Faults.FAILED, refusal)
        return _prompt(lambda: True if process.get_state() in STOPPED_STATES else NOT_DONE_YET) if wait else True

    def startProcessGroup(self, name: str, wait: bool = True) -> Any:
        """Start all programs of a group; model-server is the group of all workers

        @param string name   The name of the group
        @param boolean wait  Wait until they run, or are ready
        @return array result  An array of process status info structs
        """
        if (workers := self._workers(name)) is None:
            return _prompt(super().startProcessGroup(name, wait))
        return _prompt(make_allfunc(workers, isNotRunning, self.startProcess, wait=wait))

    def stopProcessGroup(self, name: str, wait: bool = True) -> Any:
        """Stop all programs of a group; model-server is the group of all workers

        @param string name   The name of the group
        @param boolean wait  Wait until they are gone
        @return array result  An array of process status info structs
        """
        if (workers := self._workers(name)) is None:
            return _prompt(super().stopProcessGroup(name, wait))
        return _prompt(make_allfunc(workers, isRunning, self.stopProcess, wait=wait))

    def startAllProcesses(self, wait: bool = True) -> Any:
        """Start all programs that can be started

        @param boolean wait  Wait until they run, or are ready
        @return array result  An array of process status info structs
        """
        return _prompt(super().startAllProcesses(wait))

    def stopAllProcesses(self, wait: bool = True) -> Any:
        """Stop all programs that can be stopped

        @param boolean wait  Wait until they are gone
        @return array result  An array of process status info structs
        """
        return _prompt(super().stopAllProcesses(wait))

    def getProcessInfo(self, name: str) -> Any:
        """Get info about a program

        @param string name  The name of the program (or group:name)
        @return struct result  A structure containing data about it
        """
        info = super().getProcessInfo(name)
        _, process = self._getGroupAndProcess(name)
        if isinstance(process, ManagedProcess) and info["state"] in (ProcessStates.FATAL, ProcessStates.BACKOFF):
            info["spawnerr"] = info["description"] = self._control().control_state(process.program).reason
        return info

    def getAllProcessInfo(self) -> Any:
        """Get info about all programs; what comes and goes by itself is among them while it is there

        @return array result  An array of process status results
        """
        there = [
            f"{group.config.name}:{process.config.name}"
            for group, process in super()._getAllProcesses(lexical=True)
            if self._can_be_asked_for(process) or process.pid
        ]
        return [self.getProcessInfo(name) for name in there]

    def signalProcessGroup(self, name: str, signal: str) -> Any:
        """Send a signal to all programs of a group; model-server is the group of all workers

        @param string name    The name of the group
        @param string signal  Name or number of the signal
        @return array result  An array of process status info structs
        """
        if (workers := self._workers(name)) is None:
            return super().signalProcessGroup(name, signal)
        return make_allfunc(workers, isRunning, self.signalProcess, signal=signal)()

    def reloadConfig(self) -> Any:
        """Refused: the configuration is read once

        @return array result  Never
        """
        raise RPCError(Faults.CANT_REREAD, "the configuration is read when the supervisor starts, and not again")

    def removeProcessGroup(self, name: str) -> Any:
        """Remove a stopped program of the user's configuration

        @param string name  The name of its group
        @return boolean result  Whether it was removed
        """
        group = self.supervisord.process_groups.get(name)
        if group is not None and any(isinstance(process, ManagedProcess) for process in group.processes.values()):
            raise RPCError(Faults.FAILED, f"{name} is what the supervisor is for: it can be stopped, not removed")
        return super().removeProcessGroup(name)

    def clearLog(self) -> Any:
        """Forget the supervisor's own lines

        @return boolean result  Always true
        """
        self.supervisord.options.context.main_log.clear()
        return True

    def _control(self) -> ProgramControl:
        control: ProgramControl = self.supervisord.options.context.program_control
        return control

    def _getAllProcesses(self, lexical: bool = False) -> Any:
        """Return all that `start all` and the like are about."""
        return [(group, each) for group, each in super()._getAllProcesses(lexical) if self._can_be_asked_for(each)]

    def _getGroupAndProcess(self, name: str) -> Any:
        """Find workers also by the group that several of them are: `model-server`, `model-server:model-server-1`."""
        group_name, process_name = split_namespec(name)
        if self._workers(group_name) is None:
            return super()._getGroupAndProcess(name)
        if process_name in (None, group_name):
            return None, None
        return super()._getGroupAndProcess(process_name)

    def _can_be_asked_for(self, process: Any) -> bool:
        return not isinstance(process, ManagedProcess) or self._control().is_worker(process.program)

    def _workers(self, group: str) -> list[Any] | None:
        """Return the workers, with the group of each, if `group` means all of several."""
        if group != MODEL_SERVER or group in self.supervisord.process_groups:
            return None
        return [
            (group, process)
            for group, process in self._getAllProcesses(lexical=True)
            if isinstance(process, ManagedProcess)
        ]


def _is_ready(process: ManagedProcess) -> Any:
    state = process.get_state()
    if state == ProcessStates.RUNNING:
        return True
    if state == ProcessStates.STARTING:
        return NOT_DONE_YET
    control: ProgramControl = process.config.options.context.program_control
    raise RPCError(Faults.ABNORMAL_TERMINATION, control.control_state(process.program).reason or process.program.name)


def _prompt(answer: Any) -> Any:
    """Have supervisord ask again soon; with a delay of 0, as it has for some, it would ask without a pause."""
    if callable(answer):
        answer.delay = ASK_AGAIN_AFTER
    return answer


def make_rpc_interface(supervisord: Any, **_: str) -> SupervisorNamespace:
    """Make the namespace; named in the rendered configuration, called by supervisord."""
    return SupervisorNamespace(supervisord)
