"""Every metric, declared once: its names, what it says, and where its values are. docs/metrics.md is made of this.

Names are those that tools know: Prometheus's for processes, cAdvisor's for control groups, OpenTelemetry's semantic
conventions for what is sent; what is only ours begins with `drum_supervisor_` or `drum.supervisor.`.
"""

from dataclasses import dataclass
from enum import Enum

from drum_supervisor.metrics import readings
from drum_supervisor.metrics.readings import Reading


class Kind(str, Enum):
    """What the values do: a counter never falls."""

    COUNTER = "counter"
    GAUGE = "gauge"
    INFO = "info"


@dataclass(frozen=True)
class Instrument:
    """A metric in OpenTelemetry's words; `adds_up`: whether sums over its attributes make sense."""

    name: str
    unit: str
    adds_up: bool = True


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: for Prometheus; empty when it is only sent.
        read: returns its samples; none of what nobody knows.
        sent_as: None when it is not sent.
    """

    name: str
    kind: Kind
    help: str
    read: Reading
    labels: tuple[str, ...] = ()
    sent_as: Instrument | None = None


_COUNTER, _GAUGE, _INFO = Kind.COUNTER, Kind.GAUGE, Kind.INFO
_PROGRAM = ("program", "worker")
_GPU = ("gpu", "uuid", "model")

PROCESSES = (
    Metric(
        "process_cpu_seconds_total",
        _COUNTER,
        "Processor time of all processes, user and system, of all runs since the supervisor began.",
        readings.usage("cpu_seconds"),
        _PROGRAM,
        Instrument("process.cpu.time", "s"),
    ),
    Metric(
        "process_resident_memory_bytes",
        _GAUGE,
        "Resident memory, summed over all processes: pages that several have count for each.",
        readings.usage("rss_bytes"),
        _PROGRAM,
        Instrument("process.memory.usage", "By"),
    ),
    Metric(
        "process_virtual_memory_bytes",
        _GAUGE,
        "Address space, summed over all processes.",
        readings.usage("virtual_bytes"),
        _PROGRAM,
        Instrument("process.memory.virtual", "By"),
    ),
    Metric(
        "process_open_fds",
        _GAUGE,
        "Open file descriptors of all processes.",
        readings.usage("descriptors"),
        _PROGRAM,
        Instrument("process.unix.file_descriptor.count", "{file_descriptor}"),
    ),
    Metric(
        "process_max_fds",
        _GAUGE,
        "Descriptors that the process at the top may open.",
        readings.usage("max_descriptors"),
        _PROGRAM,
    ),
    Metric(
        "process_threads",
        _GAUGE,
        "Threads of all processes.",
        readings.usage("threads"),
        _PROGRAM,
        Instrument("process.thread.count", "{thread}"),
    ),
    Metric(
        "process_start_time_seconds",
        _GAUGE,
        "When the process at the top was started, since the epoch.",
        readings.usage("started_at"),
        _PROGRAM,
    ),
    Metric(
        "",
        _GAUGE,
        "Share of the processors that may be used, since the sample before.",
        readings.cpu_utilization,
        _PROGRAM,
        Instrument("process.cpu.utilization", "1", adds_up=False),
    ),
)

CONTAINER = (
    Metric(
        "container_memory_usage_bytes",
        _GAUGE,
        "Memory that is charged to the control group, caches included.",
        readings.cgroup("memory", "usage_bytes"),
        sent_as=Instrument("container.memory.usage", "By"),
    ),
    Metric(
        "container_memory_working_set_bytes",
        _GAUGE,
        "The same without inactive caches of files: the kubelet evicts by this.",
        readings.cgroup("memory", "working_set_bytes"),
        sent_as=Instrument("container.memory.working_set", "By"),
    ),
    Metric(
        "container_memory_max_usage_bytes",
        _GAUGE,
        "The highest usage so far.",
        readings.cgroup("memory", "peak_bytes"),
    ),
    Metric(
        "container_spec_memory_limit_bytes",
        _GAUGE,
        "The lowest memory limit on the way up; absent when there is none.",
        readings.cgroup("memory", "limit_bytes"),
    ),
    Metric(
        "container_oom_events_total",
        _COUNTER,
        "Processes of the group that the kernel has killed for want of memory.",
        readings.cgroup("memory", "oom_kills"),
    ),
    Metric(
        "container_cpu_usage_seconds_total",
        _COUNTER,
        "Processor time of the group.",
        readings.cgroup("cpu", "usage_seconds"),
        sent_as=Instrument("container.cpu.time", "s"),
    ),
    Metric(
        "container_cpu_cfs_periods_total",
        _COUNTER,
        "Periods of the processor quota that have passed.",
        readings.cgroup("cpu", "periods"),
    ),
    Metric(
        "container_cpu_cfs_throttled_periods_total",
        _COUNTER,
        "Those of them in which the quota was used up.",
        readings.cgroup("cpu", "throttled_periods"),
    ),
    Metric(
        "container_cpu_cfs_throttled_seconds_total",
        _COUNTER,
        "How long processes had to wait because of that, summed over processors.",
        readings.cgroup("cpu", "throttled_seconds"),
    ),
    Metric(
        "container_spec_cpu_quota",
        _GAUGE,
        "Microseconds of processor time in each period, of the lowest quota on the way up; absent when there is none.",
        readings.cpu_quota,
    ),
    Metric(
        "container_spec_cpu_period",
        _GAUGE,
        "Microseconds of that period.",
        readings.cpu_period,
    ),
    *(
        Metric(
            f"container_pressure_{resource}_{word}_seconds_total",
            _COUNTER,
            f"How long {who} of the group waited for {what}.",
            readings.cgroup(f"{resource}_pressure", kind, "total_seconds"),
        )
        for resource, what in (("cpu", "a processor"), ("memory", "memory"), ("io", "input and output"))
        for word, kind, who in (("waiting", "some", "some process"), ("stalled", "full", "all processes"))
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
        "What the model server is: fastapi, flask, gunicorn, drum, or command.",
        readings.server,
        ("server_type",),
    ),
    Metric(
        "drum_supervisor_phase",
        _GAUGE,
        "1 for the phase that the service is in, 0 for all others.",
        readings.phase,
        ("phase",),
        Instrument("drum.supervisor.phase", "1"),
    ),
    Metric(
        "drum_supervisor_phase_start_time_seconds",
        _GAUGE,
        "When that phase began, since the epoch.",
        readings.moment("since"),
    ),
    Metric(
        "drum_supervisor_ready",
        _GAUGE,
        "Whether at least one worker answers requests.",
        readings.service("ready"),
        sent_as=Instrument("drum.supervisor.ready", "1", adds_up=False),
    ),
    Metric(
        "drum_supervisor_degraded",
        _GAUGE,
        "Whether it serves, but not with all workers.",
        readings.service("degraded"),
        sent_as=Instrument("drum.supervisor.degraded", "1", adds_up=False),
    ),
    Metric(
        "drum_supervisor_error_server_active",
        _GAUGE,
        "Whether the error server answers in place of the model server.",
        readings.service("error_server_active"),
        sent_as=Instrument("drum.supervisor.error_server.active", "1", adds_up=False),
    ),
    Metric(
        "drum_supervisor_workers",
        _GAUGE,
        "How many workers there should be.",
        readings.service("workers"),
        sent_as=Instrument("drum.supervisor.workers.wanted", "{worker}"),
    ),
    Metric(
        "drum_supervisor_workers_ready",
        _GAUGE,
        "How many of them answer requests.",
        readings.service("workers_ready"),
        sent_as=Instrument("drum.supervisor.workers.ready", "{worker}"),
    ),
    Metric(
        "drum_supervisor_workers_starting",
        _GAUGE,
        "How many of them are starting.",
        readings.service("workers_coming"),
        sent_as=Instrument("drum.supervisor.workers.starting", "{worker}"),
    ),
    Metric(
        "drum_supervisor_program_running",
        _GAUGE,
        "Whether the program has a process.",
        readings.usage("is_running"),
        _PROGRAM,
        Instrument("drum.supervisor.program.running", "1"),
    ),
    Metric(
        "drum_supervisor_program_ready",
        _GAUGE,
        "Whether the program answers; absent where nobody knows.",
        readings.usage("is_ready"),
        _PROGRAM,
        Instrument("drum.supervisor.program.ready", "1"),
    ),
    Metric(
        "drum_supervisor_startup_duration_seconds",
        _GAUGE,
        "How long the last start took that made the worker ready.",
        readings.startup,
        ("worker",),
        Instrument("drum.supervisor.startup.duration", "s", adds_up=False),
    ),
    Metric(
        "drum_supervisor_failures_total",
        _COUNTER,
        "How often the service has failed, by cause.",
        readings.counts("failures"),
        ("cause",),
        Instrument("drum.supervisor.failures", "{failure}"),
    ),
    Metric(
        "drum_supervisor_restarts_total",
        _COUNTER,
        "How often workers were started again, by cause.",
        readings.counts("restarts"),
        ("cause",),
        Instrument("drum.supervisor.restarts", "{restart}"),
    ),
    Metric(
        "drum_supervisor_swaps_total",
        _COUNTER,
        "How often the error server took the model server's place, and the other way round.",
        readings.counts("swaps"),
        ("to",),
        Instrument("drum.supervisor.swaps", "{swap}"),
    ),
    Metric(
        "drum_supervisor_out_of_memory_kills_total",
        _COUNTER,
        "Processes below the programs that the kernel has killed for want of memory, since the supervisor began.",
        readings.out_of_memory_kills,
        sent_as=Instrument("drum.supervisor.out_of_memory.kills", "{process}"),
    ),
    Metric(
        "drum_supervisor_attempt",
        _GAUGE,
        "How often initialization was tried since the service was last ready, the present one included.",
        readings.service("attempt"),
        sent_as=Instrument("drum.supervisor.attempt", "{attempt}", adds_up=False),
    ),
    Metric(
        "drum_supervisor_attempts_left",
        _GAUGE,
        "Retries that will still come by themselves.",
        readings.service("attempts_left"),
        sent_as=Instrument("drum.supervisor.attempts.left", "{attempt}", adds_up=False),
    ),
    Metric(
        "drum_supervisor_next_retry_timestamp_seconds",
        _GAUGE,
        "When the next retry comes, since the epoch; absent when none is planned.",
        readings.moment("next_retry_at"),
    ),
)

GPUS = (
    Metric(
        "drum_supervisor_gpu_memory_total_bytes",
        _GAUGE,
        "Memory of the GPU.",
        readings.gpu("memory_total_bytes"),
        _GPU,
        Instrument("hw.gpu.memory.limit", "By"),
    ),
    Metric(
        "drum_supervisor_gpu_memory_used_bytes",
        _GAUGE,
        "Memory of the GPU that is used, by whomever.",
        readings.gpu("memory_used_bytes"),
        _GPU,
        Instrument("hw.gpu.memory.usage", "By"),
    ),
    Metric(
        "drum_supervisor_gpu_utilization_ratio",
        _GAUGE,
        "Share of the time in which the GPU was busy, with whatever process.",
        readings.gpu("utilization_percent", 0.01),
        _GPU,
        Instrument("hw.gpu.utilization", "1", adds_up=False),
    ),
    Metric(
        "drum_supervisor_program_gpu_memory_used_bytes",
        _GAUGE,
        "Memory of the GPU that the program's processes use.",
        readings.gpu_of_programs("memory_bytes"),
        (*_PROGRAM, *_GPU),
        Instrument("drum.supervisor.program.gpu.memory.usage", "By"),
    ),
    Metric(
        "drum_supervisor_program_gpu_utilization_ratio",
        _GAUGE,
        "Share of the time in which the program's processes kept the GPU busy.",
        readings.gpu_of_programs("utilization_percent", 0.01),
        (*_PROGRAM, *_GPU),
        Instrument("drum.supervisor.program.gpu.utilization", "1", adds_up=False),
    ),
)

METRICS = (*SERVICE, *PROCESSES, *CONTAINER, *GPUS)
