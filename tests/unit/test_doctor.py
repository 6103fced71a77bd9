import errno
import mmap
from pathlib import Path

import pytest

from limes.node import doctor, kvm


def test_every_check_that_is_not_ok_says_what_to_do(tmp_path: Path):
    for check in doctor.examine(tmp_path / "home", tmp_path / "cache").checks:
        assert check.level in ("ok", "warn", "fail")
        assert bool(check.advice) == (check.level != "ok"), check


def test_looking_leaves_nothing_behind_but_which_monitors_work(tmp_path: Path):
    doctor.examine(tmp_path / "home", tmp_path / "cache")
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"]
    assert (tmp_path / "cache" / "monitors.json").is_file()


def test_a_directory_that_cannot_be_written_to_fails():
    check = doctor.check_directory("home", Path("/proc/limes"))
    assert check.level == "fail"
    assert "/proc" in check.advice


def test_pagemap_scan_is_tried_and_not_looked_up(monkeypatch: pytest.MonkeyPatch):
    def unknown(*_: object) -> int:
        raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")

    monkeypatch.setattr(doctor.fcntl, "ioctl", unknown)
    check = doctor.check_pagemap_scan()
    assert check.level == "warn"
    assert "6.7" in check.advice


def test_pagemap_scan_counts_the_pages_that_were_written():
    try:
        assert doctor.pagemap_scan() == 1
    except OSError as error:
        pytest.skip(f"not on this kernel: {error}")


@pytest.mark.parametrize(
    ("lines", "level"),
    [([], "ok"), (["/dev/zram0 partition 1048572 0 100"], "warn")],
    ids=["off", "on"],
)
def test_swap_that_is_on_is_told(lines: list[str], level: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        doctor, "_read_text", lambda _: "\n".join(["Filename Type Size Used Priority", *lines])
    )
    check = doctor.check_swap()
    assert (check.level, bool(check.advice)) == (level, level == "warn")


def test_a_kvm_that_is_there_but_does_not_run_guests_is_no_kvm(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kvm, "DEVICE", "/dev/null")
    check = doctor.check_kvm()
    assert check.level == "warn"
    assert "cannot ask for KVM's version" in check.found


def test_a_missing_kvm_says_which_module_to_load(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kvm, "DEVICE", "/dev/absent")
    assert "kvm_intel" in doctor.check_kvm().advice


def test_a_guest_runs_to_its_halt_where_kvm_works():
    try:
        ran = kvm.probe()
    except OSError as error:
        pytest.skip(f"no KVM here: {error}")
    assert ran.nanoseconds > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("_CODE", b"\xf4" + bytes(mmap.PAGESIZE - 1)), ("_ANSWER", kvm._ANSWER + 1)],
    ids=["halts at once", "answers something else"],
)
def test_a_guest_that_does_not_give_its_answer_is_no_working_kvm(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
):
    try:
        kvm.probe()
    except OSError as error:
        pytest.skip(f"no KVM here: {error}")
    monkeypatch.setattr(kvm, name, value)
    with pytest.raises(OSError, match="did not answer"):
        kvm.probe()


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.18.44-generic", (6, 18)), ("5.10.0", (5, 10)), ("6.7-rc1", (6, 7)), ("4", (4,))],
)
def test_kernel_versions_are_read(release: str, version: tuple[int, ...]):
    assert doctor.kernel_version(release) == version
