//! The definitions that the chart ships are those of the code, and small enough for `kubectl apply`.

use dask_operator::{crd, crd_yaml};

#[test]
fn the_charts_definitions_are_fresh() {
    let mut generated = Vec::new();
    crd_yaml::print(&mut generated).unwrap();
    let shipped = include_str!("../../../charts/dask-operator/files/crds.yaml");
    assert!(String::from_utf8(generated).unwrap() == shipped, "run `make generate`");
}

/// `kubectl apply` stores the whole object in an annotation, and annotations are limited to 256 KiB.
#[test]
fn each_definition_can_be_applied_by_kubectl() {
    for definition in crd::all() {
        let size = serde_json::to_vec(&definition).unwrap().len();
        assert!(size < 256 * 1024, "{:?} has {size} bytes", definition.metadata.name);
    }
}

#[test]
fn names_are_those_of_dask_kubernetes() {
    let names = |kind: &str| {
        let definition = crd::all().into_iter().find(|definition| definition.spec.names.kind == kind).unwrap();
        let names = definition.spec.names;
        (names.plural, names.singular.unwrap(), names.short_names.unwrap_or_default().join(" "))
    };
    let expected =
        |plural: &str, singular: &str, short: &str| (plural.to_owned(), singular.to_owned(), short.to_owned());
    assert_eq!(names("DaskCluster"), expected("daskclusters", "daskcluster", "daskcluster dsk"));
    assert_eq!(names("DaskWorkerGroup"), expected("daskworkergroups", "daskworkergroup", "daskworkers"));
    assert_eq!(names("DaskJob"), expected("daskjobs", "daskjob", "djb"));
    assert_eq!(names("DaskAutoscaler"), expected("daskautoscalers", "daskautoscaler", "das"));
    assert_eq!(names("DaskOperatorPlugin"), expected("daskoperatorplugins", "daskoperatorplugin", "daskplugin"));
}
