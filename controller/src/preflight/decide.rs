//! Decides what missing kinds and permissions mean for the controller.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Problem,
    rights::{At, Feature, Need, Right, Wanted},
    served::Served,
    words,
};

/// The features and namespaces that lack permissions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// A description of the missing permissions, by feature.
    pub missing_optional: BTreeMap<Feature, String>,
    /// A description of the essential permissions that are missing in some of the watched namespaces.
    pub refused: Option<String>,
}

impl Findings {
    /// Returns whether the permissions for `feature` are complete.
    pub fn has(&self, feature: Feature) -> bool {
        !self.missing_optional.contains_key(&feature)
    }

    /// Logs everything that is missing, one line each.
    pub(super) fn log(&self) {
        if let Some(missing) = &self.refused {
            tracing::warn!(missing, "some namespaces cannot be served until the controller gets rights there");
        }
        for (feature, missing) in &self.missing_optional {
            let without = words::without(*feature);
            // The chart grants these only on demand, and the clusters that need them report the problem themselves.
            if *feature == Feature::SchedulerSecrets {
                tracing::info!(missing, "{without}: the controller lacks rights for it");
            } else {
                tracing::warn!(missing, "{without}: the controller lacks rights for it");
            }
        }
    }
}

/// Checks that all essential kinds are served.
pub(super) fn definitions(served: &Served) -> Result<(), Problem> {
    let missing = served.missing();
    if missing.is_empty() { Ok(()) } else { Err(Problem::Definitions(missing.join(", "))) }
}

/// Returns the consequences of missing permissions: the controller cannot start, or a feature is off. If one of several
/// namespaces lacks a Role, the others are still served.
pub(super) fn rights(wanted: &Wanted, denied: &BTreeSet<&Right>) -> Result<Findings, Problem> {
    let mut by_need: BTreeMap<Need, Vec<&Right>> = BTreeMap::new();
    for (right, needs) in wanted.iter().filter(|(right, _)| denied.contains(right)) {
        for need in needs {
            by_need.entry(*need).or_default().push(right);
        }
    }
    let mut findings = Findings::default();
    for (need, missing) in by_need {
        let lacking: BTreeSet<&At> = missing.iter().map(|right| &right.at).collect();
        let missing = words::describe(missing);
        match need {
            Need::Essential if lacking == places_of(wanted) => return Err(Problem::Rights(missing)),
            Need::Essential => findings.refused = Some(missing),
            Need::Optional(feature) => drop(findings.missing_optional.insert(feature, missing)),
        }
    }
    // Without plugins, the permissions that serve plugins are not needed.
    if !findings.has(Feature::Plugins) {
        findings.missing_optional.retain(|feature, _| !feature.serves_plugins());
    }
    Ok(findings)
}

/// Returns where essential permissions are needed: everywhere, or in each watched namespace.
fn places_of(wanted: &Wanted) -> BTreeSet<&At> {
    wanted.iter().filter(|(_, needs)| needs.contains(&Need::Essential)).map(|(right, _)| &right.at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::rights::{Questions, wanted};

    fn all() -> Wanted {
        in_namespaces(&["a"])
    }

    fn in_namespaces(names: &[&str]) -> Wanted {
        let questions = Questions {
            namespaces: names.iter().map(|name| (*name).to_owned()).collect(),
            operator_namespace: "own".to_owned(),
            service_account: "operator".to_owned(),
            tenants: false,
            events: true,
            claim: Some("dask-operator.own".to_owned()),
        };
        wanted(&questions, &Served::Unknown)
    }

    /// Returns the decision if all permissions for which `is_denied` returns true are denied.
    fn decide(is_denied: impl Fn(&Right) -> bool) -> Result<Findings, Problem> {
        let wanted = all();
        rights(&wanted, &wanted.keys().filter(|right| is_denied(right)).collect())
    }

    #[test]
    fn nothing_missing_is_nothing_to_tell() {
        assert_eq!(decide(|_| false), Ok(Findings::default()));
    }

    #[test]
    fn one_missing_essential_right_is_named() {
        let problem = decide(|right| right.resource == "pods" && right.verb == "watch").unwrap_err();
        assert_eq!(problem, Problem::Rights("watch pods in namespace a".to_owned()));
    }

    /// A team whose Role does not exist yet must not prevent the others from being served.
    #[test]
    fn an_essential_right_that_is_missing_in_one_of_two_namespaces_is_reported_without_waiting() {
        let decide = |is_denied: &dyn Fn(&Right) -> bool| {
            let wanted = in_namespaces(&["a", "b"]);
            rights(&wanted, &wanted.keys().filter(|right| is_denied(right)).collect())
        };
        let is_pods = |right: &Right| right.resource == "pods" && right.verb == "watch";
        let in_b = |right: &Right| is_pods(right) && right.at == At::Namespace("b".to_owned());
        let expected = Findings { refused: Some("watch pods in namespace b".to_owned()), ..Findings::default() };
        assert_eq!(decide(&in_b), Ok(expected));
        assert_eq!(decide(&is_pods), Err(Problem::Rights("watch pods in namespaces a, b".to_owned())));
    }

    #[test]
    fn missing_optional_rights_take_away_their_feature_alone() {
        type Case = (&'static str, &'static str, Feature, &'static str);
        let table: [Case; 5] = [
            ("events.k8s.io", "events", Feature::Events, "create, patch events.events.k8s.io in namespaces a, own"),
            (
                "discovery.k8s.io",
                "endpointslices",
                Feature::PluginEndpoints,
                "get, list, watch endpointslices.discovery.k8s.io in namespace own",
            ),
            ("", "configmaps", Feature::PluginWork, "get configmaps in namespace own"),
            ("", "serviceaccounts", Feature::PluginWork, "create serviceaccounts/token of operator in namespace own"),
            (
                "kubernetes.dask.org",
                "daskoperatorplugins",
                Feature::Plugins,
                "get, list, watch daskoperatorplugins.kubernetes.dask.org in namespace own",
            ),
        ];
        for (group, resource, feature, missing) in table {
            let is_it = |right: &Right| {
                right.group == group && right.resource == resource && right.subresource != Some("status")
            };
            let findings = decide(|right| is_it(right) && right.subresource != Some("finalizers")).unwrap();
            let expected = BTreeMap::from([(feature, missing.to_owned())]);
            assert_eq!(findings.missing_optional, expected, "{resource}");
            assert!(!findings.has(feature), "{resource}");
        }
    }

    #[test]
    fn without_plugins_rights_that_they_need_are_not_reported() {
        let findings =
            decide(|right| right.at == At::Namespace("own".to_owned()) && right.resource != "events").unwrap();
        let missing: Vec<&Feature> = findings.missing_optional.keys().collect();
        assert_eq!(missing, [&Feature::BlockingOwners, &Feature::Plugins]);
    }

    #[test]
    fn a_right_that_two_features_need_takes_away_both() {
        let mut wanted = Wanted::new();
        let key = all().into_keys().find(|right| right.resource == "secrets").unwrap();
        let both = [Feature::SchedulerSecrets, Feature::PluginWork];
        wanted.insert(key.clone(), both.map(Need::Optional).into());
        let findings = rights(&wanted, &BTreeSet::from([&key])).unwrap();
        assert!(both.iter().all(|feature| !findings.has(*feature)));
    }

    #[test]
    fn definitions_that_are_not_served_are_named() {
        let served = |kinds: &[&str]| Served::Known(kinds.iter().map(|kind| (*kind).to_owned()).collect());
        assert_eq!(definitions(&Served::Unknown), Ok(()));
        assert_eq!(definitions(&served(&["daskclusters", "daskworkergroups", "daskjobs", "daskautoscalers"])), Ok(()));
        let some = definitions(&served(&["daskclusters", "daskworkergroups", "daskoperatorplugins"]));
        assert_eq!(some, Err(Problem::Definitions("daskjobs, daskautoscalers".to_owned())));
    }
}
