//! Shares a bounded number of slots among tenants, which are namespaces. A tenant that requests many slows down only
//! itself.
//!
//! A tenant may take another slot while it holds fewer than are free. A single tenant therefore gets half of them, and
//! each of `n` busy ones about `1 / (n + 1)`. A new tenant finds a free slot, and need not wait for the others. Of the
//! tenants that wait, the one that holds the fewest slots is served first, and equals take turns.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// Items that wait for a slot, in order of arrival for each tenant. All operations are O(log n).
#[derive(Debug)]
pub struct FairQueue<T> {
    free: usize,
    tenants: HashMap<Arc<str>, Tenant<T>>,
    /// The tenants with waiting items.
    order: BTreeSet<Position>,
    /// The counter of arrivals and turns.
    clock: u64,
}

#[derive(Debug)]
struct Tenant<T> {
    in_use: usize,
    /// When the tenant last had its turn, or arrived.
    last_turn: u64,
    /// The waiting items, by ticket.
    waiting: BTreeMap<u64, T>,
}

/// The position of a tenant in the queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    in_use: usize,
    last_turn: u64,
    tenant: Arc<str>,
}

/// An item that has a slot.
#[derive(Debug)]
pub struct Turn<T> {
    /// Who waited with the item.
    pub tenant: Arc<str>,
    /// The item.
    pub item: T,
}

impl<T> FairQueue<T> {
    /// Returns an empty queue for `slots`. A single tenant gets half of them, rounded up.
    pub fn new(slots: usize) -> Self {
        Self { free: slots, tenants: HashMap::new(), order: BTreeSet::new(), clock: 0 }
    }

    /// Adds `item` to the waiting items of `tenant`. Returns the ticket for [`FairQueue::remove`].
    pub fn push(&mut self, tenant: &str, item: T) -> u64 {
        self.clock += 1;
        let ticket = self.clock;
        self.change(tenant, |entry| entry.waiting.insert(ticket, item));
        ticket
    }

    /// Removes an item that still waits.
    pub fn remove(&mut self, tenant: &str, ticket: u64) -> Option<T> {
        self.change(tenant, |entry| entry.waiting.remove(&ticket))
    }

    /// Takes a slot for the next item, if there is one that may have it. [`FairQueue::release`] gives the slot back.
    pub fn pop(&mut self) -> Option<Turn<T>> {
        let position = self.order.first().filter(|position| position.in_use < self.free)?.clone();
        self.clock += 1;
        let last_turn = self.clock;
        let item = self.change(&position.tenant, |entry| {
            entry.last_turn = last_turn;
            entry.in_use += 1;
            entry.waiting.pop_first()
        });
        self.free -= 1;
        item.map(|(_, item)| Turn { tenant: position.tenant, item })
    }

    /// Takes a slot for `tenant` without waiting, if the tenant may have one and has no waiting items. Returns whether
    /// it did.
    pub fn take(&mut self, tenant: &str) -> bool {
        let may = match self.tenants.get(tenant) {
            Some(entry) => entry.waiting.is_empty() && entry.in_use < self.free,
            None => self.free > 0,
        };
        if may {
            self.change(tenant, |entry| entry.in_use += 1);
            self.free -= 1;
        }
        may
    }

    /// Gives back a slot of `tenant`.
    pub fn release(&mut self, tenant: &str) {
        let in_use = self.change(tenant, |entry| {
            let in_use = entry.in_use;
            entry.in_use = in_use.saturating_sub(1);
            in_use
        });
        self.free += usize::from(in_use > 0);
    }

    /// Changes the entry of `tenant`, and moves the tenant to its new position in the queue.
    fn change<R>(&mut self, tenant: &str, change: impl FnOnce(&mut Tenant<T>) -> R) -> R {
        let (name, mut entry) = self.tenants.remove_entry(tenant).unwrap_or_else(|| {
            self.clock += 1;
            (Arc::from(tenant), Tenant { in_use: 0, last_turn: self.clock, waiting: BTreeMap::new() })
        });
        self.order.remove(&Position { in_use: entry.in_use, last_turn: entry.last_turn, tenant: Arc::clone(&name) });
        let result = change(&mut entry);
        if !entry.waiting.is_empty() {
            self.order.insert(Position { in_use: entry.in_use, last_turn: entry.last_turn, tenant: Arc::clone(&name) });
        }
        if entry.in_use > 0 || !entry.waiting.is_empty() {
            self.tenants.insert(name, entry);
        }
        result
    }
}

/// A semaphore whose slots are shared as in [`FairQueue`]. Clones share the slots.
#[derive(Clone, Debug)]
pub struct FairShare(Arc<Mutex<FairQueue<oneshot::Sender<()>>>>);

/// A slot, which is given back when this is dropped.
#[derive(Debug)]
#[must_use = "the slot is given back when this is dropped"]
pub struct Slot {
    share: FairShare,
    tenant: Box<str>,
}

impl FairShare {
    /// Returns a semaphore with `slots`. A single tenant gets half of them, rounded up.
    pub fn new(slots: usize) -> Self {
        Self(Arc::new(Mutex::new(FairQueue::new(slots))))
    }

    /// Waits for a slot for `tenant`. A caller that stops waiting leaves the queue.
    pub async fn acquire(&self, tenant: &str) -> Slot {
        let mut waiting = {
            let mut queue = self.lock();
            if queue.take(tenant) {
                return self.slot(tenant);
            }
            let (sender, receiver) = oneshot::channel();
            let ticket = queue.push(tenant, sender);
            Waiting { share: self, tenant, ticket, receiver, is_over: false }
        };
        // No error occurs, because the queue keeps the sender until it has sent.
        let _ = (&mut waiting.receiver).await;
        waiting.is_over = true;
        self.slot(tenant)
    }

    /// Takes a slot for `tenant` if it may have one now.
    pub fn try_acquire(&self, tenant: &str) -> Option<Slot> {
        let taken = self.lock().take(tenant);
        taken.then(|| self.slot(tenant))
    }

    fn slot(&self, tenant: &str) -> Slot {
        Slot { share: self.clone(), tenant: tenant.into() }
    }

    fn release(&self, tenant: &str) {
        let mut queue = self.lock();
        queue.release(tenant);
        while let Some(Turn { item: sender, .. }) = queue.pop() {
            // A caller that has stopped waiting in the meantime gives the slot back by itself.
            let _ = sender.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, FairQueue<oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.share.release(&self.tenant);
    }
}

/// A place in the queue, which is left when this is dropped.
struct Waiting<'a> {
    share: &'a FairShare,
    tenant: &'a str,
    ticket: u64,
    receiver: oneshot::Receiver<()>,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let still_waits = self.share.lock().remove(self.tenant, self.ticket).is_some();
        if !still_waits {
            self.share.release(self.tenant);
        }
    }
}

#[cfg(test)]
mod tests;
