//! Tests of the decisions about which objects are held.

use super::*;

/// A namespace may take 100 bytes, and the total is far away.
fn admission() -> Admission {
    Admission::new(MemoryBudget::new(MemoryLimits { namespace: 100, total: 1_000_000 }))
}

fn room(admission: &Admission) -> usize {
    admission.limits().namespace - admission.charges.usage("ns").namespace
}

fn take(admission: &mut Admission, object: &Candidate) -> bool {
    admission.apply(object, 0).is_ok()
}

fn object(name: &str, created: i64, bytes: usize) -> Candidate {
    Candidate {
        namespace: "ns".to_owned(),
        name: name.to_owned(),
        resource_version: Some("1".to_owned()),
        created: Some(Timestamp::from_second(created).unwrap()),
        bytes,
    }
}

/// Returns the names of the objects that a list in this order leaves in the cache.
fn listed(admission: &mut Admission, objects: &[Candidate]) -> Vec<String> {
    let mut held: Vec<String> = Vec::new();
    admission.begin_list(None);
    for object in objects {
        if let Decision::Held(replaced) = admission.list(None, object, 0) {
            held.retain(|name| !replaced.iter().any(|other| other.name == *name));
            held.push(object.name.clone());
        }
    }
    admission.end_list(None);
    held.sort();
    held
}

fn fitting(admission: &Admission) -> Vec<String> {
    admission.fitting(10, |_| 0).into_iter().map(|object| object.name).collect()
}

#[test]
fn whatever_the_order_of_a_list_the_oldest_objects_are_held() {
    let objects = [object("a", 9, 40), object("b", 1, 30), object("c", 3, 30), object("d", 2, 30)];
    let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]];
    for order in orders {
        let mut admission = admission();
        let objects = order.map(|index| objects[index].clone());
        assert_eq!(listed(&mut admission, &objects), ["b", "c", "d"], "{order:?}");
        assert_eq!(room(&admission), 10);
    }
}

#[test]
fn an_object_that_cannot_fit_replaces_nothing() {
    let mut admission = admission();
    let objects = [object("young", 9, 60), object("huge", 1, 101)];
    assert_eq!(listed(&mut admission, &objects), ["young"]);
    assert_eq!(room(&admission), 40);
}

/// Otherwise two objects could replace each other for ever.
#[test]
fn what_is_held_stays_when_an_older_object_is_changed_or_listed_again() {
    let mut admission = admission();
    assert!(take(&mut admission, &object("young", 9, 60)));
    assert!(!take(&mut admission, &object("old", 1, 60)));
    admission.begin_list(None);
    assert_eq!(admission.list(None, &object("young", 9, 60), 60), Decision::Held(vec![]));
    assert_eq!(admission.list(None, &object("old", 1, 60), 0), Decision::LeftOut(Shortage::Namespace));
}

#[test]
fn a_list_that_is_abandoned_charges_nothing() {
    let mut admission = admission();
    assert!(take(&mut admission, &object("known", 1, 50)));
    admission.begin_list(None);
    assert_eq!(admission.list(None, &object("known", 1, 70), 50), Decision::Held(vec![]));
    assert_eq!(admission.list(None, &object("new", 2, 30), 0), Decision::Held(vec![]));
    assert_eq!(room(&admission), 0);
    admission.begin_list(None);
    assert_eq!(room(&admission), 50);
}

#[test]
fn an_object_that_waits_gets_the_room_that_others_give_back() {
    let mut admission = admission();
    assert!(take(&mut admission, &object("held", 1, 60)));
    for waiting in [object("large", 2, 60), object("small", 3, 50), object("tiny", 4, 40)] {
        admission.wait(waiting);
    }
    assert_eq!(fitting(&admission), ["tiny"]);
    admission.release("ns", 60);
    assert_eq!(fitting(&admission), ["large", "tiny"], "the oldest first, and what fits beside it");
    admission.forget("ns", "large");
    assert_eq!(fitting(&admission), ["small", "tiny"]);
    admission.forget("ns", "small");
    admission.forget("ns", "tiny");
    assert!(!admission.has_waiting());
}

#[test]
fn namespaces_take_turns_when_there_is_room() {
    let mut admission = admission();
    let in_other = |name: &str| Candidate { namespace: "other".to_owned(), ..object(name, 5, 10) };
    for number in 0..5 {
        admission.wait(object(&format!("a{number}"), number, 10));
    }
    admission.wait(in_other("b"));
    let first: Vec<String> = admission.fitting(2, |_| 0).into_iter().map(|object| object.namespace).collect();
    assert!(first.contains(&"other".to_owned()), "{first:?}");
}

#[test]
fn a_list_of_one_namespace_forgets_what_waits_there_only() {
    let mut admission = admission();
    admission.wait(object("a", 1, 200));
    admission.wait(Candidate { namespace: "other".to_owned(), ..object("b", 1, 200) });
    admission.begin_list(Some("ns"));
    let waiting: Vec<&String> = admission.waiting.keys().collect();
    assert_eq!(waiting, ["other"]);
    assert!(admission.is_listing(Some("ns")) && !admission.is_listing(Some("other")));
}

/// Limits that no namespace reaches with its own objects.
fn tight() -> Admission {
    Admission::new(MemoryBudget::new(MemoryLimits { namespace: 100_000, total: 100_000 }))
}

/// Returns `count` objects of a namespace, the first of which was created at `created`.
fn objects_of(namespace: &str, created: i64, count: i64, bytes: usize) -> Vec<Candidate> {
    let mk = |number: i64| Candidate {
        namespace: namespace.to_owned(),
        ..object(&format!("{namespace}-{number:05}"), created + number, bytes)
    };
    (0..count).map(mk).collect()
}

/// Returns how many objects of each namespace are held.
fn counts(names: &[String], namespaces: [&str; 3]) -> [usize; 3] {
    namespaces.map(|namespace| names.iter().filter(|name| name.starts_with(namespace)).count())
}

/// Otherwise a restart would drop what worked, only because of the names of namespaces.
#[test]
fn whatever_the_order_of_a_list_old_and_small_namespaces_keep_what_they_had() {
    let old = objects_of("old", 0, 300, 100);
    let greedy = objects_of("greedy", 1_000, 2_000, 100);
    let small = objects_of("small", 5_000, 3, 100);
    let all = [old, greedy, small];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let held = orders.map(|order| {
        let objects = order.map(|index| all[index].clone()).concat();
        let mut admission = tight();
        let names = listed(&mut admission, &objects);
        assert!(admission.charges.usage("old").total <= 100_000);
        counts(&names, ["old", "greedy", "small"])
    });
    for (order, [old, greedy, small]) in orders.iter().zip(held) {
        assert_eq!((old, small), (300, 3), "{order:?}: {held:?}");
        assert!((400..=550).contains(&greedy), "{order:?}: {held:?}");
    }
}

#[test]
fn an_object_in_the_cache_is_never_replaced_by_one_of_another_namespace() {
    let mut admission = tight();
    for object in objects_of("young", 1_000, 900, 100) {
        let _ = admission.apply(&object, 0);
    }
    let before = admission.charges.usage("young");
    let held = listed(&mut admission, &objects_of("old", 0, 900, 100));
    assert_eq!(admission.charges.usage("young").namespace, before.namespace);
    assert!(!held.is_empty() && held.len() < 300, "{}", held.len());
    assert_eq!(
        admission.list(None, &objects_of("young", 0, 1, 100)[0], 0),
        Decision::LeftOut(Shortage::Total),
        "the total is used up"
    );
}

#[test]
fn the_smallest_namespace_gets_the_room_first() {
    let mut admission = tight();
    for object in [objects_of("large", 0, 300, 100), objects_of("medium", 0, 50, 100)].concat() {
        assert!(take(&mut admission, &object));
    }
    for object in ["large", "medium", "new"].map(|namespace| objects_of(namespace, 1_000, 1, 100)).concat() {
        admission.wait(object);
    }
    let first = admission.fitting(1, |_| 0);
    assert_eq!(first[0].namespace, "new");
    assert_eq!(admission.fitting(3, |_| 0)[1].namespace, "medium");
}
