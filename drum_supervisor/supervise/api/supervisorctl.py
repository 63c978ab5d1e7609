"""supervisord's own XML-RPC namespace, for supervisorctl and other existing clients.

Starts and stops of managed programs always go to program control (`ManagedProcess`). This namespace gives better
answers, avoids a busy loop, and leaves out the programs which operators cannot start or stop.
"""

from typing import Any, TypeVar

from supervisor.http import NOT_DONE_YET
from supervisor.options import split_namespec
from supervisor.rpcinterface import SupervisorNamespaceRPCInterface, isNotRunning, isRunning, make_allfunc
from supervisor.states import RUNNING_STATES, STOPPED_STATES, ProcessStates
from supervisor.xmlrpc import Faults, RPCError

from drum_supervisor.supervise.api.deferred import retry_soon
from drum_supervisor.supervise.engine.managed_process import ManagedProcess
from drum_supervisor.supervise.engine.run import ProgramControl
from drum_supervisor.supervise.programs.program import MODEL_SERVER

T = TypeVar("T", bound=type)


def _published(namespace: T) -> T:
    # `system.listMethods` does not list inherited methods.
    for base in namespace.__mro__[1:]:
        for name, method in vars(base).items():
            if not name.startswith("_") and callable(method) and name not in vars(namespace):
                setattr(namespace, name, method)
    return namespace


@_published
class SupervisorNamespace(SupervisorNamespaceRPCInterface):
    """supervisord's methods, for managed and extra programs; it publishes their docstrings, in its form."""

    def startProcess(self, name: str, wait: bool = True) -> Any:
        """Start a program

        @param string name   Name of the program (or group:name, or group:*)
        @param boolean wait  Wait until it is running; for the model server: ready
        @return boolean result  Always true unless error
        """
        _, process = self._getGroupAndProcess(name)
        if not isinstance(process, ManagedProcess):
            return retry_soon(super().startProcess(name, wait))
        if process.get_state() in RUNNING_STATES:
            raise RPCError(Faults.ALREADY_STARTED, name)
        process.spawn()
        if process.spawnerr:
            raise RPCError(Faults.SPAWN_ERROR, process.spawnerr)
        return retry_soon(lambda: _is_ready(process)) if wait else True

    def stopProcess(self, name: str, wait: bool = True) -> Any:
        """Stop a program until it is started again by a request

        @param string name   Name of the program (or group:name, or group:*)
        @param boolean wait  Wait until it and all its descendants have exited
        @return boolean result  Always true unless error
        """
        _, process = self._getGroupAndProcess(name)
        if not isinstance(process, ManagedProcess):
            return retry_soon(super().stopProcess(name, wait))
        if process.get_state() not in RUNNING_STATES:
            raise RPCError(Faults.NOT_RUNNING, name)
        if refusal := process.stop():
            raise RPCError(Faults.FAILED, refusal)
        return retry_soon(lambda: True if process.get_state() in STOPPED_STATES else NOT_DONE_YET) if wait else True

    def startProcessGroup(self, name: str, wait: bool = True) -> Any:
        """Start all programs of a group; model-server is the group of all workers

        @param string name   Name of the group
        @param boolean wait  Wait until they are running; for workers: ready
        @return array result  An array of process status info structs
        """
        if (workers := self._workers(name)) is None:
            return retry_soon(super().startProcessGroup(name, wait))
        return retry_soon(make_allfunc(workers, isNotRunning, self.startProcess, wait=wait))

    def stopProcessGroup(self, name: str, wait: bool = True) -> Any:
        """Stop all programs of a group; model-server is the group of all workers

        @param string name   Name of the group
        @param boolean wait  Wait until they have exited
        @return array result  An array of process status info structs
        """
        if (workers := self._workers(name)) is None:
            return retry_soon(super().stopProcessGroup(name, wait))
        return retry_soon(make_allfunc(workers, isRunning, self.stopProcess, wait=wait))

    def startAllProcesses(self, wait: bool = True) -> Any:
        """Start all programs that can be started

        @param boolean wait  Wait until they are running; for workers: ready
        @return array result  An array of process status info structs
        """
        return retry_soon(super().startAllProcesses(wait))

    def stopAllProcesses(self, wait: bool = True) -> Any:
        """Stop all programs that can be stopped

        @param boolean wait  Wait until they have exited
        @return array result  An array of process status info structs
        """
        return retry_soon(super().stopAllProcesses(wait))

    def getProcessInfo(self, name: str) -> Any:
        """Get info about a program

        @param string name     Name of the program (or group:name)
        @return struct result  A structure with the data of the program
        """
        info = super().getProcessInfo(name)
        _, process = self._getGroupAndProcess(name)
        if isinstance(process, ManagedProcess) and info["state"] in (ProcessStates.FATAL, ProcessStates.BACKOFF):
            info["spawnerr"] = info["description"] = self._control().control_state(process.run.program).reason
        return info

    def getAllProcessInfo(self) -> Any:
        """Get info about all programs, including error server and stand-in while they are running

        @return array result  An array of process status results
        """
        names = [
            f"{group.config.name}:{process.config.name}"
            for group, process in super()._getAllProcesses(lexical=True)
            if self._is_controllable(process) or process.pid
        ]
        return [self.getProcessInfo(name) for name in names]

    def signalProcessGroup(self, name: str, signal: str) -> Any:
        """Send a signal to all programs of a group; model-server is the group of all workers

        @param string name    Name of the group
        @param string signal  Name or number of the signal
        @return array result  An array of process status info structs
        """
        if (workers := self._workers(name)) is None:
            return super().signalProcessGroup(name, signal)
        return make_allfunc(workers, isRunning, self.signalProcess, signal=signal)()

    def reloadConfig(self) -> Any:
        """Not supported: the configuration is read once, at the start

        @return array result  Always an error
        """
        raise RPCError(Faults.CANT_REREAD, "the configuration is read once, when the supervisor starts")

    def removeProcessGroup(self, name: str) -> Any:
        """Remove a stopped program of your configuration

        @param string name      Name of its group
        @return boolean result  Whether it was removed
        """
        group = self.supervisord.process_groups.get(name)
        if group is not None and any(isinstance(process, ManagedProcess) for process in group.processes.values()):
            raise RPCError(Faults.FAILED, f"{name} is managed by the supervisor: it can be stopped, but not removed")
        return super().removeProcessGroup(name)

    def clearLog(self) -> Any:
        """Clear the log of the supervisor

        @return boolean result  Always true
        """
        self.supervisord.options.context.main_log.clear()
        return True

    def _control(self) -> ProgramControl:
        control: ProgramControl = self.supervisord.options.context.program_control
        return control

    def _getAllProcesses(self, lexical: bool = False) -> Any:
        # For `start all` and similar commands.
        return [(group, each) for group, each in super()._getAllProcesses(lexical) if self._is_controllable(each)]

    def _getGroupAndProcess(self, name: str) -> Any:
        # Several workers form a group: `model-server`, `model-server:model-server-1`.
        group_name, process_name = split_namespec(name)
        if self._workers(group_name) is None:
            return super()._getGroupAndProcess(name)
        if process_name in (None, group_name):
            return None, None
        return super()._getGroupAndProcess(process_name)

    def _is_controllable(self, process: Any) -> bool:
        return not isinstance(process, ManagedProcess) or self._control().is_worker(process.run.program)

    def _workers(self, group: str) -> list[Any] | None:
        # None unless `group` means all of several workers.
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
    raise RPCError(
        Faults.ABNORMAL_TERMINATION, control.control_state(process.run.program).reason or process.run.program.name
    )


def make_rpc_interface(supervisord: Any, **_: str) -> SupervisorNamespace:
    # Named in the rendered configuration, called by supervisord.
    return SupervisorNamespace(supervisord)
