use std::collections::VecDeque;

use rand::RngExt;
use rand::rngs::StdRng;

use super::for_seeds;
use crate::value::{End, Limits, List};

type Model = VecDeque<Vec<u8>>;

fn assert_same(list: &List, model: &Model) {
    list.check();
    assert_eq!(list.len(), model.len());
    assert!(list.iter().eq(model.iter().map(Vec::as_slice)));
    assert!(
        list.iter_rev_from(model.len().wrapping_sub(1))
            .eq(model.iter().rev().map(Vec::as_slice))
    );
}

fn limits(size: i32) -> Limits {
    Limits {
        list_max_listpack_size: size,
        ..Limits::default()
    }
}

fn element(rng: &mut StdRng) -> Vec<u8> {
    let len = match rng.random_range(0..100) {
        0 => 20_000,
        1..10 => rng.random_range(0..3000),
        _ => rng.random_range(0..40),
    };
    vec![rng.random_range(b'a'..b'f'); len]
}

fn step(rng: &mut StdRng, list: &mut List, model: &mut Model, limits: &Limits) {
    let element = element(rng);
    let at = rng.random_range(0..=model.len());
    match rng.random_range(0..20) {
        0..5 => {
            list.push(End::Back, &element, limits);
            model.push_back(element);
        }
        5..9 => {
            list.push(End::Front, &element, limits);
            model.push_front(element);
        }
        9..12 => assert_eq!(list.pop_front(), model.pop_front()),
        12..15 => assert_eq!(list.pop_back(), model.pop_back()),
        15 | 16 => {
            list.insert(at, &element, limits);
            model.insert(at, element);
        }
        17 => {
            let index = if at == model.len() || rng.random() {
                at as i64
            } else {
                at as i64 - model.len() as i64
            };
            let expected = at < model.len();
            assert_eq!(list.set(index, &element, limits), expected);
            if expected {
                model[at] = element;
            }
        }
        18 => {
            let found = model.iter().position(|found| *found == element);
            let after: bool = rng.random();
            assert_eq!(
                list.insert_beside(&element, after, b"beside", limits),
                found.is_some()
            );
            if let Some(found) = found {
                model.insert(found + usize::from(after), b"beside".to_vec());
            }
        }
        _ => {
            assert_eq!(list.get(at as i64), model.get(at).map(Vec::as_slice));
            let back = model
                .len()
                .checked_sub(at + 1)
                .map(|at| model[at].as_slice());
            assert_eq!(list.get(-1 - at as i64), back);
            assert!(list.iter_from(at).eq(model.range(at..).map(Vec::as_slice)));
            if at < model.len() {
                assert!(
                    list.iter_rev_from(at)
                        .eq(model.range(..=at).rev().map(Vec::as_slice))
                );
            }
        }
    }
}

fn cut(rng: &mut StdRng, list: &mut List, model: &mut Model) {
    let from = rng.random_range(0..=model.len());
    let to = rng.random_range(from..=model.len());
    match rng.random_range(0..4) {
        0 => {
            list.retain_range(from..to);
            *model = model.range(from..to).cloned().collect();
        }
        1 => {
            list.remove_range(from..to);
            model.drain(from..to);
        }
        _ => {
            let value = model.get(from).cloned().unwrap_or_default();
            let count = rng.random_range(-4..4i64);
            let mut left = if count == 0 {
                usize::MAX
            } else {
                count.unsigned_abs() as usize
            };
            let before = model.len();
            let mut keep = |found: &Vec<u8>| {
                let keeps = *found != value || left == 0;
                left -= usize::from(!keeps);
                keeps
            };
            *model = if count < 0 {
                let kept: Vec<_> = model
                    .iter()
                    .rev()
                    .filter(|found| keep(found))
                    .cloned()
                    .collect();
                kept.into_iter().rev().collect()
            } else {
                model.iter().filter(|found| keep(found)).cloned().collect()
            };
            assert_eq!(list.remove_value(&value, count), before - model.len());
        }
    }
}

#[test]
fn agrees_with_a_deque_and_clones_stay() {
    for_seeds(0..16, |rng| {
        let limits = Limits {
            list_alone_from: [Limits::LIST_ALONE_FROM, 20, 1000][rng.random_range(0..3)],
            ..limits([-5, -2, -1, 0, 1, 3, 100][rng.random_range(0..7)])
        };
        let (mut list, mut model) = (List::new(), Model::new());
        let mut clones = Vec::new();
        for _ in 0..4000 {
            step(rng, &mut list, &mut model, &limits);
            if rng.random_bool(0.003) {
                clones.push((list.clone(), model.clone()));
                assert_same(&list, &model);
            }
            if rng.random_bool(0.004) {
                cut(rng, &mut list, &mut model);
                assert_same(&list, &model);
            }
        }
        assert_same(&list, &model);
        clones
            .iter()
            .for_each(|(list, model)| assert_same(list, model));
    });
}

#[test]
fn chunks_stay_within_their_limits() {
    for (size, entries, bytes) in [
        (-1, usize::MAX, 4096),
        (-2, usize::MAX, 8192),
        (-5, usize::MAX, 65536),
        (7, 7, 8192),
    ] {
        let limits = limits(size);
        let mut list = List::new();
        for n in 0..20_000 {
            let element = vec![b'x'; n % 50];
            list.push(
                if n % 3 == 0 { End::Front } else { End::Back },
                &element,
                &limits,
            );
        }
        assert!(
            list.chunks()
                .all(|(len, size)| len <= entries && size <= bytes),
            "{size}"
        );
        // Filled from the ends, chunks are nearly full.
        let full = if entries == 7 {
            20_000 / 7
        } else {
            20_000 * 27 / bytes
        };
        assert!(
            list.check() <= full * 6 / 5 + 3,
            "{size}: {} chunks",
            list.chunk_count()
        );
    }
}

#[test]
fn an_oversized_element_has_a_chunk_of_its_own() {
    let limits = Limits::default();
    let mut list = List::new();
    for element in [b"a".to_vec(), vec![b'x'; 10_000], b"b".to_vec()] {
        list.push_back(&element, &limits);
    }
    assert!(list.chunks().map(|(len, _)| len).eq([1, 1, 1]));
    list.push_front(b"c", &limits);
    list.push_back(b"d", &limits);
    assert!(list.chunks().map(|(len, _)| len).eq([2, 1, 2]));
}

#[test]
fn elements_from_a_given_size_on_have_chunks_of_their_own() {
    let limits = Limits {
        list_alone_from: 1000,
        ..Limits::default()
    };
    let (small, large) = (vec![b's'; 999], vec![b'l'; 1000]);
    let lens = |list: &List| list.chunks().map(|(len, _)| len).collect::<Vec<_>>();
    let mut list = List::new();
    for element in [&small, &small, &large, &large, &small] {
        list.push_back(element, &limits);
    }
    assert_eq!(lens(&list), [2, 1, 1, 1]);
    list.push_front(&small, &limits);
    list.push_back(&small, &limits);
    assert_eq!(lens(&list), [3, 1, 1, 2]);
    assert!(list.set(1, &large, &limits));
    assert_eq!(lens(&list), [1, 1, 1, 1, 1, 2]);
    assert!(list.insert_beside(&large, true, &small, &limits));
    assert_eq!(lens(&list), [1, 1, 2, 1, 1, 2]);
    assert!(
        list.iter()
            .map(<[u8]>::len)
            .eq([999, 1000, 999, 999, 1000, 1000, 999, 999])
    );
    // An element that has got small takes others in.
    assert!(list.set(1, &small, &limits));
    list.insert(2, &small, &limits);
    assert_eq!(lens(&list), [1, 2, 2, 1, 1, 2]);
}

#[test]
fn equal_elements_of_a_long_list_are_removed_chunk_by_chunk() {
    let limits = Limits::default();
    let mut list = List::new();
    let value = |n: usize| if n.is_multiple_of(20) { "here" } else { "gone" };
    (0..60_000).for_each(|n| list.push_back(value(n).as_bytes(), &limits));
    let whole = list.clone();
    let before = list.check();
    assert_eq!(list.remove_value(b"none", 0), 0);
    assert_eq!(list.remove_value(b"gone", -10_000), 10_000);
    assert_eq!(list.remove_value(b"gone", 10_000), 10_000);
    let here = |count| (0..count).map(|_| &b"here"[..]);
    assert!(list.iter().take(500).eq(here(500)));
    assert_eq!(list.remove_value(b"gone", 0), 37_000);
    assert!(list.iter().eq(here(3_000)));
    assert!(list.check() * 2 <= before, "{} chunks", list.check());
    assert_eq!(list.remove_value(b"here", 0), 3_000);
    assert_eq!((list.len(), list.check()), (0, 0));
    assert_eq!(whole.len(), 60_000);
}

#[test]
fn a_thinned_out_list_joins_its_chunks() {
    let limits = Limits::default();
    let mut list = List::new();
    (0..100_000).for_each(|n| list.push_back(format!("{n:08}").as_bytes(), &limits));
    let before = list.check();
    for n in 0..100_000 {
        if n % 100 != 0 {
            // Far apart, as LREM does it.
            let at = n / 100 + 1;
            list.remove_range(at..at + 1);
        }
    }
    assert_eq!(list.len(), 1000);
    assert!(
        list.check() * 10 < before,
        "{} chunks of {before} are left",
        list.check()
    );
    assert!(
        list.iter().eq((0..1000)
            .map(|n| format!("{:08}", n * 100))
            .collect::<Vec<_>>()
            .iter()
            .map(|text| text.as_bytes()))
    );
}
