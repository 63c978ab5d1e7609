"""Every metric, declared once. The tables of docs/metrics.md are rendered from this.

Names follow Prometheus's client libraries for processes, cAdvisor for control groups, and OpenTelemetry's semantic
conventions; all others begin with `drum_supervisor_` or `drum.supervisor.`.
"""

from dataclasses import dataclass
from enum import Enum

from drum_supervisor.metrics import readings
from drum_supervisor.metrics.readings import Reading


class Kind(str, Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    INFO = "info"


@dataclass(frozen=True)
class Instrument:
    """A metric of OpenTelemetry."""

    name: str
    unit: str
    is_additive: bool = True  # whether sums over its attributes make sense


@dataclass(frozen=True)
class Metric:
    name: str  # for Prometheus; empty for a metric of OpenTelemetry alone
    kind: Kind
    help: str
    read: Reading
    labels: tuple[str, ...] = ()
    instrument: Instrument | None = None  # None for a metric of Prometheus alone


_COUNTER, _GAUGE, _INFO = Kind.COUNTER, Kind.GAUGE, Kind.INFO
_PROGRAM = ("program", "worker")
_GPU = ("gpu", "uuid", "model")


def _stalled(name: str, who: str, what: str, read: Reading) -> Metric:
    name = f"container_pressure_{name}_seconds_total"
    return Metric(name, _COUNTER, f"Time {who} of the group waited for {what}.", read)


PROCESSES = (
    Metric(
        "process_cpu_seconds_total",
        _COUNTER,
        "CPU time (user and system) of all processes, over all runs since the supervisor started.",
        readings.usage(lambda usage: usage.cpu_seconds),
        _PROGRAM,
        Instrument("process.cpu.time", "s"),
    ),
    Metric(
        "process_resident_memory_bytes",
        _GAUGE,
        "Resident memory, summed over all processes; shared pages count once per process.",
        readings.usage(lambda usage: usage.rss_bytes),
        _PROGRAM,
        Instrument("process.memory.usage", "By"),
    ),
    Metric(
        "process_virtual_memory_bytes",
        _GAUGE,
        "Virtual memory, summed over all processes.",
        readings.usage(lambda usage: usage.virtual_bytes),
        _PROGRAM,
        Instrument("process.memory.virtual", "By"),
    ),
    Metric(
        "process_open_fds",
        _GAUGE,
        "Open file descriptors of all processes.",
        readings.usage(lambda usage: usage.descriptors),
        _PROGRAM,
        Instrument("process.unix.file_descriptor.count", "{file_descriptor}"),
    ),
    Metric(
        "process_max_fds",
        _GAUGE,
        "File descriptor limit of the root process.",
        readings.usage(lambda usage: usage.max_descriptors),
        _PROGRAM,
    ),
    Metric(
        "process_threads",
        _GAUGE,
        "Threads of all processes.",
        readings.usage(lambda usage: usage.threads),
        _PROGRAM,
        Instrument("process.thread.count", "{thread}"),
    ),
    Metric(
        "process_start_time_seconds",
        _GAUGE,
        "Start of the root process, in seconds since the epoch.",
        readings.usage(lambda usage: usage.started_at),
        _PROGRAM,
    ),
    Metric(
        "",
        _GAUGE,
        "CPU usage since the previous sample, as a share of the available processors.",
        readings.cpu_utilization,
        _PROGRAM,
        Instrument("process.cpu.utilization", "1", is_additive=False),
    ),
)

CONTAINER = (
    Metric(
        "container_memory_usage_bytes",
        _GAUGE,
        "Memory charged to the control group, caches included.",
        readings.value(lambda report: report.stats.cgroup.memory.usage_bytes),
        instrument=Instrument("container.memory.usage", "By"),
    ),
    Metric(
        "container_memory_working_set_bytes",
        _GAUGE,
        "Memory usage without inactive file caches; the kubelet evicts by it.",
        readings.value(lambda report: report.stats.cgroup.memory.working_set_bytes),
        instrument=Instrument("container.memory.working_set", "By"),
    ),
    Metric(
        "container_memory_max_usage_bytes",
        _GAUGE,
        "Highest memory usage so far.",
        readings.value(lambda report: report.stats.cgroup.memory.peak_bytes),
    ),
    Metric(
        "container_spec_memory_limit_bytes",
        _GAUGE,
        "Lowest memory limit of the group and its ancestors; absent without one.",
        readings.value(lambda report: report.stats.cgroup.memory.limit_bytes),
    ),
    Metric(
        "container_oom_events_total",
        _COUNTER,
        "Processes of the group killed by the kernel (out of memory).",
        readings.value(lambda report: report.stats.cgroup.memory.oom_kills),
    ),
    Metric(
        "container_cpu_usage_seconds_total",
        _COUNTER,
        "CPU time of the group.",
        readings.value(lambda report: report.stats.cgroup.cpu.usage_seconds),
        instrument=Instrument("container.cpu.time", "s"),
    ),
    Metric(
        "container_cpu_cfs_periods_total",
        _COUNTER,
        "Elapsed periods of the CPU quota.",
        readings.value(lambda report: report.stats.cgroup.cpu.periods),
    ),
    Metric(
        "container_cpu_cfs_throttled_periods_total",
        _COUNTER,
        "Periods in which the CPU quota was used up.",
        readings.value(lambda report: report.stats.cgroup.cpu.throttled_periods),
    ),
    Metric(
        "container_cpu_cfs_throttled_seconds_total",
        _COUNTER,
        "Time processes were throttled by the CPU quota, summed over processors.",
        readings.value(lambda report: report.stats.cgroup.cpu.throttled_seconds),
    ),
    Metric(
        "container_spec_cpu_quota",
        _GAUGE,
        "Lowest CPU quota of the group and its ancestors, in microseconds per period; absent without one.",
        readings.value(readings.cpu_quota),
    ),
    Metric(
        "container_spec_cpu_period",
        _GAUGE,
        "Period of the CPU quota, in microseconds.",
        readings.value(readings.cpu_period),
    ),
    _stalled(
        "cpu_waiting",
        "some process",
        "a processor",
        readings.value(lambda report: report.stats.cgroup.cpu_pressure.waiting_seconds),
    ),
    _stalled(
        "cpu_stalled",
        "all processes",
        "a processor",
        readings.value(lambda report: report.stats.cgroup.cpu_pressure.stalled_seconds),
    ),
    _stalled(
        "memory_waiting",
        "some process",
        "memory",
        readings.value(lambda report: report.stats.cgroup.memory_pressure.waiting_seconds),
    ),
    _stalled(
        "memory_stalled",
        "all processes",
        "memory",
        readings.value(lambda report: report.stats.cgroup.memory_pressure.stalled_seconds),
    ),
    _stalled(
        "io_waiting",
        "some process",
        "input and output",
        readings.value(lambda report: report.stats.cgroup.io_pressure.waiting_seconds),
    ),
    _stalled(
        "io_stalled",
        "all processes",
        "input and output",
        readings.value(lambda report: report.stats.cgroup.io_pressure.stalled_seconds),
    ),
)

SERVICE = (
    Metric(
        "drum_supervisor_build_info",
        _INFO,
        "Versions of the supervisor and of Python.",
        readings.build,
        ("version", "python_version"),
    ),
    Metric(
        "drum_supervisor_server_info",
        _INFO,
        "Type of the model server: fastapi, flask, gunicorn, drum, or command.",
        readings.server,
        ("server_type",),
    ),
    Metric(
        "drum_supervisor_phase",
        _GAUGE,
        "1 for the current phase of the service, 0 for the others.",
        readings.phase,
        ("phase",),
        Instrument("drum.supervisor.phase", "1"),
    ),
    Metric(
        "drum_supervisor_phase_start_time_seconds",
        _GAUGE,
        "Start of the current phase, in seconds since the epoch.",
        readings.timestamp(lambda report: report.service.since),
    ),
    Metric(
        "drum_supervisor_ready",
        _GAUGE,
        "Whether at least one worker is ready.",
        readings.value(lambda report: report.service.ready),
        instrument=Instrument("drum.supervisor.ready", "1", is_additive=False),
    ),
    Metric(
        "drum_supervisor_degraded",
        _GAUGE,
        "Whether the service runs with fewer ready workers than configured.",
        readings.value(lambda report: report.service.degraded),
        instrument=Instrument("drum.supervisor.degraded", "1", is_additive=False),
    ),
    Metric(
        "drum_supervisor_error_server_active",
        _GAUGE,
        "Whether the error server answers in place of the model server.",
        readings.value(lambda report: report.service.error_server_active),
        instrument=Instrument("drum.supervisor.error_server.active", "1", is_additive=False),
    ),
    Metric(
        "drum_supervisor_workers",
        _GAUGE,
        "Configured workers.",
        readings.value(lambda report: report.service.workers),
        instrument=Instrument("drum.supervisor.workers.wanted", "{worker}"),
    ),
    Metric(
        "drum_supervisor_workers_ready",
        _GAUGE,
        "Workers that are ready.",
        readings.value(lambda report: report.service.workers_ready),
        instrument=Instrument("drum.supervisor.workers.ready", "{worker}"),
    ),
    Metric(
        "drum_supervisor_workers_starting",
        _GAUGE,
        "Workers that are starting.",
        readings.value(lambda report: report.service.workers_coming),
        instrument=Instrument("drum.supervisor.workers.starting", "{worker}"),
    ),
    Metric(
        "drum_supervisor_program_running",
        _GAUGE,
        "Whether the program is running.",
        readings.usage(lambda usage: usage.is_running),
        _PROGRAM,
        Instrument("drum.supervisor.program.running", "1"),
    ),
    Metric(
        "drum_supervisor_program_ready",
        _GAUGE,
        "Whether the program is ready; absent when unknown.",
        readings.usage(lambda usage: usage.is_ready),
        _PROGRAM,
        Instrument("drum.supervisor.program.ready", "1"),
    ),
    Metric(
        "drum_supervisor_startup_duration_seconds",
        _GAUGE,
        "Duration of the worker's last successful start.",
        readings.counts(lambda report: report.service.startup_seconds),
        ("worker",),
        Instrument("drum.supervisor.startup.duration", "s", is_additive=False),
    ),
    Metric(
        "drum_supervisor_failures_total",
        _COUNTER,
        "Failures of the service, by cause.",
        readings.counts(lambda report: report.service.failures),
        ("cause",),
        Instrument("drum.supervisor.failures", "{failure}"),
    ),
    Metric(
        "drum_supervisor_restarts_total",
        _COUNTER,
        "Restarts of workers, by cause.",
        readings.counts(lambda report: vars(report.service.restarts)),
        ("cause",),
        Instrument("drum.supervisor.restarts", "{restart}"),
    ),
    Metric(
        "drum_supervisor_swaps_total",
        _COUNTER,
        "Swaps between model server and error server, by the server swapped in.",
        readings.counts(lambda report: report.service.swaps),
        ("to",),
        Instrument("drum.supervisor.swaps", "{swap}"),
    ),
    Metric(
        "drum_supervisor_out_of_memory_kills_total",
        _COUNTER,
        "Processes of the programs killed by the kernel (out of memory), since the supervisor started.",
        readings.value(readings.oom_kills),
        instrument=Instrument("drum.supervisor.out_of_memory.kills", "{process}"),
    ),
    Metric(
        "drum_supervisor_attempt",
        _GAUGE,
        "Attempts to initialize since the service was last ready, the current one included.",
        readings.value(lambda report: report.service.attempt),
        instrument=Instrument("drum.supervisor.attempt", "{attempt}", is_additive=False),
    ),
    Metric(
        "drum_supervisor_attempts_left",
        _GAUGE,
        "Automatic retries left.",
        readings.value(lambda report: report.service.attempts_left),
        instrument=Instrument("drum.supervisor.attempts.left", "{attempt}", is_additive=False),
    ),
    Metric(
        "drum_supervisor_next_retry_timestamp_seconds",
        _GAUGE,
        "Time of the next retry, in seconds since the epoch; absent when none is planned.",
        readings.timestamp(lambda report: report.service.next_retry_at),
    ),
)

GPUS = (
    Metric(
        "drum_supervisor_gpu_memory_total_bytes",
        _GAUGE,
        "Total memory of the GPU.",
        readings.gpu(lambda gpu: gpu.memory_total_bytes),
        _GPU,
        Instrument("hw.gpu.memory.limit", "By"),
    ),
    Metric(
        "drum_supervisor_gpu_memory_used_bytes",
        _GAUGE,
        "Used memory of the GPU, by all processes.",
        readings.gpu(lambda gpu: gpu.memory_used_bytes),
        _GPU,
        Instrument("hw.gpu.memory.usage", "By"),
    ),
    Metric(
        "drum_supervisor_gpu_utilization_ratio",
        _GAUGE,
        "Share of time the GPU was busy, for any process.",
        readings.gpu(lambda gpu: gpu.utilization_percent, 0.01),
        _GPU,
        Instrument("hw.gpu.utilization", "1", is_additive=False),
    ),
    Metric(
        "drum_supervisor_program_gpu_memory_used_bytes",
        _GAUGE,
        "GPU memory used by the program's processes.",
        readings.program_gpu(lambda process: process.memory_bytes),
        (*_PROGRAM, *_GPU),
        Instrument("drum.supervisor.program.gpu.memory.usage", "By"),
    ),
    Metric(
        "drum_supervisor_program_gpu_utilization_ratio",
        _GAUGE,
        "Share of time the program's processes kept the GPU busy.",
        readings.program_gpu(lambda process: process.utilization_percent, 0.01),
        (*_PROGRAM, *_GPU),
        Instrument("drum.supervisor.program.gpu.utilization", "1", is_additive=False),
    ),
)

METRICS = (*SERVICE, *PROCESSES, *CONTAINER, *GPUS)
