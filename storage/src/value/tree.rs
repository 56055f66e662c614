//! A counted B+tree with shared nodes: a sequence of items, found by position or, if kept in order, by comparison.
//!
//! Every item has a weight, and positions count weight: in a sorted set each member weighs 1, in a list a chunk
//! weighs the elements it holds. Inner nodes keep, for each child, its weight and the key of its first item.
//!
//! * All leaves are at one depth; no node is empty, except a root leaf; leaves hold up to [`LEAF_MAX`] items, inner
//!   nodes up to [`INNER_MAX`] children. A node that gets small is joined with a neighbour when the two fit well into
//!   one node, otherwise left as it is.
//! * `Child::first` is exact at all times, so that an item inserted by position is found by comparison.
//! * Nodes are behind `Arc`: a clone of the tree is one pointer, and a writer copies the path to what it changes.

use std::ops::Range;

use smallvec::SmallVec;
use triomphe::Arc;

use super::shared_with_snapshot::own;

/// Most items in a leaf.
pub(super) const LEAF_MAX: usize = 64;
/// Most children of an inner node.
pub(super) const INNER_MAX: usize = 32;

/// What a [`Tree`] holds.
pub(super) trait Item: Clone {
    /// What inner nodes remember of a child's first item.
    type Key: Clone;
    /// Whether every item weighs 1.
    const UNIT: bool;
    /// The key of this item.
    fn key(&self) -> Self::Key;
    /// How many positions this item takes; never 0.
    fn weight(&self) -> usize;
}

/// A counted B+tree; see the module's description.
pub(super) struct Tree<T: Item> {
    root: Arc<Node<T>>,
    weight: usize,
}

enum Node<T: Item> {
    Leaf(Vec<T>),
    Inner(Vec<Child<T>>),
}

struct Child<T: Item> {
    first: T::Key,
    weight: usize,
    node: Arc<Node<T>>,
}

impl<T: Item> Clone for Tree<T> {
    fn clone(&self) -> Tree<T> {
        Tree {
            root: self.root.clone(),
            weight: self.weight,
        }
    }
}

impl<T: Item> Clone for Node<T> {
    fn clone(&self) -> Node<T> {
        match self {
            Node::Leaf(items) => Node::Leaf(items.clone()),
            Node::Inner(children) => Node::Inner(children.clone()),
        }
    }
}

impl<T: Item> Clone for Child<T> {
    fn clone(&self) -> Child<T> {
        Child {
            first: self.first.clone(),
            weight: self.weight,
            node: self.node.clone(),
        }
    }
}

impl<T: Item> Node<T> {
    /// The number of items or children.
    fn count(&self) -> usize {
        match self {
            Node::Leaf(items) => items.len(),
            Node::Inner(children) => children.len(),
        }
    }

    /// What a copy takes.
    fn bytes(&self) -> usize {
        match self {
            Node::Leaf(items) => size_of_val(items.as_slice()),
            Node::Inner(children) => size_of_val(children.as_slice()),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Node::Leaf(_) => LEAF_MAX,
            Node::Inner(_) => INNER_MAX,
        }
    }

    /// The key of the first item; the node must not be empty.
    fn first(&self) -> T::Key {
        match self {
            Node::Leaf(items) => items[0].key(),
            Node::Inner(children) => children[0].first.clone(),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Node::Leaf(items) if T::UNIT => items.len(),
            Node::Leaf(items) => items.iter().map(Item::weight).sum(),
            Node::Inner(children) => children.iter().map(|child| child.weight).sum(),
        }
    }
}

impl<T: Item> Child<T> {
    fn new(node: Node<T>) -> Child<T> {
        Child {
            first: node.first(),
            weight: node.weight(),
            node: Arc::new(node),
        }
    }
}

/// The item that covers `position`, and how far into the item that is; `items.len()` at the end.
#[inline]
fn find_item<T: Item>(items: &[T], position: usize) -> (usize, usize) {
    if T::UNIT {
        return (position, 0);
    }
    let mut rest = position;
    for (at, item) in items.iter().enumerate() {
        if rest < item.weight() {
            return (at, rest);
        }
        rest -= item.weight();
    }
    (items.len(), rest)
}

/// The child that covers `position`, and the position within it; the last child's end counts as its own.
#[inline]
fn find_child<T: Item>(children: &[Child<T>], position: usize) -> (usize, usize) {
    let mut rest = position;
    for (at, child) in children.iter().enumerate() {
        if rest < child.weight || at + 1 == children.len() {
            return (at, rest);
        }
        rest -= child.weight;
    }
    unreachable!("inner nodes have children")
}

impl<T: Item> Tree<T> {
    /// An empty tree.
    pub fn new() -> Tree<T> {
        Tree {
            root: Arc::new(Node::Leaf(Vec::new())),
            weight: 0,
        }
    }

    /// A tree of these items in this order, built bottom up, in O(n).
    pub fn from_items(items: impl Iterator<Item = T>) -> Tree<T> {
        const LEAF_FILL: usize = LEAF_MAX * 7 / 8;
        const INNER_FILL: usize = INNER_MAX * 7 / 8;
        let mut items = items.peekable();
        let mut level = Vec::new();
        while items.peek().is_some() {
            level.push(Child::new(Node::Leaf(
                items.by_ref().take(LEAF_FILL).collect(),
            )));
        }
        while level.len() > 1 {
            let mut below = level.into_iter().peekable();
            level = Vec::new();
            while below.peek().is_some() {
                level.push(Child::new(Node::Inner(
                    below.by_ref().take(INNER_FILL).collect(),
                )));
            }
        }
        match level.pop() {
            Some(top) => Tree {
                root: top.node,
                weight: top.weight,
            },
            None => Tree::new(),
        }
    }

    /// The weight of all items.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// The item that covers `position`, and how far into the item that is.
    pub fn get(&self, position: usize) -> Option<(&T, usize)> {
        if position >= self.weight {
            return None;
        }
        let (mut node, mut position) = (&*self.root, position);
        loop {
            match node {
                Node::Leaf(items) => {
                    let (at, rest) = find_item(items, position);
                    return items.get(at).map(|item| (item, rest));
                }
                Node::Inner(children) => {
                    let (at, rest) = find_child(children, position);
                    (node, position) = (&*children[at].node, rest);
                }
            }
        }
    }

    /// Inserts an item so that it begins at `position`, where another item begins or the tree ends.
    pub fn insert(&mut self, position: usize, item: T) {
        debug_assert!(position <= self.weight);
        self.weight += item.weight();
        if let Some(right) = insert(&mut self.root, position, item) {
            let left = std::mem::replace(&mut self.root, Arc::new(Node::Leaf(Vec::new())));
            let left = Child {
                first: left.first(),
                weight: self.weight - right.weight,
                node: left,
            };
            self.root = Arc::new(Node::Inner(vec![left, right]));
        }
    }

    /// Removes the item that covers `position`, which must be below the tree's weight.
    pub fn remove(&mut self, position: usize) -> T {
        let item = remove(&mut self.root, position);
        self.weight -= item.weight();
        self.lower_root();
        item
    }

    /// Removes all items in `range`, whose ends must be ends of items.
    pub fn remove_range(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        debug_assert!(range.end <= self.weight);
        remove_range(&mut self.root, range.clone());
        self.weight -= range.len();
        self.lower_root();
    }

    /// Takes roots away that have a single child.
    fn lower_root(&mut self) {
        if self.weight == 0 {
            *self = Tree::new();
        }
        while let Node::Inner(children) = &*self.root
            && let [only] = children.as_slice()
        {
            self.root = only.node.clone();
        }
    }

    /// Calls `change` on the item that covers `position`, with how far into the item that is. The item's key must
    /// stay the same; its weight may change, but not to 0.
    pub fn update<R>(&mut self, position: usize, change: impl FnOnce(&mut T, usize) -> R) -> R {
        debug_assert!(position < self.weight);
        let (result, delta) = update(&mut self.root, position, change);
        self.weight = self.weight.wrapping_add_signed(delta);
        result
    }

    /// The items from the one that covers `position` on, and how far into the first one that is.
    pub fn iter_from(&self, position: usize) -> (Iter<'_, T>, usize) {
        let mut iter = Iter {
            above: SmallVec::new(),
            leaf: [].iter(),
        };
        let (mut node, mut position) = (&*self.root, position.min(self.weight));
        loop {
            match node {
                Node::Leaf(items) => {
                    let (at, rest) = find_item(items, position);
                    iter.leaf = items[at..].iter();
                    return (iter, rest);
                }
                Node::Inner(children) => {
                    let (at, rest) = find_child(children, position);
                    iter.above.push(children[at + 1..].iter());
                    (node, position) = (&*children[at].node, rest);
                }
            }
        }
    }

    /// The items from the one that covers `position`, below the tree's weight, back to the first one, and how far
    /// into the first one returned that is.
    pub fn iter_rev_from(&self, position: usize) -> (RevIter<'_, T>, usize) {
        let mut iter = RevIter {
            above: SmallVec::new(),
            leaf: [].iter(),
        };
        if position >= self.weight {
            return (iter, 0);
        }
        let (mut node, mut position) = (&*self.root, position);
        loop {
            match node {
                Node::Leaf(items) => {
                    let (at, rest) = find_item(items, position);
                    iter.leaf = items[..=at].iter();
                    return (iter, rest);
                }
                Node::Inner(children) => {
                    let (at, rest) = find_child(children, position);
                    iter.above.push(children[..at].iter());
                    (node, position) = (&*children[at].node, rest);
                }
            }
        }
    }

    /// The heap memory of the nodes and the number of leaves, estimated along the leftmost path.
    pub fn heap_bytes(&self) -> usize {
        let (mut nodes, mut total, mut node) = (1, 0, &*self.root);
        loop {
            match node {
                Node::Leaf(items) => {
                    return total + nodes * (items.capacity() * size_of::<T>() + 40);
                }
                Node::Inner(children) => {
                    total += nodes * (children.capacity() * size_of::<Child<T>>() + 40);
                    nodes *= children.len();
                    node = &children[children.len() / 2].node;
                }
            }
        }
    }
}

impl<T: Item<Key = T>> Tree<T> {
    /// The weight of the items for which `is_less` holds; it must hold for a prefix of the sequence.
    pub fn partition_point(&self, is_less: impl Fn(&T) -> bool) -> usize {
        let (mut node, mut before) = (&*self.root, 0);
        loop {
            match node {
                Node::Leaf(items) => {
                    let at = items.partition_point(|item| is_less(item));
                    return before + items[..at].iter().map(Item::weight).sum::<usize>();
                }
                Node::Inner(children) => {
                    let at = children.partition_point(|child| is_less(&child.first));
                    let Some(at) = at.checked_sub(1) else {
                        return before;
                    };
                    before += children[..at]
                        .iter()
                        .map(|child| child.weight)
                        .sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }
}

/// Where to split a full node of `count` for an insertion at `at`: unevenly at the ends, where more will follow.
fn split_point(count: usize, at: usize) -> usize {
    if at >= count - 1 {
        count * 7 / 8
    } else if at <= 1 {
        count / 8
    } else {
        count / 2
    }
}

/// Inserts below `node`; returns the new right neighbour if the node had to be split.
fn insert<T: Item>(node: &mut Arc<Node<T>>, position: usize, item: T) -> Option<Child<T>> {
    match own(node, Node::bytes) {
        Node::Leaf(items) => {
            let (at, rest) = find_item(items, position);
            debug_assert_eq!(rest, 0, "items are inserted between items");
            insert_split(items, at, item, LEAF_MAX).map(|right| Child::new(Node::Leaf(right)))
        }
        Node::Inner(children) => {
            let (at, rest) = find_child(children, position);
            let child = &mut children[at];
            child.weight += item.weight();
            let split = insert(&mut child.node, rest, item);
            if rest == 0 {
                child.first = child.node.first();
            }
            let right = split?;
            child.weight -= right.weight;
            insert_split(children, at + 1, right, INNER_MAX)
                .map(|right| Child::new(Node::Inner(right)))
        }
    }
}

/// Inserts into a vector of at most `max`; returns the second part if it had to be split.
fn insert_split<V>(vec: &mut Vec<V>, at: usize, value: V, max: usize) -> Option<Vec<V>> {
    if vec.len() < max {
        vec.insert(at, value);
        return None;
    }
    let middle = split_point(vec.len(), at);
    let mut right = vec.split_off(middle);
    if at <= middle {
        vec.insert(at, value);
    } else {
        right.insert(at - middle, value);
    }
    Some(right)
}

/// Removes below `node` the item that covers `position`. The node may be left empty.
fn remove<T: Item>(node: &mut Arc<Node<T>>, position: usize) -> T {
    match own(node, Node::bytes) {
        Node::Leaf(items) => {
            let (at, _) = find_item(items, position);
            items.remove(at)
        }
        Node::Inner(children) => {
            let (at, rest) = find_child(children, position);
            let child = &mut children[at];
            let item = remove(&mut child.node, rest);
            child.weight -= item.weight();
            if child.weight > 0 && rest < item.weight() {
                child.first = child.node.first();
            }
            tidy(children, at);
            item
        }
    }
}

fn remove_range<T: Item>(node: &mut Arc<Node<T>>, range: Range<usize>) {
    match own(node, Node::bytes) {
        Node::Leaf(items) => {
            let (from, _) = find_item(items, range.start);
            let (to, rest) = find_item(items, range.end);
            debug_assert_eq!(rest, 0, "whole items are removed");
            items.drain(from..to);
        }
        Node::Inner(children) => {
            let (mut start, mut edge) = (0, None);
            // Children wholly in the range go as they are; at most two are cut.
            for (at, child) in children.iter_mut().enumerate() {
                let end = start + child.weight;
                let (from, to) = (range.start.max(start), range.end.min(end));
                if from < to {
                    edge.get_or_insert(at);
                    if to - from < child.weight {
                        remove_range(&mut child.node, from - start..to - start);
                        child.first = child.node.first();
                    }
                    child.weight -= to - from;
                }
                start = end;
            }
            children.retain(|child| child.weight > 0);
            if let Some(edge) = edge
                && !children.is_empty()
            {
                let edge = edge.min(children.len() - 1);
                tidy(children, edge);
                tidy(children, edge.saturating_sub(1).min(children.len() - 1));
            }
        }
    }
}

/// Drops child `at` if it is empty; joins it with a neighbour if it is small and the two fit well into one.
fn tidy<T: Item>(children: &mut Vec<Child<T>>, at: usize) {
    let Some(child) = children.get(at) else {
        return;
    };
    if child.weight == 0 {
        children.remove(at);
        return;
    }
    let (count, capacity) = (child.node.count(), child.node.capacity());
    if count > capacity / 4 {
        return;
    }
    let fits = |other: usize| {
        children
            .get(other)
            .is_some_and(|other| other.node.count() + count <= capacity * 3 / 4)
    };
    if fits(at + 1) {
        join(children, at);
    } else if at > 0 && fits(at - 1) {
        join(children, at - 1);
    }
}

/// Joins child `at` and the next one.
fn join<T: Item>(children: &mut Vec<Child<T>>, at: usize) {
    let right = children.remove(at + 1);
    let left = &mut children[at];
    left.weight += right.weight;
    match (
        own(&mut left.node, Node::bytes),
        Arc::unwrap_or_clone(right.node),
    ) {
        (Node::Leaf(left), Node::Leaf(mut right)) => left.append(&mut right),
        (Node::Inner(left), Node::Inner(mut right)) => left.append(&mut right),
        _ => unreachable!("neighbours are at the same depth"),
    }
}

fn update<T: Item, R>(
    node: &mut Arc<Node<T>>,
    position: usize,
    change: impl FnOnce(&mut T, usize) -> R,
) -> (R, isize) {
    match own(node, Node::bytes) {
        Node::Leaf(items) => {
            let (at, rest) = find_item(items, position);
            let item = &mut items[at];
            let before = item.weight();
            let result = change(item, rest);
            debug_assert!(item.weight() > 0);
            (result, item.weight() as isize - before as isize)
        }
        Node::Inner(children) => {
            let (at, rest) = find_child(children, position);
            let child = &mut children[at];
            let (result, delta) = update(&mut child.node, rest, change);
            child.weight = child.weight.wrapping_add_signed(delta);
            (result, delta)
        }
    }
}

/// Items in order.
pub(super) struct Iter<'a, T: Item> {
    /// For each level above the leaf, the children still to be visited.
    above: SmallVec<[std::slice::Iter<'a, Child<T>>; 6]>,
    leaf: std::slice::Iter<'a, T>,
}

impl<'a, T: Item> Iterator for Iter<'a, T> {
    type Item = &'a T;
    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(item) = self.leaf.next() {
                return Some(item);
            }
            let child = loop {
                match self.above.last_mut()?.next() {
                    Some(child) => break child,
                    None => self.above.pop(),
                };
            };
            let mut node = &*child.node;
            while let Node::Inner(children) = node {
                let mut rest = children.iter();
                let Some(first) = rest.next() else { break };
                self.above.push(rest);
                node = &first.node;
            }
            if let Node::Leaf(items) = node {
                self.leaf = items.iter();
            }
        }
    }
}

/// Items in reverse order.
pub(super) struct RevIter<'a, T: Item> {
    above: SmallVec<[std::slice::Iter<'a, Child<T>>; 6]>,
    leaf: std::slice::Iter<'a, T>,
}

impl<'a, T: Item> Iterator for RevIter<'a, T> {
    type Item = &'a T;
    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(item) = self.leaf.next_back() {
                return Some(item);
            }
            let child = loop {
                match self.above.last_mut()?.next_back() {
                    Some(child) => break child,
                    None => self.above.pop(),
                };
            };
            let mut node = &*child.node;
            while let Node::Inner(children) = node {
                let mut rest = children.iter();
                let Some(last) = rest.next_back() else { break };
                self.above.push(rest);
                node = &last.node;
            }
            if let Node::Leaf(items) = node {
                self.leaf = items.iter();
            }
        }
    }
}

#[cfg(test)]
impl<T: Item> Tree<T> {
    /// Checks every structural promise of the module's description; returns the depth.
    pub(super) fn check(&self, same_key: impl Fn(&T::Key, &T::Key) -> bool) -> usize {
        fn check<T: Item>(node: &Node<T>, same_key: &impl Fn(&T::Key, &T::Key) -> bool) -> usize {
            assert!(node.count() <= node.capacity());
            let Node::Inner(children) = node else {
                return 1;
            };
            let mut depth = None;
            for child in children {
                assert!(child.node.count() > 0, "empty node");
                assert_eq!(child.weight, child.node.weight());
                assert!(
                    same_key(&child.first, &child.node.first()),
                    "separator is not the first key"
                );
                let below = check(&child.node, same_key);
                assert_eq!(
                    *depth.get_or_insert(below),
                    below,
                    "leaves at different depths"
                );
            }
            depth.expect("inner nodes have children") + 1
        }
        assert_eq!(self.weight, self.root.weight());
        assert!(
            !matches!(&*self.root, Node::Inner(children) if children.len() < 2),
            "root without a choice"
        );
        check(&self.root, &same_key)
    }
}
