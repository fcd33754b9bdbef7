"""Readers of /proc and /sys on made-up folders, and what is said of what they find."""

import os

import pytest

from deploykit.bench.disturbance import Disturbance, Watch

TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A made-up machine of two cores, of which this process may use the first; time passes by `machine.after`."""
    return Machine(tmp_path, monkeypatch)


class Machine:
    def __init__(self, root, monkeypatch):
        self.root, self.now, self.own = root, 100.0, 0.0
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
        monkeypatch.setattr(os, "times", lambda: os.times_result((self.own, 0.0, 0.0, 0.0, 0.0)))
        self.cpu = [0.0, 0.0]  # busy and idle seconds of the first core
        self.write_stat()

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(f"{text}\n")

    def write_stat(self):
        busy, idle = (round(TICKS * seconds) for seconds in self.cpu)
        half = busy // 2
        first = f"cpu0 {half} 0 {busy - half} {idle} 0 0 0 0 {half} 0"  # guests are among the user's already
        self.write("proc/stat", f"cpu 9 9 9 9 9 9 9 9 9 9\n{first}\ncpu1 {10**9} 0 0 0 0 0 0 0 0 0\nintr 1")

    def after(self, seconds, *, busy=0.0, own=0.0):
        self.now += seconds
        self.own += own
        self.cpu[0] += busy
        self.cpu[1] += seconds - busy
        self.write_stat()

    def worker(self, pid, session, *, seconds):
        ticks = round(TICKS * seconds)
        fields = f"S 1 {session} {session} 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0"
        self.write(f"proc/{pid}/stat", f"{pid} (a (strange) name) {fields}")


def observed(machine, *moments, workers=()):
    """What a watch says after two stretches of time, each of which a function makes pass."""
    watch = Watch(machine.root, lambda: machine.now)
    watch.read(())
    for moment in moments:
        moment()
        watch.look_at_clock()
        watch.read(workers)
    return watch.result()


def quiet(machine):
    return lambda: machine.after(10.0)


def test_a_quiet_machine_has_nothing_to_tell(machine):
    found = observed(machine, quiet(machine), quiet(machine))
    assert (found.others_before, found.others_during) == (0.0, 0.0)
    assert (found.heat_events, found.quota_share, found.clock_share, found.on_battery) == (None, None, None, None)
    assert found.warnings == ()


def test_a_machine_that_tells_nothing_has_nothing_to_tell(machine, tmp_path):
    (tmp_path / "proc/stat").unlink()
    machine.write_stat = lambda: None
    assert observed(machine, quiet(machine), quiet(machine)) == Disturbance()


def test_what_others_hold_is_told_apart_from_our_own_time(machine):
    machine.worker(41, 41, seconds=0.0)
    machine.worker(42, 41, seconds=0.0)  # of the worker's session
    machine.worker(43, 7, seconds=0.0)  # somebody else's

    def busy():
        machine.after(10.0, busy=9.0, own=1.0)
        machine.worker(41, 41, seconds=3.0)
        machine.worker(42, 41, seconds=2.0)
        machine.worker(43, 7, seconds=3.0)

    found = observed(machine, quiet(machine), busy, workers=[41])
    assert found.others_before == 0.0
    assert found.others_during == pytest.approx(0.3)
    assert found.warnings == ("other processes held 30% of the cores during the rounds: end them and measure again",)


def test_both_times_are_told_in_one_line(machine):
    found = observed(machine, lambda: machine.after(10.0, busy=2.0), lambda: machine.after(10.0, busy=1.0))
    assert found.warnings == (
        "other processes held 20% of the cores before the rounds and 10% of the cores during the rounds: "
        "end them and measure again",
    )


@pytest.mark.parametrize(("share", "told"), [(0.05, False), (0.06, True)])
def test_a_share_is_told_above_its_threshold(share, told):
    assert bool(Disturbance(others_during=share).warnings) is told


def test_too_short_a_time_gives_no_share(machine):
    found = observed(machine, lambda: machine.after(0.1, busy=0.1), lambda: machine.after(10.0, busy=10.0))
    assert (found.others_before, found.others_during) == (None, 1.0)


def test_heat_is_counted_over_the_cores_and_from_the_start(machine):
    for core, count in ((0, 5), (1, 7)):
        machine.write(f"sys/devices/system/cpu/cpu{core}/thermal_throttle/core_throttle_count", count)

    def hot():
        machine.after(10.0)
        machine.write("sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", 10)

    found = observed(machine, quiet(machine), hot)
    assert found.heat_events == 3
    assert found.warnings == ("thermal throttling slowed the cores 3 times",)


@pytest.mark.parametrize(("stopped", "warnings"), [(50_000, 0), (500_000, 1)])
def test_a_quota_is_told_where_it_stopped_the_rows(machine, stopped, warnings):
    machine.write("sys/fs/cgroup/cpu.stat", "usage_usec 7\nthrottled_usec 1000")

    def throttled():
        machine.after(10.0)
        machine.write("sys/fs/cgroup/cpu.stat", f"usage_usec 9\nthrottled_usec {1000 + stopped}")

    found = observed(machine, quiet(machine), throttled)
    assert found.quota_share == pytest.approx(stopped / 1e7)
    assert len(found.warnings) == warnings
    assert not warnings or found.warnings == ("the container's CPU quota throttled the rows for 5% of the time",)


@pytest.mark.parametrize(
    ("files", "share", "warning"),
    [
        ({"scaling_cur_freq": 3_000_000, "cpuinfo_max_freq": 4_000_000}, 0.75, None),
        ({"scaling_cur_freq": 2_000_000, "cpuinfo_max_freq": 4_000_000}, 0.5, "50% of its highest clock"),
        ({"scaling_cur_freq": 2_000_000, "cpuinfo_max_freq": 4_000_000, "base_frequency": 2_000_000}, 1.0, None),
        ({"scaling_cur_freq": 1_800_000, "base_frequency": 2_000_000}, 0.9, "90% of its base clock"),
        ({"scaling_cur_freq": "<unknown>", "cpuinfo_max_freq": 4_000_000}, None, None),
        ({"cpuinfo_max_freq": 4_000_000}, None, None),
    ],
)
def test_the_clock_is_held_against_the_base_or_the_highest(machine, files, share, warning):
    for name, value in files.items():
        machine.write(f"sys/devices/system/cpu/cpu0/cpufreq/{name}", value)
    machine.write("sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", 800_000)  # an idle core
    if "scaling_cur_freq" not in files or share is None:
        (machine.root / "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq").unlink()
    found = observed(machine, quiet(machine), quiet(machine))
    assert found.clock_share == share
    assert found.warnings == ((f"no core ran faster than {warning}",) if warning else ())


@pytest.mark.parametrize(
    ("supplies", "on_battery"),
    [
        ({"BAT0": {"type": "Battery", "status": "Discharging"}, "AC": {"type": "Mains", "online": 0}}, True),
        ({"BAT0": {"type": "Battery", "status": "Charging"}, "AC": {"type": "Mains", "online": 1}}, False),
        ({"BAT0": {"type": "Battery", "status": "Discharging"}, "AC": {"type": "Mains", "online": 1}}, False),
        ({"mouse": {"type": "Battery", "status": "Discharging", "scope": "Device"}}, None),
        ({"AC": {"type": "Mains", "online": 1}}, None),
    ],
)
def test_a_battery_that_runs_the_machine_is_told(machine, supplies, on_battery):
    for name, files in supplies.items():
        for file, value in files.items():
            machine.write(f"sys/class/power_supply/{name}/{file}", value)
    found = observed(machine, quiet(machine), quiet(machine))
    assert found.on_battery is on_battery
    assert found.warnings == (("the machine runs on battery",) if on_battery else ())


def test_this_machine_can_be_read():
    watch = Watch()
    for _ in range(3):
        watch.read([os.getpid()])
        watch.look_at_clock()
    assert isinstance(watch.result(), Disturbance)
    assert watch.readings[0].own >= 0


def test_of_several_measurements_the_worst_is_told():
    calm = Disturbance(others_during=0.01, heat_events=1, clock_share=0.9, on_battery=False)
    busy = Disturbance(others_during=0.2, heat_events=2, clock_share=0.5, quota_share=0.1, on_battery=None)
    assert Disturbance.worst([calm, busy]) == Disturbance(
        others_during=0.2, heat_events=3, clock_share=0.5, quota_share=0.1, on_battery=False
    )
    assert Disturbance.worst([Disturbance()]) == Disturbance()
