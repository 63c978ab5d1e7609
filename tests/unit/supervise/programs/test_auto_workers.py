"""`--workers auto`: the capacity for workers, with and without limits of a cgroup."""

import os
from pathlib import Path

import pytest

from drum_supervisor.config.settings import AUTO, choose, resolve
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.supervise.programs.auto_workers import (
    BARE_WORKER_BYTES,
    Capacity,
    measure_folder,
    read_capacity,
)
from drum_supervisor.supervise.programs.launch import plan_launch
from tests.unit.control_groups import MIB, PID, lay_out

GIB = 1024 * MIB


class TestCapacity:
    @pytest.mark.parametrize(
        ("processors", "memory", "count"),
        [
            (2.0, 64 * GIB, 2),
            (2.9, 64 * GIB, 2),
            (0.25, 64 * GIB, 1),
            (64.0, 1 * GIB, 4),
            (64.0, 100 * MIB, 1),
            (64.0, 0, 1),
            (8.0, None, 8),
            (1000.0, None, 199),
        ],
    )
    def test_counts_workers_that_fit(self, processors, memory, count):
        assert Capacity(processors, memory).count_workers(BARE_WORKER_BYTES) == count

    def test_larger_workers_are_fewer(self):
        assert Capacity(8.0, 8 * GIB).count_workers(3 * GIB) == 2


class TestReadCapacity:
    @pytest.fixture
    def recorded(self, tmp_path):
        return lambda name: lay_out(name, tmp_path)

    @pytest.mark.parametrize(("name", "quota"), [("docker_v1", 2.0), ("docker_v2", 1.5)])
    def test_has_the_limits_of_the_cgroup(self, recorded, name, quota):
        found = read_capacity(PID, 64, recorded(name))
        assert found.processors == quota
        assert found.memory_bytes is not None
        assert 0 < found.memory_bytes < 512 * MIB

    def test_is_at_most_the_free_memory_of_the_machine(self, recorded):
        root = recorded("docker_v2")
        (root / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:      64 kB\n")
        assert read_capacity(PID, 64, root).memory_bytes == 64 * 1024

    def test_without_limits_is_that_of_the_machine(self, tmp_path):
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/meminfo").write_text("MemAvailable:    2048 kB\n")
        assert read_capacity(PID, 64, tmp_path) == Capacity(64, 2048 * 1024)

    def test_unknown_memory_is_none(self, tmp_path):
        assert read_capacity(PID, 64, tmp_path).memory_bytes is None


class TestAuto:
    def resolve_auto(self, *argv: str, **flags: str):
        settings = resolve(choose({"workers": "auto", **flags}, {}))
        assert settings.workers == AUTO
        launch = plan_launch(settings, argv, {})
        return launch.settings, launch.workers_note

    def test_shared_listener_allows_several_workers(self, tmp_path):
        for settings, sentence in (
            self.resolve_auto(code_dir=str(tmp_path)),
            self.resolve_auto("uvicorn", "a:b", "--fd", "{fd}"),
        ):
            assert 1 <= settings.workers <= len(os.sched_getaffinity(0))
            assert sentence.startswith(f"workers: {settings.workers}, for ")

    def test_command_that_binds_the_port_has_one_worker(self):
        settings, sentence = self.resolve_auto("flask", "run")
        assert (settings.workers, sentence) == (1, "workers: 1, because the command binds the port itself")

    def test_number_is_kept(self):
        launch = plan_launch(resolve(choose({"workers": "3", "code_dir": "model"}, {})), (), {})
        assert (launch.settings.workers, launch.workers_note) == (3, "")

    @pytest.mark.parametrize("variable", ["MAX_WORKERS", "DRUM_SUPERVISOR_WORKERS"])
    def test_auto_can_come_from_the_environment(self, variable):
        assert resolve(choose({}, {variable: "Auto"})).workers == AUTO

    @pytest.mark.parametrize("text", ["0", "200", "automatic", "-1"])
    def test_other_values_are_refused(self, text):
        with pytest.raises(UsageError, match="from 1 to 199 or auto"):
            resolve(choose({"workers": text}, {}))


class TestMeasureFolder:
    def test_adds_up_all_files(self, tmp_path: Path):
        (tmp_path / "sub").mkdir()
        (tmp_path / "a.pkl").write_bytes(b"x" * 1000)
        (tmp_path / "sub" / "b").write_bytes(b"x" * 24)
        assert measure_folder(str(tmp_path)) == 1024

    def test_symlinks_count_once_as_in_kubernetes_volumes(self, tmp_path: Path):
        (tmp_path / "..data").mkdir()
        (tmp_path / "..data" / "a.pkl").write_bytes(b"x" * 1000)
        (tmp_path / "a.pkl").symlink_to("..data/a.pkl")
        (tmp_path / "gone").symlink_to("nowhere")
        assert measure_folder(str(tmp_path)) == 1000

    def test_missing_folder_has_no_bytes(self, tmp_path: Path):
        assert measure_folder(str(tmp_path / "none")) == 0
        assert measure_folder("") == 0
