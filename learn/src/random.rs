//! Seeded randomness: one generator, split into named streams so that no consumer shifts another.

use rand::SeedableRng;
pub(crate) use rand::rngs::Xoshiro256PlusPlus as Stream;

/// A stream that depends on the seed and the labels only, never on what was drawn elsewhere.
pub(crate) fn stream(seed: u64, labels: &[u64]) -> Stream {
    let mixed = labels
        .iter()
        .fold(mix(seed), |state, label| mix(state ^ mix(*label)));
    Stream::seed_from_u64(mixed)
}

/// A 64-bit finaliser (the constants of SplitMix64): every input bit reaches every output bit.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A standard normal draw (Box–Muller, one of the pair).
pub(crate) fn normal(rng: &mut Stream) -> f64 {
    use rand::RngExt;
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}
