//! Random numbers: ChaCha20 keyed by the host's seed, mixed with the processor's own where it has some.

use crate::single::Single;
use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use core::arch::x86_64::{__cpuid, _rdrand64_step};

static GENERATOR: Single<Option<ChaCha20Rng>> = Single::new(None);

/// Starts anew from the host's seed. What came before leaves no trace in what comes.
pub fn seed(host: [u8; 32]) {
    let mut seed = host;
    for word in seed.chunks_exact_mut(8) {
        for (byte, own) in word.iter_mut().zip(hardware().to_le_bytes()) {
            *byte ^= own;
        }
    }
    *GENERATOR.get() = Some(ChaCha20Rng::from_seed(seed));
}

/// Fills `bytes`.
pub fn fill(bytes: &mut [u8]) {
    GENERATOR.get().get_or_insert_with(|| ChaCha20Rng::from_seed([0; 32])).fill_bytes(bytes);
}

/// 64 random bits.
pub fn word() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// 64 bits of the processor; 0 where it has none to give.
fn hardware() -> u64 {
    const RDRAND: u32 = 1 << 30;
    if __cpuid(1).ecx & RDRAND == 0 {
        return 0;
    }
    let mut word = 0;
    // SAFETY: the processor has the instruction.
    unsafe { rdrand(&mut word) };
    word
}

#[target_feature(enable = "rdrand")]
fn rdrand(word: &mut u64) {
    for _ in 0..10 {
        // The intrinsic says whether there was a number.
        if _rdrand64_step(word) == 1 {
            return;
        }
    }
    *word = 0;
}
