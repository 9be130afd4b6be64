//! Tests of the decisions about finalization.

use super::*;
use crate::model::key::identity_of;

const DEADLINE: Duration = Duration::from_mins(5);
const ACTIVE: Owner = Owner::Active { has_finalizer: true };
const TERMINATING: Owner = Owner::Terminating { has_finalizer: true };

/// Returns a subject that matches, was synchronised, and gets a Finalize call before it is deleted.
fn synced(owner: Owner) -> FinalizeInput {
    FinalizeInput {
        owner,
        matches: true,
        finalizes: true,
        mark: Some(FinalizeState::Engaged),
        has_children: true,
        may_be_left: false,
        deadline: DEADLINE,
    }
}

/// Returns the same subject after it stopped matching.
fn unmatched(owner: Owner) -> FinalizeInput {
    FinalizeInput { matches: false, ..synced(owner) }
}

fn stage_of(situation: &FinalizeInput) -> Stage {
    stage(situation, Instant::now())
}

#[test]
fn a_finalizer_names_its_plugin() {
    assert_eq!(name_of("ingress"), "plugin.kubernetes.dask.org/ingress");
    assert_eq!(identity_of("plugin.kubernetes.dask.org/ingress.team-a"), Some("ingress.team-a"));
    assert_eq!(identity_of("foregroundDeletion"), None);
    assert_eq!(identity_of("example.com/plugin.kubernetes.dask.org/ingress"), None);
}

#[test]
fn finalizing_is_opted_into_twice() {
    let policy = |enabled| FinalizePolicy { enabled, ..FinalizePolicy::default() };
    assert!(is_on(policy(true), &[Hook::Sync, Hook::Finalize]));
    assert!(!is_on(policy(true), &[Hook::Sync]));
    assert!(!is_on(policy(false), &[Hook::Sync, Hook::Finalize]));
}

/// A Sync call for a Dask resource that is being deleted would create children, and possibly resources outside the
/// cluster.
#[test]
fn a_subject_is_synced_until_its_owner_is_deleted_and_finalized_then() {
    let deleting = Stage::Finalize(EventReason::Deleting);
    let marked = |mark| FinalizeInput { mark, ..synced(TERMINATING) };
    assert_eq!(stage_of(&synced(ACTIVE)), Stage::Sync);
    assert_eq!(stage_of(&synced(Owner::Active { has_finalizer: false })), Stage::Sync);
    assert_eq!(stage_of(&FinalizeInput { mark: Some(FinalizeState::Finalized), ..synced(ACTIVE) }), Stage::Sync);
    assert_eq!(stage_of(&marked(Some(FinalizeState::Engaged))), deleting);
    assert_eq!(stage_of(&marked(None)), deleting, "a controller that was restarted remembers nothing");
    assert_eq!(stage_of(&marked(Some(FinalizeState::Finalized))), Stage::Rest);
    assert_eq!(stage_of(&synced(Owner::Absent)), Stage::Rest);
}

#[test]
fn only_a_plugin_that_opted_in_and_may_hold_something_is_asked_to_finalize() {
    let off = |situation| FinalizeInput { finalizes: false, ..situation };
    assert_eq!(stage_of(&off(synced(TERMINATING))), Stage::Rest);
    assert_eq!(stage_of(&off(unmatched(TERMINATING))), Stage::Prune);
    assert_eq!(stage_of(&off(unmatched(ACTIVE))), Stage::Prune);
    assert_eq!(
        stage_of(&synced(Owner::Terminating { has_finalizer: false })),
        Stage::Rest,
        "nobody would wait for the answer"
    );
}

#[test]
fn a_subject_that_stops_matching_is_finalized_and_then_pruned() {
    let leaving = Stage::Finalize(EventReason::Unmatched);
    let marked = |mark| FinalizeInput { mark, ..unmatched(ACTIVE) };
    assert_eq!(stage_of(&marked(Some(FinalizeState::Engaged))), leaving);
    assert_eq!(stage_of(&marked(Some(FinalizeState::Finalized))), Stage::Prune);
    assert_eq!(stage_of(&unmatched(Owner::Absent)), Stage::Prune);
    assert_eq!(stage_of(&unmatched(TERMINATING)), Stage::Finalize(EventReason::Deleting));
    let since = Instant::now();
    let waiting = marked(Some(FinalizeState::Leaving(since)));
    assert_eq!(stage(&waiting, since + DEADLINE.mul_f32(0.99)), leaving);
    assert_eq!(stage(&waiting, since + DEADLINE), Stage::PruneLate);
}

/// Otherwise the plugin would be called about each pod of each cluster as soon as the pod no longer matches.
#[test]
fn a_subject_that_the_plugin_was_never_called_about_is_not_finalized() {
    let never = |owner| FinalizeInput { mark: None, has_children: false, ..unmatched(owner) };
    assert_eq!(stage_of(&never(ACTIVE)), Stage::Prune);
    assert_eq!(stage_of(&never(TERMINATING)), Stage::Prune);
    let children = FinalizeInput { has_children: true, ..never(ACTIVE) };
    assert_eq!(stage_of(&children), Stage::Finalize(EventReason::Unmatched), "children outlive a restart");
    let left = |has_finalizer| FinalizeInput { may_be_left: true, ..never(Owner::Active { has_finalizer }) };
    assert_eq!(stage_of(&left(true)), Stage::Finalize(EventReason::Unmatched), "so does the finalizer");
    assert_eq!(stage_of(&left(false)), Stage::Prune);
}

#[test]
fn a_deadline_shortens_the_wait_for_the_next_try() {
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    assert_eq!(sooner(None, None, now), None);
    assert_eq!(sooner(Some(9 * second), None, now), Some(9 * second));
    assert_eq!(sooner(Some(9 * second), Some(now + second), now), Some(second));
    assert_eq!(sooner(None, Some(now + second), now), Some(second));
    assert_eq!(sooner(Some(second), Some(now + 9 * second), now), Some(second));
}

#[test]
fn a_finalizer_stays_while_a_subject_is_engaged_or_matches() {
    let (leaving, done) = (Some(FinalizeState::Leaving(Instant::now())), Some(FinalizeState::Finalized));
    let table = [
        // going, matches, mark, expected
        (false, true, None, true),
        (false, true, done, true),
        (false, false, None, false),
        (false, false, Some(FinalizeState::Engaged), true),
        (false, false, leaving, true),
        (false, false, done, false),
        (true, true, None, true),
        (false, true, Some(FinalizeState::NotCalled), false),
        (true, true, Some(FinalizeState::NotCalled), false),
        (true, true, Some(FinalizeState::Engaged), true),
        (true, false, leaving, true),
        (true, true, done, false),
        (true, false, None, false),
    ];
    for (going, matches, mark, expected) in table {
        assert_eq!(is_waited_for(going, matches, mark), expected, "{going} {matches} {mark:?}");
    }
}

/// Returns the decisions one second before the deadline, at the deadline, and for a Dask resource that is not being
/// deleted.
fn decisions(plugin: Plugin) -> [Action; 3] {
    let since = Timestamp::from_second(1_795_424_400).unwrap();
    let after = |seconds| Timestamp::from_second(since.as_second() + seconds).unwrap();
    [
        decide(plugin, Some(since), DEADLINE, after(299)),
        decide(plugin, Some(since), DEADLINE, after(300)),
        decide(plugin, None, DEADLINE, after(1_000_000)),
    ]
}

#[test]
fn a_finalizer_is_removed_at_the_deadline() {
    use Action::{Keep, Remove, RemoveLate};
    let called = |looked, waiting| Plugin::Called { looked, waiting };
    assert_eq!(decisions(Plugin::Off), [Remove, Remove, Remove]);
    assert_eq!(decisions(Plugin::Away), [Keep, RemoveLate, Keep]);
    assert_eq!(decisions(called(true, 2)), [Keep, RemoveLate, Keep]);
    assert_eq!(decisions(called(true, 0)), [Remove, Remove, Remove]);
    assert_eq!(decisions(called(false, 0)), [Keep, RemoveLate, Keep], "nobody knows yet what there is to ask about");
}
