//! Decides how much memory the objects of a namespace may take, by what they and those of all namespaces take.
//!
//! Each namespace has the same limit, and all together have a total. Nothing that is held is dropped for others, so what
//! one namespace takes is missing for those that come later. Therefore the less is free, the less a namespace may grow
//! to: the large ones are refused first, and the small ones go on.

/// The part of the total below which a namespace is small. There are never more namespaces that are not small.
const SMALL: usize = 256;
/// The part of the total that only small namespaces may use.
const RESERVE: usize = 16;
/// How much a namespace may take with new objects, as a multiple of the square of the free part of the total. A single
/// namespace gets up to 70 % of the total, and ten that store as much as they can leave enough for many small ones.
const SHARE: u128 = 8;

/// Limits of the memory that watched objects take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// What the objects of each namespace may take.
    pub namespace: usize,
    /// What all objects together may take.
    pub total: usize,
}

/// The memory that objects take, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// What those of one namespace take.
    pub(crate) namespace: usize,
    /// What those of all namespaces take.
    pub(crate) total: usize,
}

/// The limit for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// The namespace would exceed its own limit.
    Namespace,
    /// The namespace would take more than what is left of the total allows.
    Total,
}

impl Usage {
    /// Returns the usage after an object of the namespace that takes `old` bytes is replaced by one of `new` bytes.
    pub(crate) fn replace(self, old: usize, new: usize) -> Self {
        let replace = |bytes: usize| bytes.saturating_sub(old).saturating_add(new);
        Self { namespace: replace(self.namespace), total: replace(self.total) }
    }
}

impl MemoryLimits {
    /// Limits that are never reached.
    pub const NONE: Self = Self { namespace: usize::MAX, total: usize::MAX };

    /// Returns whether a namespace that uses so many bytes is small.
    pub(crate) fn is_small(&self, namespace: usize) -> bool {
        namespace <= self.total / SMALL
    }

    /// Checks whether an object of `new` bytes may replace one of `old` bytes, which is 0 for a new object. There is
    /// always room for an object that does not grow. An object that is held may grow as far as the total allows, because
    /// the users of its namespace depend on it.
    pub(crate) fn check(&self, usage: Usage, old: usize, new: usize) -> Result<(), Shortage> {
        if new <= old {
            return Ok(());
        }
        let after = usage.replace(old, new);
        if after.namespace > self.namespace {
            return Err(Shortage::Namespace);
        }
        let free = self.total.checked_sub(after.total).ok_or(Shortage::Total)?;
        if self.is_small(after.namespace) {
            return Ok(());
        }
        let has_room = free >= self.total / RESERVE && (old > 0 || self.is_fair(after.namespace, free));
        if has_room { Ok(()) } else { Err(Shortage::Total) }
    }

    /// Returns whether a namespace may take so many bytes while `free` bytes of the total are free.
    fn is_fair(&self, namespace: usize, free: usize) -> bool {
        let (namespace, total, free) = (namespace as u128, self.total as u128, free as u128);
        namespace.saturating_mul(total) <= free.saturating_mul(free).saturating_mul(SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MemoryLimits = MemoryLimits { namespace: 90_000, total: 100_000 };

    /// Returns what the namespaces take if each in turn stores as many objects of `bytes` as it can.
    fn fill(namespaces: usize, bytes: usize) -> Vec<usize> {
        let (mut all, mut total) = (Vec::new(), 0);
        for _ in 0..namespaces {
            let mut namespace = 0;
            while LIMITS.check(Usage { namespace, total }, 0, bytes).is_ok() {
                (namespace, total) = (namespace + bytes, total + bytes);
            }
            all.push(namespace);
        }
        all
    }

    #[test]
    fn one_namespace_gets_most_of_the_total_and_ten_leave_enough_for_small_ones() {
        let greedy = fill(10, 10);
        assert!((65_000..75_000).contains(&greedy[0]), "{greedy:?}");
        assert!(greedy.is_sorted_by(|a, b| a >= b), "those that come later get less: {greedy:?}");
        let total: usize = greedy.iter().sum();
        assert!(total <= LIMITS.total - LIMITS.total / RESERVE / 2, "{total}");
        let small = (LIMITS.total - total) / (LIMITS.total / SMALL);
        assert!(small >= SMALL / RESERVE / 2, "there is room for {small} more small ones");
    }

    #[test]
    fn the_total_holds_whatever_namespaces_store() {
        for bytes in [1, 7, 390, 5_000, 90_000] {
            let total: usize = fill(2_000, bytes).iter().sum();
            assert!(total <= LIMITS.total, "{total} with objects of {bytes}");
        }
    }

    /// Returns how the limits decide about an object of a namespace.
    fn check(namespace: usize, total: usize, (old, new): (usize, usize)) -> Option<Shortage> {
        LIMITS.check(Usage { namespace, total }, old, new).err()
    }

    #[test]
    fn a_large_namespace_is_refused_new_objects_before_a_small_one_and_before_what_it_has_may_not_grow() {
        let table = [
            // Half of the total is free.
            (40_000, 50_000, (0, 100), None),
            // A fifth is free.
            (40_000, 80_000, (0, 100), Some(Shortage::Total)),
            (40_000, 80_000, (100, 200), None),
            (5_000, 80_000, (0, 100), None),
            // Less than a sixteenth is free.
            (40_000, 95_000, (100, 200), Some(Shortage::Total)),
            (5_000, 95_000, (0, 100), Some(Shortage::Total)),
            (200, 95_000, (0, 100), None),
            // Nothing is free.
            (200, 100_000, (0, 100), Some(Shortage::Total)),
            (40_000, 100_000, (200, 200), None),
            (40_000, 110_000, (200, 100), None),
            // The namespace's own limit.
            (89_990, 89_990, (0, 100), Some(Shortage::Namespace)),
        ];
        for (namespace, total, object, expected) in table {
            assert_eq!(check(namespace, total, object), expected, "{namespace} of {total}, {object:?}");
        }
    }

    #[test]
    fn limits_that_are_never_reached_are_none() {
        let usage = Usage { namespace: usize::MAX / 4, total: usize::MAX / 2 };
        assert_eq!(MemoryLimits::NONE.check(usage, 0, 1 << 40), Ok(()));
    }
}
