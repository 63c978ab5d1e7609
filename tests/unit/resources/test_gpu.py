import inspect
from types import SimpleNamespace

import pynvml
import pytest

from drum_supervisor.resources.gpu import Gpu, GpuProcess, Gpus

NOW = 1_700_000_000.0
MICROSECONDS = int(NOW * 1e6)


class Error(Exception):
    pass


class MismatchError(Exception):
    pass


def process(pid, memory):
    return SimpleNamespace(pid=pid, usedGpuMemory=memory)


def sample(pid, percent, microseconds_ago=1000):
    return SimpleNamespace(pid=pid, smUtil=percent, timeStamp=MICROSECONDS - microseconds_ago)


class Library:
    """One GPU with two processes; each result may be replaced, also by an error."""

    NVMLError = Error
    NVMLLibraryMismatchError = MismatchError

    def __init__(self, **answers):
        self.answers = {
            "nvmlInit": None,
            "nvmlShutdown": None,
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetHandleByIndex": "handle",
            "nvmlDeviceGetUUID": "GPU-1",
            "nvmlDeviceGetName": "NVIDIA A100",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=40, used=10, free=30),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=45, memory=20),
            "nvmlDeviceGetComputeRunningProcesses": [process(7, 5), process(8, 6)],
            "nvmlDeviceGetComputeRunningProcesses_v2": [],
            "nvmlDeviceGetGraphicsRunningProcesses": [],
            "nvmlDeviceGetGraphicsRunningProcesses_v2": [],
            "nvmlDeviceGetProcessUtilization": [sample(7, 30)],
            **answers,
        }
        self.calls = []

    def __getattr__(self, name):
        answer = self.answers[name]

        def call(*arguments):
            self.calls.append((name, *arguments))
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def read(*pids, **answers):
    return Gpus(Library(**answers), lambda: NOW).read(pids)


def processes(*pids, **answers):
    return read(*pids, **answers)[0].processes


def test_gpu_lists_our_processes():
    assert read(7, 9) == [Gpu(0, "GPU-1", "NVIDIA A100", 40, 10, 45, (GpuProcess(7, 5, 30),))]


def test_compute_and_graphics_process_counts_once():
    found = processes(7, 8, nvmlDeviceGetGraphicsRunningProcesses=[process(7, 5), process(8, None)])
    assert [(each.pid, each.memory_bytes) for each in found] == [(7, 5), (8, 6)]


@pytest.mark.parametrize("memory", [None, 2**64 - 1])
def test_unsupported_memory_is_none(memory):
    (found,) = processes(7, nvmlDeviceGetComputeRunningProcesses=[process(7, memory)])
    assert found.memory_bytes is None


def test_utilization_is_the_latest_of_the_last_second():
    samples = [sample(7, 20, 10), sample(7, 90, 500_000), sample(8, 50, 2_000_000), sample(9, 2**32 - 1)]
    found = processes(7, 8, nvmlDeviceGetProcessUtilization=samples)
    assert [each.utilization_percent for each in found] == [20, None]


def test_utilization_is_queried_for_the_last_second():
    library = Library()
    Gpus(library, lambda: NOW).read([7])
    assert ("nvmlDeviceGetProcessUtilization", "handle", MICROSECONDS - 1_000_000) in library.calls


@pytest.mark.parametrize("error", [Error(), MismatchError()])
@pytest.mark.parametrize("question", [name for name in Library().answers if name.startswith("nvmlDeviceGet")])
def test_unsupported_query_is_no_error(question, error):
    for gpu in read(7, **{question: error}):
        assert gpu.index == 0


def test_older_driver_gets_the_older_query():
    (found,) = processes(
        7,
        nvmlDeviceGetComputeRunningProcesses=MismatchError(),
        nvmlDeviceGetComputeRunningProcesses_v2=[process(7, 99)],
    )
    assert found.memory_bytes == 99


def test_all_gpus_are_listed():
    assert [gpu.index for gpu in read(7, nvmlDeviceGetCount=8)] == list(range(8))


def test_no_driver_means_no_gpus():
    assert Gpus.open(Library(nvmlInit=Error())) is None
    assert Gpus.open(None) is None


def test_close_shuts_nvml_down():
    library = Library()
    gpus = Gpus.open(library)
    assert gpus is not None
    gpus.close()
    assert library.calls == [("nvmlInit",), ("nvmlShutdown",)]


class TestRealLibrary:
    """nvidia-ml-py itself, as far as it works without a driver."""

    @pytest.mark.parametrize("name", Library().answers)
    def test_has_every_function_with_our_arguments(self, name):
        library = Library()
        gpus = Gpus(library)
        gpus.read([7])
        gpus.close()
        for called, *arguments in library.calls:
            if called == name:
                inspect.signature(getattr(pynvml, name)).bind(*arguments)
        assert callable(getattr(pynvml, name))

    def test_has_every_field_we_read(self):
        assert {"pid", "timeStamp", "smUtil"} <= {name for name, _ in pynvml.c_nvmlProcessUtilizationSample_t._fields_}
        assert {"pid", "usedGpuMemory"} <= {name for name, _ in pynvml.c_nvmlProcessInfo_v3_t._fields_}
        assert {"total", "used"} <= {name for name, _ in pynvml.c_nvmlMemory_t._fields_}

    def test_missing_driver_raises_an_error_we_catch(self):
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            assert Gpus.open() is None
            assert Gpus(pynvml).read([1]) == []
        else:
            pynvml.nvmlShutdown()
            gpus = Gpus.open()
            assert gpus is not None
            gpus.close()
