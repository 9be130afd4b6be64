//! Whether the answer depends on nothing but the question.

use dask_plugin_protocol::{PluginResponse, limits};
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::Checked;
use crate::{
    Lab,
    lab::{about, failed},
    matter::variant,
};

/// How often a question is repeated.
const REPETITIONS: usize = 5;
/// How many questions are asked at once.
const CROWD: usize = 16;
/// How many rounds a plugin may take until its children stay the same.
const ROUNDS: usize = 3;

pub(super) async fn are_the_same(lab: &Lab) -> Checked {
    for (review, what, first) in lab.answers().await? {
        for _ in 1..REPETITIONS {
            same(&first, &lab.ask(review, &what).await?, &format!("{what} again"))?;
        }
    }
    Ok(())
}

/// Each of the crowd is another question with another uid, so that mixed up answers are seen.
pub(super) async fn stand_a_crowd(lab: &Lab) -> Checked {
    let review = lab.review()?;
    let what = format!("{}, {CROWD} times at once", about(review));
    let generation = |n: usize| variant(review, |request| request["plugin"]["generation"] = json!(n + 1));
    let questions: Vec<_> = (0..CROWD).map(generation).collect();
    let mut in_turn = Vec::new();
    for question in &questions {
        in_turn.push(lab.ask(question, &about(question)).await?);
    }
    let at_once = try_join_all(questions.iter().map(|question| lab.ask(question, &what))).await?;
    in_turn.iter().zip(&at_once).try_for_each(|(first, again)| same(first, again, &what))
}

pub(super) async fn are_given_again(lab: &Lab) -> Checked {
    for (review, what, first) in lab.answers().await? {
        let again = variant(review, |request| request["attempt"] = json!(2));
        let what = format!("{what} as another attempt");
        same(&first, &lab.ask(&again, &what).await?, &what)?;
    }
    Ok(())
}

/// Neither attempt nor event are part of the question: its uid stays.
pub(super) async fn ignore_hints(lab: &Lab) -> Checked {
    for (review, what, first) in lab.answers().await? {
        for (attempt, reason) in [(1, "Resync"), (1, "Updated"), (3, "ChildDrift"), (1, "PluginChanged")] {
            let hinted = variant(review, |request| {
                request["attempt"] = json!(attempt);
                request["event"]["reason"] = json!(reason);
                request["event"]["time"] = json!("2031-01-01T00:00:00Z");
            });
            let what = format!("{what} with event.reason {reason} at another time");
            same(&first, &lab.ask(&hinted, &what).await?, &what)?;
        }
    }
    Ok(())
}

pub(super) async fn show_the_truth(lab: &Lab) -> Checked {
    for (review, what, first) in lab.answers().await? {
        let what = format!("{what} with dryRun");
        let mut shown = lab.ask(&variant(review, |request| request["dryRun"] = json!(true)), &what).await?;
        // It is another question with another uid.
        shown.uid.clone_from(&first.uid);
        same(&first, &shown, &what)?;
    }
    Ok(())
}

pub(super) async fn settle(lab: &Lab) -> Checked {
    for (review, what, mut answer) in lab.answers().await? {
        let what = format!("{what} with the children of its answer in place");
        let mut rounds = 0;
        loop {
            let next = variant(review, |request| request["observed"]["children"] = observed(&answer));
            let again = lab.ask(&next, &what).await?;
            if again.children == answer.children {
                break;
            }
            rounds += 1;
            if rounds == ROUNDS {
                let got = format!("{} after {}", short(&again), short(&answer));
                return Err(failed(what, "the same children again, within three rounds", got));
            }
            answer = again;
        }
    }
    Ok(())
}

pub(super) async fn live_on(lab: &Lab) -> Checked {
    lab.discovery().await?;
    lab.answers().await.map(drop)
}

fn observed(answer: &PluginResponse) -> Value {
    let children = answer.children.iter().flatten();
    Value::Object(children.map(|child| (child.key.clone(), json!({"object": child.manifest}))).collect())
}

fn same(first: &PluginResponse, again: &PluginResponse, sent: &str) -> Checked {
    if first == again {
        return Ok(());
    }
    Err(failed(sent, format!("the same answer as before: {}", short(first)), short(again)))
}

fn short(answer: &PluginResponse) -> String {
    limits::cut_message(&json!(answer).to_string()).to_owned()
}
