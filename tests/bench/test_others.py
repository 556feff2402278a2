"""What other processes take of the machine's cores."""

import time

from arch.bench import others


def stat(tmp_path, busy):
    path = tmp_path / "stat"
    path.write_text(f"cpu  {busy} 0 0 99999 5 0 0 0 0 0\ncpu0 1 0 0 0 0 0 0 0 0 0\n")
    return path


def test_what_others_took_is_a_share_of_all_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(others, "STAT", stat(tmp_path, 100))
    monkeypatch.setattr(others.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(others.os, "sysconf", lambda name: 100)
    monkeypatch.setattr(others.time, "perf_counter", iter([10.0, 15.0]).__next__)
    meter = others.Meter()
    stat(tmp_path, 800)  # 7 CPU seconds in 5 seconds of two cores
    assert meter.others(own_seconds=5.0) == 0.2


def test_where_the_system_does_not_say_it_is_not_known(tmp_path, monkeypatch):
    monkeypatch.setattr(others, "STAT", tmp_path / "nowhere")
    assert others.Meter().others(0.0) is None


def test_a_process_alone_takes_about_what_it_says():
    meter, before = others.Meter(), time.process_time()
    assert 0.0 <= (meter.others(time.process_time() - before) or 0.0) <= 1.0
