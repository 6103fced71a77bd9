//! Time: the time stamp counter, set to the host's wall clock at each load and call.

use crate::single::Single;

static CLOCK: Single<Clock> = Single::new(Clock { tsc_hz: 1_000_000_000, wall: 0, at: 0 });

struct Clock {
    tsc_hz: u64,
    /// Nanoseconds since 1970 when the counter stood at `at`.
    wall: u64,
    at: u64,
}

/// The time stamp counter.
pub fn cycles() -> u64 {
    // SAFETY: reading the counter has no effect.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Says how fast the counter runs.
pub fn set_frequency(tsc_hz: u64) {
    CLOCK.get().tsc_hz = tsc_hz.max(1);
}

/// Says what time it is, in nanoseconds since 1970.
pub fn set_wall(nanoseconds: u64) {
    let mut clock = CLOCK.get();
    clock.wall = nanoseconds;
    clock.at = cycles();
}

/// Nanoseconds since 1970.
pub fn wall() -> u64 {
    let clock = CLOCK.get();
    clock.wall.wrapping_add(nanoseconds(cycles().wrapping_sub(clock.at), clock.tsc_hz))
}

/// Nanoseconds since the clock was last set; never goes back within a call.
pub fn monotonic() -> u64 {
    let clock = CLOCK.get();
    nanoseconds(cycles().wrapping_sub(clock.at), clock.tsc_hz)
}

fn nanoseconds(cycles: u64, hz: u64) -> u64 {
    (u128::from(cycles) * 1_000_000_000 / u128::from(hz)) as u64
}
