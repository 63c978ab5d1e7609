"""Restart delays of the exporter."""

from drum_supervisor.supervise.lifecycle.exporter import restart_delay


def test_restart_delay_grows_to_its_maximum():
    assert [restart_delay(deaths) for deaths in (1, 2, 3, 6, 7, 10**6)] == [1.0, 2.0, 4.0, 32.0, 60.0, 60.0]
