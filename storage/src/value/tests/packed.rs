use rand::RngExt;

use super::for_seeds;
use crate::value::packed::Packed;

#[test]
fn agrees_with_a_vector() {
    for_seeds(0..40, |rng| {
        let (mut packed, mut model) = (Packed::new(), Vec::<Vec<u8>>::new());
        for _ in 0..300 {
            let long = rng.random_bool(0.1);
            let entry = vec![rng.random(); rng.random_range(0..if long { 20_000 } else { 200 })];
            let at = rng.random_range(0..=model.len());
            match rng.random_range(0..8) {
                0..4 => {
                    packed.insert(at, &entry);
                    model.insert(at, entry);
                }
                4 if at < model.len() => {
                    packed.replace(at, &entry);
                    model[at] = entry;
                }
                5 => {
                    let to = rng.random_range(at..=model.len().min(at + 3));
                    packed.remove_range(at, to);
                    model.drain(at..to);
                }
                6 => {
                    let tail = packed.split_off(at);
                    assert!(tail.iter().eq(model[at..].iter().map(Vec::as_slice)));
                    packed.append(&tail);
                }
                _ => {
                    packed.push_front(&entry);
                    model.insert(0, entry);
                }
            }
            assert_eq!(packed.len(), model.len());
            assert!(packed.iter().eq(model.iter().map(Vec::as_slice)));
            let at = rng.random_range(0..=model.len());
            assert_eq!(packed.get(at), model.get(at).map(Vec::as_slice));
            assert!(
                packed
                    .iter_from(at)
                    .eq(model[at..].iter().map(Vec::as_slice))
            );
            assert!(
                packed
                    .iter_rev_before(at)
                    .eq(model[..at].iter().rev().map(Vec::as_slice))
            );
        }
    });
}
