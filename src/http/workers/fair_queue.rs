//! A queue whose places its users share evenly. The owner decides on the number of places.
//!
//! Each user has a line, and the lines are served in turn. A free place is available to all. When
//! none is free, a user whose line is shorter takes the last place of the longest line. So as long
//! as there are fewer users than places, each finds one, and is served after each of the others was
//! served once, whatever one of them sends.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A queue that users with the key `K` share.
pub(in crate::http) struct FairQueue<K, T> {
    lines: HashMap<K, VecDeque<T>>,
    /// Users with a line, in the order of service.
    turns: VecDeque<K>,
}

impl<K: Copy + Eq + Hash, T> FairQueue<K, T> {
    pub(in crate::http) fn new() -> FairQueue<K, T> {
        FairQueue { lines: HashMap::new(), turns: VecDeque::new() }
    }

    /// Queues an item. There must be a free place.
    pub(in crate::http) fn push(&mut self, key: K, item: T) {
        let line = match self.lines.entry(key) {
            Entry::Occupied(line) => line.into_mut(),
            Entry::Vacant(line) => {
                self.turns.push_back(key);
                line.insert(VecDeque::new())
            }
        };
        line.push_back(item);
    }

    /// Queues an item when no place is free. Returns the item that has lost its place, or this one.
    pub(in crate::http) fn displace(&mut self, key: K, item: T) -> T {
        let length = |key: &K| self.lines.get(key).map_or(0, VecDeque::len);
        let longest = self.turns.iter().copied().max_by_key(length);
        // With a difference of one, two users would displace each other in turn.
        let longest = longest.filter(|longest| length(longest) > length(&key) + 1);
        let last = longest.and_then(|longest| self.lines.get_mut(&longest)?.pop_back());
        let Some(last) = last else { return item };
        self.push(key, item);
        last
    }

    /// Takes the first item of the line whose turn it is.
    pub(in crate::http) fn pop(&mut self) -> Option<T> {
        let key = self.turns.pop_front()?;
        let Entry::Occupied(mut line) = self.lines.entry(key) else { return None };
        let item = line.get_mut().pop_front();
        if line.get().is_empty() {
            line.remove();
        } else {
            self.turns.push_back(key);
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAPACITY: usize = 8;

    /// Items carry their user, and the number of that user's earlier items.
    type FairShare = FairQueue<u8, (u8, usize)>;

    #[test]
    fn a_full_queue_has_room_for_other_users() {
        let mut queue = FairShare::new();
        for n in 0..CAPACITY {
            queue.push(0, (0, n));
        }
        assert_eq!(queue.displace(0, (0, 8)), (0, 8));
        assert_eq!(queue.displace(1, (1, 0)), (0, 7));
        assert_eq!(queue.displace(2, (2, 0)), (0, 6));
        let served: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(
            served,
            [(0, 0), (1, 0), (2, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5)],
            "each in turn"
        );
    }

    proptest! {
        #[test]
        fn each_has_a_share(ops in prop::collection::vec((any::<bool>(), 0..12_u8), 1..400)) {
            let mut queue = FairShare::new();
            let mut model: Vec<(u8, usize)> = Vec::new();
            let mut count = 0;
            let held = |model: &[(u8, usize)], key| model.iter().filter(|it| it.0 == key).count();
            // Users served since, for each user that waits.
            let mut served_since: HashMap<u8, Vec<u8>> = HashMap::new();
            for (pushes, key) in ops {
                if !pushes {
                    let item = queue.pop();
                    prop_assert_eq!(item.is_none(), model.is_empty());
                    let Some(item) = item else { continue };
                    // The first item of its line.
                    let first = model.iter().position(|it| it.0 == item.0).unwrap();
                    prop_assert_eq!(model.remove(first), item);
                    served_since.remove(&item.0);
                    for key in 0..12 {
                        if held(&model, key) > 0 && key != item.0 {
                            let served = served_since.entry(key).or_default();
                            prop_assert!(!served.contains(&item.0), "{} waits", key);
                            served.push(item.0);
                        }
                    }
                    continue;
                }
                count += 1;
                let (before, own) = (model.clone(), held(&model, key));
                let most = (0..12).map(|key| held(&model, key)).max().unwrap();
                model.push((key, count));
                if before.len() < CAPACITY {
                    queue.push(key, (key, count));
                    continue;
                }
                let item = queue.displace(key, (key, count));
                model.retain(|it| *it != item);
                if item == (key, count) {
                    let others = (0..12).filter(|it| *it != key && held(&before, *it) > 0);
                    prop_assert!(most <= own + 1);
                    prop_assert!(own > 0 || others.count() >= CAPACITY);
                } else {
                    prop_assert_eq!(held(&before, item.0), most);
                    prop_assert!(most > own + 1);
                    let last = before.iter().rposition(|it| it.0 == item.0).unwrap();
                    prop_assert_eq!(before[last], item);
                }
                prop_assert!(model.len() <= CAPACITY);
            }
        }
    }
}
