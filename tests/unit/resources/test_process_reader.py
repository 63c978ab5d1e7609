import os

import pytest

from drum_supervisor.contract.masking import MASK
from drum_supervisor.resources.process_reader import ProcessReader, mask_arguments

TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
ROLLUP = "0-1 ---p 0 00:00 0 [rollup]\nPss: 30 kB\nPrivate_Clean: 10 kB\nPrivate_Dirty: 10 kB\n"


class Proc:
    """The files of one process, pid 7."""

    def __init__(self, folder):
        self.folder = folder / "7"
        self.folder.mkdir()
        (self.folder / "smaps_rollup").write_text(ROLLUP)
        (self.folder / "cmdline").write_bytes(b"/bin/server\0--token\0secret1\0")
        self.says()

    def says(self, cpu_seconds=0.0, started=100, state="S", pages=5):
        ticks = round(cpu_seconds * TICKS)
        (self.folder / "stat").write_text(
            f"7 (server) {state} 1 7 7 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 2 0 {started} 0 {pages}\n"
        )


@pytest.fixture
def proc(tmp_path):
    return Proc(tmp_path)


@pytest.fixture
def reader(clock, proc, tmp_path):
    return ProcessReader(clock, tmp_path)


def test_cpu_percent_is_since_the_previous_call(reader, proc, clock):
    reader.read(7)
    for used, percent in ((0.5, 50.0), (2.5, 200.0), (2.5, 0.0)):
        clock.now += 1.0
        proc.says(used)
        assert reader.read(7).cpu_percent == percent


def test_reused_pid_starts_afresh(reader, proc, clock):
    proc.says(1000.0, started=100)
    before = reader.read(7)
    clock.now += 1.0
    proc.says(0.0, started=200)
    after = reader.read(7)
    assert after.cpu_percent == 0.0
    assert after.started_at > before.started_at


def test_forgotten_process_starts_afresh(reader, proc, clock):
    proc.says(10.0)
    whole_life = reader.read(7).cpu_percent
    clock.now += 1.0
    assert reader.read(7).cpu_percent == 0.0
    reader.forget_all_but([8])
    assert reader.read(7).cpu_percent == pytest.approx(whole_life, rel=0.01)


def test_forgetting_frees_memory(reader):
    reader.read(7)
    reader.forget_all_but([])
    assert reader._known == {}


def test_cpu_percent_is_never_negative(reader, proc, clock):
    proc.says(5.0)
    reader.read(7)
    clock.now += 1.0
    proc.says(4.99)
    assert reader.read(7).cpu_percent == 0.0


def test_without_details_only_one_file_is_read(reader, proc):
    for name in ("cmdline", "smaps_rollup"):
        (proc.folder / name).unlink()
    process = reader.read(7, details=False)
    assert (process.command_line, process.descriptors, process.pss_bytes) == ((), None, None)
    assert process.rss_bytes == 5 * PAGE


def test_shared_memory_is_read_on_request(reader):
    process = reader.read(7, shared_memory=True)
    assert (process.uss_bytes, process.pss_bytes) == (20 * 1024, 30 * 1024)
    assert reader.read(7).pss_bytes is None


def test_shared_memory_of_a_large_process_is_not_read(clock, proc, tmp_path):
    reader = ProcessReader(clock, tmp_path, max_shared_bytes=5 * PAGE)
    assert reader.read(7, shared_memory=True).pss_bytes is not None
    proc.says(pages=6)
    assert reader.read(7, shared_memory=True).pss_bytes is None


def test_process_that_dies_while_read_is_a_zombie_or_gone(clock, proc, tmp_path):
    class Dying(ProcessReader):
        def _remember(self, pid, stat):
            after()
            return super()._remember(pid, stat)

    reader = Dying(clock, tmp_path)
    after = lambda: proc.says(state="Z", pages=0)  # noqa: E731 - replaced below
    assert reader.read(7).state == "zombie"
    proc.says()
    after = (proc.folder / "stat").unlink
    assert reader.read(7) is None


def test_inaccessible_process_is_still_shown(reader, proc):
    (proc.folder / "smaps_rollup").unlink()
    process = reader.read(7, shared_memory=True)
    assert (process.descriptors, process.pss_bytes, process.state) == (None, None, "sleeping")


def test_zombie_has_no_memory_and_no_command_line(reader, proc):
    proc.says(state="Z", pages=0)
    process = reader.read(7, shared_memory=True)
    assert (process.state, process.rss_bytes, process.pss_bytes, process.command_line) == ("zombie", 0, 0, ())


def test_changed_command_line_is_masked_again(reader, proc):
    assert reader.read(7).command_line == ("/bin/server", "--token", MASK)
    (proc.folder / "cmdline").write_bytes(b"server: password=hunter2 \0\0\0\0")
    assert reader.read(7).command_line == (f"server: password={MASK} ",)


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (b"", ()),
        (b"a\0", ("a",)),
        (b"a\0\0b\0", ("a", "", "b")),
        (b"no end", ("no end",)),
        (b"\xff\xfe\0", ("\N{REPLACEMENT CHARACTER}" * 2,)),
    ],
)
def test_arguments_are_masked_one_by_one(arguments, texts):
    assert mask_arguments(arguments) == texts
