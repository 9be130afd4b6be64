//! What users who store more than the controller holds cost it and the others: bounded memory, and nothing else. Run them
//! with `make live`.
//!
//! The memory is compared with that of the same controller before, or of one that was started without the objects. The
//! objects take far more than the bound allows, so that a controller that holds them all fails.

use futures::future::join_all;

use super::isolation::{RATIO, fastest, nearly_as_fast, round};
use crate::support::{
    Controller, TestContext, alone_with_temp_ns, condition, controller::EVERYWHERE, eventually, hostile::large_group,
};

/// Groups of a hostile user with one namespace. They take 48 MiB.
const GROUPS: usize = 400;
/// Groups in each namespace of a hostile user with several. They take 20 MiB.
const GROUPS_OF_MANY: usize = 170;
/// What each of them takes, in KiB. A larger object would get no condition.
const GROUP_KIB: usize = 120;
/// What the controller may need in addition to what it holds: a page of a list, requests in progress, fragments.
const TRANSIENT: u64 = 32 << 20;

/// Returns the reason of a group's condition `Accepted`.
async fn accepted(context: &TestContext, group: &str) -> String {
    condition(&context.get("DaskWorkerGroup", group).await.unwrap(), "Accepted").1.to_owned()
}

/// Waits until the reason of a group that does not fit is `reason` or, without one, until the group is held.
async fn until_reason(context: &TestContext, group: &str, reason: Option<&str>) {
    let left_out = ["NamespaceTooLarge", "ControllerMemoryFull"];
    let is_expected = |found: &str| match reason {
        Some(reason) => found == reason,
        None => !found.is_empty() && !left_out.contains(&found),
    };
    eventually(&format!("{group} to have the reason {reason:?}"), async || match accepted(context, group).await {
        found if is_expected(&found) => Ok(()),
        found => Err(format!("its reason is {found}")),
    })
    .await;
}

/// Waits until at least so many groups are left out.
async fn until_left_out(controller: &Controller, count: usize) {
    let name = "dask_operator_unreadable_objects{kind=\"daskworkergroups\"}";
    eventually(&format!("{count} groups to be left out"), async || match controller.metric(name).await {
        Some(found) if found >= count as u64 => Ok(()),
        found => Err(format!("there are {found:?}")),
    })
    .await;
}

/// Creates so many groups of a hostile user. Returns their names.
async fn create_groups(context: &TestContext, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("group-{number}")).collect();
    for some in names.chunks(16) {
        join_all(some.iter().map(|name| async { context.create(&large_group(name, GROUP_KIB)).await })).await;
    }
    names
}

/// Checks that the controller has at most so much more memory than `before` as it may hold. Returns what was compared.
fn check_memory(when: &str, controller: &Controller, (before, held): (u64, u64)) -> String {
    let (now, allowed) = (controller.resident_memory(), before + held + TRANSIENT);
    let said =
        format!("{when}: {} MiB, of which {} before, and {} are allowed", now >> 20, before >> 20, allowed >> 20);
    assert!(now <= allowed, "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn a_namespace_with_more_than_the_controller_holds_costs_the_others_nothing() {
    alone_with_temp_ns(async |large_user| {
        const HELD: u64 = 8 << 20;
        let other_user = TestContext::of(large_user.client.clone(), &format!("{}-other", large_user.namespace));
        other_user.create_namespace().await;
        let flags = [EVERYWHERE, "--namespace-memory-mib", "8"];
        let controller = large_user.start_controller_with(&flags).await;
        let without = fastest(&other_user).await;
        let before = controller.resident_memory();

        large_user.create(&large_group("a-first", GROUP_KIB)).await;
        until_reason(&large_user, "a-first", None).await;
        let names = create_groups(&large_user, GROUPS).await;
        until_left_out(&controller, GROUPS * 3 / 4).await;
        let with = nearly_as_fast(&other_user, without).await;
        println!("{}", check_memory("one namespace has too much", &controller, (before, HELD)));
        controller.kill().await;

        let restarted = large_user.start_controller_with(&flags).await;
        until_left_out(&restarted, GROUPS * 3 / 4).await;
        let after = nearly_as_fast(&other_user, without).await;
        until_reason(&large_user, "a-first", None).await;
        println!("{}", check_memory("after a restart", &restarted, (before, HELD)));

        // There is room again.
        let last = names.last().unwrap();
        until_reason(&large_user, last, Some("NamespaceTooLarge")).await;
        let others = names.iter().filter(|name| *name != last);
        join_all(others.map(|name| large_user.delete("DaskWorkerGroup", name))).await;
        until_reason(&large_user, last, None).await;
        let mut baseline = without;
        if with.max(after) > without.mul_f64(RATIO) {
            // The machine may have become slower since.
            baseline = baseline.max(fastest(&other_user).await);
        }
        println!("{with:?} and, after a restart, {after:?} beside {baseline:?}");
        assert!(with.max(after) <= baseline.mul_f64(RATIO), "{with:?} and {after:?} beside {baseline:?}");
        other_user.delete_namespace().await;
    })
    .await;
}

/// Returns what all objects take in the controller, and what they may take.
async fn objects(controller: &Controller) -> (u64, u64) {
    let metric = async |name: &str| controller.metric(name).await.unwrap();
    (metric("dask_operator_objects_bytes").await, metric("dask_operator_objects_limit_bytes").await)
}

/// None of these namespaces reaches its own budget.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: make live"]
async fn many_large_namespaces_together_do_not_use_up_the_memory_of_the_small_ones() {
    alone_with_temp_ns(async |first| {
        const HELD: u64 = 40 << 20;
        let of = |name: &str| TestContext::of(first.client.clone(), &format!("{}-{name}", first.namespace));
        let (other_user, large) = (of("other"), [of("a"), of("b"), of("c")]);
        for context in large.iter().chain([&other_user]) {
            context.create_namespace().await;
        }
        // 40 MiB of it are for objects.
        let flags = [EVERYWHERE, "--memory-limit-mib", "64"];
        let controller = first.start_controller_with(&flags).await;
        round(&other_user).await;
        let before = controller.resident_memory();

        let mut last = Vec::new();
        for context in &large {
            last.extend(create_groups(context, GROUPS_OF_MANY).await.pop());
        }
        until_left_out(&controller, GROUPS_OF_MANY).await;
        until_reason(&large[2], &last[2], Some("ControllerMemoryFull")).await;
        let (held, limit) = objects(&controller).await;
        assert!(limit == HELD && held <= limit && held > limit / 2, "{held} of {limit}");
        round(&other_user).await;
        println!("{}", check_memory("many namespaces have too much", &controller, (before, HELD)));
        controller.kill().await;

        let restarted = first.start_controller_with(&flags).await;
        until_left_out(&restarted, GROUPS_OF_MANY).await;
        round(&other_user).await;
        println!("{}", check_memory("after a restart", &restarted, (before, HELD)));
        until_reason(&large[0], "group-0", None).await;

        // There is room again.
        for context in &large[..2] {
            context.delete_namespace().await;
        }
        until_reason(&large[2], &last[2], None).await;
        for context in [&large[2], &other_user] {
            context.delete_namespace().await;
        }
    })
    .await;
}
