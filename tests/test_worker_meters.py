"""What the worker says of frequency, temperature and energy, and that it asks for them rarely.

The trees below are written after the kernel's documentation (admin-guide/pm/cpufreq.rst, hwmon/
sysfs-interface.rst, thermal/sysfs-api.rst, power/powercap/powercap.rst); none is a recording.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.worker_unit import Unit

from hpcagent.measure import worker


def tree(root: Path, files: dict[str, str]) -> worker.Meters:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return worker.Meters(str(root))


def package(number: int, energy: int, name: str = "", most: int = 262143328850) -> dict[str, str]:
    folder = f"sys/class/powercap/intel-rapl:{number}"
    return {
        f"{folder}/name": (name or f"package-{number}") + "\n",
        f"{folder}/energy_uj": f"{energy}\n",
        f"{folder}/max_energy_range_uj": f"{most}\n",
    }


CORES = {f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq": f"{k}\n" for n, k in
         enumerate((3000000, 2000000, 1000000))}  # fmt: skip
CPUINFO = """processor\t: 0
model name\t: Some CPU @ 2.10GHz
cpu MHz\t\t: 2100.000

processor\t: 1
cpu MHz\t\t: 2500.500
"""


@pytest.mark.parametrize(("cpus", "mhz"), [([0], 3000.0), ([0, 2], 2000.0), ([1, 9], 2000.0)])
def test_the_frequency_is_that_of_the_bound_cpus(
    tmp_path: Path, cpus: list[int], mhz: float
) -> None:
    meters = tree(tmp_path, {**CORES, "proc/cpuinfo": CPUINFO})
    assert meters.mhz(cpus) == mhz


def test_without_cpufreq_the_frequency_is_that_of_cpuinfo(tmp_path: Path) -> None:
    meters = tree(tmp_path, {"proc/cpuinfo": CPUINFO})
    assert (meters.mhz([1]), meters.mhz([0, 1])) == (2500.5, 2300.25)
    assert meters.mhz([7]) is None
    assert "mhz" not in meters.absent


def hwmon(number: int, chip: str, sensors: dict[str, str]) -> dict[str, str]:
    folder = f"sys/class/hwmon/hwmon{number}"
    return {f"{folder}/name": chip + "\n"} | {f"{folder}/{k}": v + "\n" for k, v in sensors.items()}


def zone(number: int, type: str, value: str) -> dict[str, str]:
    folder = f"sys/class/thermal/thermal_zone{number}"
    return {f"{folder}/type": type + "\n", f"{folder}/temp": value + "\n"}


TEMPERATURES: dict[str, tuple[dict[str, str], float | None]] = {
    "the hotter package": (
        zone(0, "acpitz", "99000")
        | zone(1, "x86_pkg_temp", "61000")
        | zone(10, "x86_pkg_temp", "64500"),
        64.5,
    ),
    "coretemp": (
        hwmon(0, "nvme", {"temp1_input": "90000"})
        | hwmon(
            1,
            "coretemp",
            {
                "temp1_label": "Package id 0",
                "temp1_input": "55000",
                "temp2_label": "Core 0",
                "temp2_input": "77000",
            },
        ),
        55.0,
    ),
    "Tdie before Tctl": (
        hwmon(
            2,
            "k10temp",
            {
                "temp1_label": "Tctl",
                "temp1_input": "70000",
                "temp2_label": "Tdie",
                "temp2_input": "60000",
            },
        ),
        60.0,
    ),
    "without labels": (hwmon(0, "k10temp", {"temp1_input": "48250"}), 48.25),
    "other architectures": (zone(0, "cpu-thermal", "41000") | zone(1, "gpu", "80000"), 41.0),
    "not connected": (zone(0, "x86_pkg_temp", "-273200"), None),
    "spoilt": (zone(0, "x86_pkg_temp", "warm"), None),
    "none": ({}, None),
}


@pytest.mark.parametrize("name", TEMPERATURES)
def test_the_temperature_is_that_of_a_package(tmp_path: Path, name: str) -> None:
    files, celsius = TEMPERATURES[name]
    meters = tree(tmp_path, files)
    assert meters.celsius() == celsius
    assert ("celsius" in meters.absent) == (celsius is None)


def test_energy_is_the_sum_of_packages_without_their_parts_and_the_board(tmp_path: Path) -> None:
    parts = {
        "sys/class/powercap/intel-rapl:0:0/name": "dram\n",
        "sys/class/powercap/intel-rapl:0:0/energy_uj": "5\n",
        **package(2, 7, "psys"),
    }
    meters = tree(tmp_path, {**package(0, 1_000_000), **package(1, 2_000_000), **parts})
    before = meters.energy()
    tree(tmp_path, {**package(0, 1_500_000), **package(1, 2_250_000), **package(2, 10**9, "psys")})
    assert meters.joules(before, meters.energy()) == 0.75
    assert "joules" not in meters.absent


@given(
    st.integers(10**6, 2**48).flatmap(
        lambda most: st.tuples(st.just(most), st.integers(0, most - 1), st.integers(0, most - 1))
    )
)
def test_a_counter_that_wraps_once_between_two_readings_is_followed(
    values: tuple[int, int, int],
) -> None:
    most, first, used = values
    meters = worker.Meters("/nowhere")
    meters._packages = [("", most)]
    assert meters.joules([first], [(first + used) % most]) == used / 1e6


def test_a_counter_without_a_range_that_goes_back_gives_nothing(tmp_path: Path) -> None:
    meters = tree(tmp_path, package(0, 10, most=0))
    assert meters.joules([10], [5]) is None
    assert meters.joules([10], [None]) is None


def test_absent_meters_come_with_their_reason(tmp_path: Path) -> None:
    absent = tree(tmp_path, {}).absent
    assert absent["joules"].startswith("no readable RAPL: no package in ")
    assert set(absent) == {"joules", "celsius", "mhz"}
    files = package(0, 1) | package(1, 1)
    del files["sys/class/powercap/intel-rapl:1/energy_uj"]
    absent = tree(tmp_path, files).absent
    assert absent["joules"].endswith("intel-rapl:1/energy_uj: No such file or directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_energy_that_only_root_may_read_is_absent(tmp_path: Path) -> None:
    """As since Linux 5.10 (CVE-2020-8694)."""
    tree(tmp_path, package(0, 1))
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").chmod(0)
    assert "Permission denied" in worker.Meters(str(tmp_path)).absent["joules"]


class Hours:
    """A clock that a test sets, and the readings that the worker would take of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cost_s: float = 0.0) -> None:
        self.now = 100.0
        self.times: list[float] = []
        monkeypatch.setattr(worker.time, "monotonic", lambda: self.now)
        self._cost_s = cost_s

    def over(self, seconds: float, see: Callable[[float], float | None]) -> worker.Reading:
        meters = worker.Meters("/nowhere")
        meters.absent.clear()

        def mhz(cpus: object) -> float | None:
            self.times.append(self.now - 100.0)
            self.now += self._cost_s
            return see(self.times[-1])

        meters.mhz = mhz  # type: ignore[method-assign]
        reading = worker.Reading(meters, range(64))
        assert len(reading._cpus) <= worker.SAMPLED_CPUS
        reading.sample()
        end = self.now + seconds
        while self.now + reading.left_s() < end:
            self.now += reading.left_s()
            reading.sample()
        self.now = end
        return reading


def test_readings_grow_rare_and_the_mean_is_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = Hours(monkeypatch)
    reading = hours.over(300.0, lambda s: 3000.0 if s < 100.0 else 1500.0)
    mean = reading.end()["mhz"]
    assert hours.times[:5] == [0.0, 0.25, 0.5, 1.0, 2.0]
    assert len(hours.times) < 16
    assert max(b - a for a, b in zip(hours.times, hours.times[1:], strict=False)) <= 64.0
    assert mean == pytest.approx(2000.0, rel=0.1)


def test_readings_take_a_thousandth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = Hours(monkeypatch, cost_s=0.2)
    hours.over(1000.0, lambda s: 1.0)
    assert len(hours.times) <= 6


def test_a_frequency_that_cannot_be_read_any_more_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Hours(monkeypatch).over(9.0, lambda s: 10.0 if s < 1.0 else None).end()["mhz"] == 10.0
    assert Hours(monkeypatch).over(9.0, lambda s: None).end()["mhz"] is None


def test_a_line_holds_the_meters_and_done_says_which_are_absent(tmp_path: Path) -> None:
    """The real process, on a tree with one package and frequencies and without a thermometer."""
    files = CORES | package(0, 5)
    for cpu in os.sched_getaffinity(0):
        files[f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq"] = "2500000\n"
    tree(tmp_path / "root", files)
    counter = tmp_path / "root" / "sys/class/powercap/intel-rapl:0/energy_uj"
    unit = Unit(tmp_path, {"ref": {"BEFORE": f"echo 250005 > {counter}"}}, "once")
    source = (tmp_path / "worker.py").read_text()
    (tmp_path / "worker.py").write_text(
        source.replace('\nROOT = "/"\n', f"\nROOT = {str(tmp_path / 'root')!r}\n")
    )
    unit.run()
    meters = unit.lines()[0]["meters"]
    assert (meters["mhz"], meters["celsius"], meters["joules"]) == (2500.0, None, 0.25)
    assert set(unit.done()["meters"]) == {"celsius"}


# --- clocks --------------------------------------------------------------------------------------


@given(st.floats(-1e6, 1e6), st.floats(0.0, 1e6))
def test_a_step_of_the_clock_is_told_from_time_that_passes(step: float, passed: float) -> None:
    told = worker.clock_step((5e8, 10.0), (5e8 + passed + step, 10.0 + passed))
    if abs(step) < 0.999:
        assert told is None
    elif abs(step) > 1.001:
        assert told == pytest.approx(step, abs=1e-3)


def test_a_clock_that_is_set_while_a_process_runs_harms_nothing(tmp_path: Path) -> None:
    """The wall clock of the worker goes back by an hour with the second process."""
    unit = Unit(tmp_path, {"a": {}, "b": {}, "c": {}}, "once")
    back = (
        "\nimport time as _time\n_wall = _time.time\n"
        f"_time.time = lambda: _wall() - 3600.0 * os.path.exists({str(tmp_path / 'set')!r})\n"
    )
    source = (tmp_path / "worker.py").read_text()
    (tmp_path / "worker.py").write_text(source.replace("\nSCHEMA = 1\n", back + "\nSCHEMA = 1\n"))
    unit.config("b")["env"]["BEFORE"] = f"touch {tmp_path / 'set'}"
    assert unit.run()[0] == 0
    a, b, c = unit.lines()
    assert [line.get("clock_step_s") for line in (a, b, c)] == [None, pytest.approx(-3600.0), None]
    assert {line["status"] for line in (a, b, c)} == {"ok"}
    assert all(0.0 < line["wall_s"] < 60.0 for line in (a, b, c))
    assert 0.0 < unit.done()["elapsed_s"] < 120.0
