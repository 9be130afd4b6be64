//! Compares the permissions that the controller uses with those that the chart grants.

use serde_json::Value;

use super::*;

/// A permission as the chart's roles grant it: scope, group, resource with subresource, verb, and the only object.
type Granted = (At, String, String, String, Option<String>);

const OWN: &str = "dask-operator";

/// Returns the flags of the chart if these namespaces are watched.
fn questions(namespaces: &[&str], tenants: bool) -> Questions {
    Questions {
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        operator_namespace: OWN.to_owned(),
        service_account: OWN.to_owned(),
        tenants,
        events: true,
        claim: Some(format!("{OWN}.{OWN}")),
    }
}

/// Returns the flags of the controller in a rendered chart.
fn questions_of(chart: &[Value]) -> Questions {
    let deployment = chart.iter().find(|document| document["kind"] == "Deployment").unwrap();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let env = |name: &str| {
        let variables = container["env"].as_array().unwrap();
        let found = variables.iter().find(|variable| variable["name"] == name);
        found.and_then(|variable| variable["value"].as_str()).unwrap_or_default().to_owned()
    };
    let namespaces = env("WATCH_NAMESPACE");
    let operator_namespace = deployment["metadata"]["namespace"].as_str().unwrap().to_owned();
    Questions {
        namespaces: namespaces.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        service_account: env("SERVICE_ACCOUNT"),
        tenants: env("PLUGIN_TENANTS") == "true",
        events: true,
        claim: (env("LEADER_ELECTION") == "true").then(|| format!("{}.{operator_namespace}", env("LEASE_NAME"))),
        operator_namespace,
    }
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// Returns all permissions that the roles of a rendered chart grant.
fn granted(chart: &[Value]) -> BTreeSet<Granted> {
    let mut granted = BTreeSet::new();
    // Hooks have accounts of their own.
    for document in chart.iter().filter(|document| document["metadata"]["annotations"]["helm.sh/hook"].is_null()) {
        let at = match document["kind"].as_str().unwrap_or_default() {
            "ClusterRole" => At::Everywhere,
            "Role" => At::Namespace(document["metadata"]["namespace"].as_str().unwrap().to_owned()),
            _ => continue,
        };
        for rule in document["rules"].as_array().into_iter().flatten() {
            let names = words(&rule["resourceNames"]).into_iter().map(Some);
            let names: Vec<Option<String>> = if rule["resourceNames"].is_null() { vec![None] } else { names.collect() };
            for group in words(&rule["apiGroups"]) {
                for resource in words(&rule["resources"]) {
                    for verb in words(&rule["verbs"]) {
                        let with_name = |name: &Option<String>| {
                            (at.clone(), group.clone(), resource.clone(), verb.clone(), name.clone())
                        };
                        granted.extend(names.iter().map(with_name));
                    }
                }
            }
        }
    }
    granted
}

/// Returns the grants that would each satisfy `right`.
fn grants(right: &Right) -> Vec<Granted> {
    let resource = [Some(right.resource), right.subresource].into_iter().flatten().collect::<Vec<_>>().join("/");
    let places = match &right.at {
        At::Namespace(_) => vec![right.at.clone(), At::Everywhere],
        At::Everywhere | At::Cluster => vec![At::Everywhere],
    };
    let names = if right.name.is_some() { vec![right.name.clone(), None] } else { vec![None] };
    let grant = |at: &At, name: &Option<String>| {
        (at.clone(), right.group.to_owned(), resource.clone(), right.verb.to_owned(), name.clone())
    };
    places.iter().flat_map(|at| names.iter().map(|name| grant(at, name)).collect::<Vec<_>>()).collect()
}

/// Returns whether the chart grants the permission on demand only.
fn is_on_demand(needs: &BTreeSet<Need>) -> bool {
    needs.iter().all(|need| *need == Need::Optional(Feature::SchedulerSecrets))
}

fn is_used(wanted: &Wanted, (at, group, resource, verb, name): &Granted) -> bool {
    // The leader election checks its permissions itself.
    if group == "coordination.k8s.io" {
        return true;
    }
    // A permission that is granted in one namespace also counts as used if it is needed in all namespaces.
    wanted.keys().flat_map(grants).any(|(place, of, what, how, whose)| {
        (place == *at || place == At::Everywhere) && of == *group && what == *resource && how == *verb && whose == *name
    })
}

#[test]
fn the_charts_roles_grant_what_is_asked_for_and_nothing_else() {
    let mut charts = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/golden")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.extension().is_none_or(|extension| extension != "yaml") || name.ends_with(".values.yaml") {
            continue;
        }
        let chart: Vec<Value> = serde_saphyr::from_multiple(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let granted = granted(&chart);
        // Some installations use their own roles.
        if granted.is_empty() {
            continue;
        }
        charts += 1;
        let questions = questions_of(&chart);
        let asked = wanted(&questions, &Served::Unknown);
        let is_granted = |right: &Right| grants(right).iter().any(|grant| granted.contains(grant));
        let missing = asked.iter().filter(|(right, needs)| !is_on_demand(needs) && !is_granted(right));
        let missing: Vec<&Right> = missing.map(|(right, _)| right).collect();
        assert!(missing.is_empty(), "{name}: the chart does not grant {missing:#?}");
        // A ClusterRole does not depend on which namespaces are watched.
        let everywhere = Questions { namespaces: Vec::new(), ..questions };
        let in_cluster = wanted(&everywhere, &Served::Unknown);
        let is_used = |grant: &&Granted| is_used(if grant.0 == At::Everywhere { &in_cluster } else { &asked }, grant);
        let idle: Vec<&Granted> = granted.iter().filter(|grant| !is_used(grant)).collect();
        assert!(idle.is_empty(), "{name}: nobody asks for {idle:#?}");
    }
    assert!(charts >= 3, "there are renders with roles");
}

#[test]
fn a_namespaced_installation_asks_for_nothing_in_the_whole_cluster() {
    for tenants in [false, true] {
        let asked = wanted(&questions(&["a", "b"], tenants), &Served::Unknown);
        let places: BTreeSet<&At> = asked.keys().map(|right| &right.at).collect();
        let namespace = |name: &str| At::Namespace(name.to_owned());
        assert_eq!(places, BTreeSet::from([&namespace("a"), &namespace("b"), &namespace(OWN)]), "{tenants}");
    }
}

#[test]
fn plugins_of_teams_need_rights_where_the_teams_are() {
    let at = |namespaces: &[&str], tenants| -> Vec<At> {
        let wanted = wanted(&questions(namespaces, tenants), &Served::Unknown);
        let plugins = wanted.into_keys().filter(|right| right.resource == "daskoperatorplugins" && right.verb == "get");
        plugins.map(|right| right.at).collect()
    };
    let namespace = |name: &str| At::Namespace(name.to_owned());
    assert_eq!(at(&[], false), [namespace(OWN)]);
    assert_eq!(at(&["a"], false), [namespace(OWN)]);
    assert_eq!(at(&[], true), [At::Everywhere]);
    assert_eq!(at(&["a", OWN], true), [namespace("a"), namespace(OWN)]);
}

#[test]
fn plugins_that_are_not_accepted_are_looked_for_in_watched_namespaces_only() {
    let at = |namespaces: &[&str], tenants| -> Vec<At> {
        let wanted = wanted(&questions(namespaces, tenants), &Served::Unknown);
        let is_stray = |needs: &BTreeSet<Need>| needs.contains(&Need::Optional(Feature::StrayPlugins));
        let strays = wanted.into_iter().filter(|(right, needs)| right.verb == "list" && is_stray(needs));
        strays.map(|(right, _)| right.at).collect()
    };
    assert_eq!(at(&[], false), [At::Everywhere]);
    assert_eq!(at(&["a", OWN], false), [At::Namespace("a".to_owned())]);
    assert_eq!((at(&[], true), at(&["a"], true)), (vec![], vec![]));
}

#[test]
fn releases_look_for_each_other_in_the_namespaces_that_they_watch() {
    let asks = |questions: &Questions| -> Vec<(At, &'static str, Option<String>)> {
        let leases = wanted(questions, &Served::Unknown).into_keys().filter(|right| right.resource == "leases");
        leases.map(|right| (right.at, right.verb, right.name)).collect()
    };
    let everywhere = ["list", "watch"].map(|verb| (At::Everywhere, verb, None));
    assert_eq!(asks(&questions(&[], false)), everywhere);
    let (named, claim) = (At::Namespace("a".to_owned()), Some(format!("{OWN}.{OWN}")));
    let of_claims = ["list", "watch"].map(|verb| (named.clone(), verb, None));
    let own_claims = ["create", "patch"].map(|verb| (named.clone(), verb, claim.clone()));
    let in_named: BTreeSet<_> = asks(&questions(&["a"], false)).into_iter().collect();
    let expected: BTreeSet<_> = of_claims.into_iter().chain(own_claims).collect();
    assert_eq!(in_named, expected);
    for namespaces in [&[][..], &["a"]] {
        let alone = Questions { claim: None, ..questions(namespaces, false) };
        assert!(asks(&alone).is_empty(), "there is no leader election");
    }
}

#[test]
fn events_that_are_off_need_no_rights() {
    let quiet = Questions { events: false, ..questions(&[], false) };
    assert!(wanted(&quiet, &Served::Unknown).keys().all(|right| right.resource != "events"));
    assert!(wanted(&questions(&[], false), &Served::Unknown).keys().any(|right| right.resource == "events"));
}

/// Most definitions of dask-kubernetes have no status subresource, and its roles do not grant it.
#[test]
fn a_status_that_is_not_served_needs_no_right() {
    let served = Served::Known(["daskclusters", "daskjobs", "daskjobs/status"].map(str::to_owned).into());
    let wanted = wanted(&questions(&[], false), &served);
    let statuses = wanted.keys().filter(|right| right.subresource == Some("status"));
    assert_eq!(statuses.map(|right| right.resource).collect::<Vec<_>>(), ["daskjobs"]);
}
