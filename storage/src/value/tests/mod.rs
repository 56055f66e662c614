//! Model tests: seeded random operations on each collection and on a plain one from the standard library, with
//! clones taken on the way that must not change.

mod dict;
mod list;
mod packed;
mod small_and_large;
mod zset;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// Runs `test` once per seed and names the seed if it fails.
fn for_seeds(seeds: std::ops::Range<u64>, test: impl Fn(&mut StdRng)) {
    for seed in seeds {
        let mut rng = StdRng::seed_from_u64(seed);
        let run = std::panic::AssertUnwindSafe(|| test(&mut rng));
        if let Err(failure) = std::panic::catch_unwind(run) {
            eprintln!("failed with seed {seed}");
            std::panic::resume_unwind(failure);
        }
    }
}
