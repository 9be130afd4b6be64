//! Responses must depend on nothing but the request.

use dask_plugin_protocol::{PluginResponse, limits};
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::Outcome;
use crate::{
    Session,
    inputs::variant,
    session::{about, failed},
};

/// The number of times that a request is sent.
const REPETITIONS: usize = 5;
/// The number of concurrent requests.
const CONCURRENCY: usize = 16;
/// The maximum number of rounds until the children of a plugin stay the same.
const MAX_ROUNDS: usize = 3;

pub(super) async fn are_the_same(session: &Session) -> Outcome {
    for (review, what, first) in session.answers().await? {
        for _ in 1..REPETITIONS {
            same(&first, &session.ask(review, &what).await?, &format!("{what} again"))?;
        }
    }
    Ok(())
}

/// The concurrent requests have different uids, so that mixed-up responses are detected.
pub(super) async fn are_concurrent(session: &Session) -> Outcome {
    let review = session.review()?;
    let what = format!("{}, {CONCURRENCY} times concurrently", about(review));
    let generation = |n: usize| variant(review, |request| request["plugin"]["generation"] = json!(n + 1));
    let reviews: Vec<_> = (0..CONCURRENCY).map(generation).collect();
    let mut sequential = Vec::new();
    for review in &reviews {
        sequential.push(session.ask(review, &about(review)).await?);
    }
    let concurrent = try_join_all(reviews.iter().map(|review| session.ask(review, &what))).await?;
    sequential.iter().zip(&concurrent).try_for_each(|(first, again)| same(first, again, &what))
}

pub(super) async fn are_repeated(session: &Session) -> Outcome {
    for (review, what, first) in session.answers().await? {
        let again = variant(review, |request| request["attempt"] = json!(2));
        let what = format!("{what} as a second attempt");
        same(&first, &session.ask(&again, &what).await?, &what)?;
    }
    Ok(())
}

/// The attempt and the event are not part of the uid, which stays the same.
pub(super) async fn ignore_hints(session: &Session) -> Outcome {
    for (review, what, first) in session.answers().await? {
        for (attempt, reason) in [(1, "Resync"), (1, "Updated"), (3, "ChildDrift"), (1, "PluginChanged")] {
            let hinted = variant(review, |request| {
                request["attempt"] = json!(attempt);
                request["event"]["reason"] = json!(reason);
                request["event"]["time"] = json!("2031-01-01T00:00:00Z");
            });
            let what = format!("{what} with event.reason {reason} at another time");
            same(&first, &session.ask(&hinted, &what).await?, &what)?;
        }
    }
    Ok(())
}

pub(super) async fn equal_dry_runs(session: &Session) -> Outcome {
    for (review, what, first) in session.answers().await? {
        let what = format!("{what} with dryRun");
        let mut dry = session.ask(&variant(review, |request| request["dryRun"] = json!(true)), &what).await?;
        // A dry run has a different uid.
        dry.uid.clone_from(&first.uid);
        same(&first, &dry, &what)?;
    }
    Ok(())
}

pub(super) async fn settle(session: &Session) -> Outcome {
    for (review, what, mut answer) in session.answers().await? {
        let what = format!("{what} with the children of its response observed");
        let mut rounds = 0;
        loop {
            let next = variant(review, |request| request["observed"]["children"] = observed(&answer));
            let again = session.ask(&next, &what).await?;
            if again.children == answer.children {
                break;
            }
            rounds += 1;
            if rounds == MAX_ROUNDS {
                let got = format!("{} after {}", short(&again), short(&answer));
                return Err(failed(what, "the same children again, within three rounds", got));
            }
            answer = again;
        }
    }
    Ok(())
}

pub(super) async fn survive(session: &Session) -> Outcome {
    session.discovery().await?;
    session.answers().await.map(drop)
}

fn observed(answer: &PluginResponse) -> Value {
    let children = answer.children.iter().flatten();
    Value::Object(children.map(|child| (child.key.clone(), json!({"object": child.manifest}))).collect())
}

fn same(first: &PluginResponse, again: &PluginResponse, sent: &str) -> Outcome {
    if first == again {
        return Ok(());
    }
    Err(failed(sent, format!("the same response as before: {}", short(first)), short(again)))
}

fn short(answer: &PluginResponse) -> String {
    limits::cut_message(&json!(answer).to_string()).to_owned()
}
