//! Tests of the queue and the semaphore that share slots among tenants.

use futures::FutureExt as _;

use super::*;

/// Takes slots for all items that may have one now. Returns the items with their tenants.
fn drained(queue: &mut FairQueue<u32>) -> Vec<(String, u32)> {
    std::iter::from_fn(|| queue.pop()).map(|turn| (turn.tenant.to_string(), turn.item)).collect()
}

fn pushed(slots: usize, items: &[(&str, u32)]) -> FairQueue<u32> {
    let mut queue = FairQueue::new(slots);
    for (tenant, item) in items {
        queue.push(tenant, *item);
    }
    queue
}

fn count(taken: &[(String, u32)], tenant: &str) -> usize {
    taken.iter().filter(|(of, _)| of == tenant).count()
}

#[test]
fn one_tenant_alone_gets_half_of_the_slots_in_order_of_arrival() {
    let mut queue = FairQueue::new(8);
    for item in 0..100 {
        queue.push("a", item);
    }
    let taken: Vec<u32> = drained(&mut queue).into_iter().map(|(_, item)| item).collect();
    assert_eq!(taken, [0, 1, 2, 3]);
    queue.release("a");
    assert_eq!(drained(&mut queue), [("a".to_owned(), 4)]);
}

#[test]
fn a_newcomer_finds_a_free_slot_however_much_others_ask_for() {
    let mut queue = FairQueue::new(64);
    for hog in 0..10 {
        for item in 0..1000 {
            queue.push(&format!("hog-{hog}"), item);
        }
    }
    drained(&mut queue);
    queue.push("newcomer", 0);
    assert_eq!(drained(&mut queue), [("newcomer".to_owned(), 0)]);
}

#[test]
fn tenants_that_wait_take_turns_and_those_that_hold_least_come_first() {
    let mut queue = pushed(4, &[("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("c", 1), ("c", 2)]);
    let taken = drained(&mut queue);
    assert_eq!(taken, [("a".to_owned(), 1), ("b".to_owned(), 1), ("c".to_owned(), 1)]);
    queue.release("b");
    assert_eq!(drained(&mut queue), [("b".to_owned(), 2)], "it holds least");
    queue.release("b");
    queue.release("a");
    let taken = drained(&mut queue);
    assert_eq!(taken, [("a".to_owned(), 2), ("c".to_owned(), 2)], "then equals, in turn");
}

#[test]
fn busy_tenants_have_equal_shares() {
    let mut queue = FairQueue::new(64);
    for item in 0..1000 {
        for tenant in ["a", "b", "c"] {
            queue.push(tenant, item);
        }
    }
    let taken = drained(&mut queue);
    assert_eq!(["a", "b", "c"].map(|tenant| count(&taken, tenant)), [16, 16, 16]);
}

#[test]
fn what_is_over_takes_no_room() {
    let mut queue = pushed(4, &[("a", 1)]);
    let ticket = queue.push("b", 7);
    assert_eq!(queue.remove("b", ticket), Some(7));
    assert_eq!(queue.remove("b", ticket), None);
    assert_eq!(drained(&mut queue).len(), 1);
    queue.release("a");
    queue.release("a");
    assert_eq!((queue.free, queue.tenants.len(), queue.order.len()), (4, 0, 0));
}

/// Searching a list of tenants for each item would take minutes.
#[test]
fn a_hundred_thousand_tenants_are_served_at_once() {
    let mut queue = FairQueue::new(2);
    for tenant in 0..100_000 {
        queue.push(&tenant.to_string(), 0);
    }
    let mut served = 0;
    while let Some(Turn { tenant, .. }) = queue.pop() {
        queue.release(&tenant);
        served += 1;
    }
    assert_eq!(served, 100_000);
}

#[tokio::test]
async fn a_slot_is_handed_on_when_it_is_dropped() {
    let share = FairShare::new(2);
    let first = share.acquire("a").await;
    let mut second = Box::pin(share.acquire("a"));
    assert!((&mut second).now_or_never().is_none(), "half of two is one");
    assert!(share.try_acquire("a").is_none());
    assert!(share.try_acquire("b").is_some());
    drop(first);
    let _second = second.await;
}

#[tokio::test]
async fn whoever_stops_waiting_takes_no_slot_along() {
    let share = FairShare::new(2);
    let first = share.acquire("a").await;
    let mut given_up = Box::pin(share.acquire("a"));
    assert!((&mut given_up).now_or_never().is_none());
    drop(given_up);
    let mut too_late = Box::pin(share.acquire("a"));
    assert!((&mut too_late).now_or_never().is_none());
    drop(first); // The slot is handed to a caller that no longer polls.
    drop(too_late);
    drop(share.acquire("a").await);
    let queue = share.lock();
    assert_eq!((queue.free, queue.tenants.len()), (2, 0));
}
