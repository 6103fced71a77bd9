import pytest

from limes.units import format_nanoseconds, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (4096, 4096),
        ("4096", 4096),
        ("64MiB", 64 << 20),
        ("64 mib", 64 << 20),
        ("10MB", 10_000_000),
        ("1.5GiB", 3 << 29),
        ("0.1KB", 100),
    ],
)
def test_sizes(written: object, size: int):
    assert parse_size(written) == size


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [(250, 250), ("500ms", 500), ("5s", 5000), ("1.5s", 1500), ("2m", 120_000), ("1h", 3_600_000)],
)
def test_durations(written: object, milliseconds: int):
    assert parse_duration(written) == milliseconds


@pytest.mark.parametrize(
    "written", ["", "MiB", "64 elephants", "-1", -1, True, None, 1.5, "1e3", "0.3B", "٣"]
)
def test_what_is_no_size_is_refused_with_what_would_be(written: object):
    with pytest.raises(ValueError, match="64MiB"):
        parse_size(written)


@pytest.mark.parametrize("written", ["", "s", "5 weeks", -1, False, "64MiB", "0.5ms"])
def test_what_is_no_duration_is_refused_with_what_would_be(written: object):
    with pytest.raises(ValueError, match="500ms"):
        parse_duration(written)


def test_written_sizes_are_read_back():
    for size in (0, 1, 1023, 1024, 64 << 20, 5 << 30):
        assert parse_size(format_size(size)) == size


def test_nanoseconds_get_the_unit_that_suits_them():
    assert format_nanoseconds(999) == "999 ns"
    assert format_nanoseconds(8_400) == "8.4 us"
    assert format_nanoseconds(1_234_567) == "1.23 ms"
    assert format_nanoseconds(7_800_000_000) == "7.8 s"
