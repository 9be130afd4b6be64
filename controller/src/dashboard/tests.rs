//! Tests of what command lines and ports say about dashboards.

use dask_operator_api::meta::map_of;
use serde_json::json;

use super::*;
use crate::test_fixtures::mk_cluster;

#[expect(clippy::needless_pass_by_value, reason = "literals read better at the call without a reference")]
fn cluster(container: Value, ports: Value) -> DaskCluster {
    let mut cluster = mk_cluster("demo");
    cluster.spec.scheduler.spec.set("containers", json!([container]));
    cluster.spec.scheduler.service.set("ports", ports);
    cluster
}

/// Returns the prefix and the port that the container's command says.
fn seen(container: &Value) -> (String, Option<u16>) {
    let mut spec = JsonObject::default();
    spec.set("containers", json!([container]));
    let Dashboard { prefix, port, .. } = dashboard(&spec, Program::Scheduler);
    (prefix, port)
}

fn args(args: &[&str]) -> (String, Option<u16>) {
    seen(&json!({"args": args}))
}

fn script(script: &str) -> String {
    seen(&json!({"command": ["/bin/bash", "-c"], "args": [script]})).0
}

#[test]
fn the_prefix_is_found_however_the_scheduler_is_started() {
    let starts: [&[&str]; 9] = [
        &["dask-scheduler"],
        &["dask", "scheduler"],
        &["/opt/conda/bin/dask", "scheduler", "--host", "0.0.0.0"],
        &["python", "-m", "distributed.cli.dask_scheduler"],
        &["python3", "-u", "-m", "dask", "scheduler"],
        &["tini", "-g", "--", "dask", "scheduler"],
        &["conda", "run", "-n", "env", "dask-scheduler", "--no-dashboard"],
        // The image starts it.
        &["--port", "8786"],
        &[],
    ];
    for start in starts {
        for option in [&["--dashboard-prefix", "/p"][..], &["--dashboard-prefix=/p"], &["--dashboard-prefix", "p/"]] {
            let words = [start, option].concat();
            assert_eq!(args(&words).0, "/p", "{words:?}");
            let (command, rest) = words.split_at(1);
            assert_eq!(seen(&json!({"command": command, "args": rest})).0, "/p", "{words:?}");
            assert_eq!(script(&words.join(" ")), if start.is_empty() || start[0] == "--port" { "" } else { "/p" });
        }
    }
}

#[test]
fn the_prefix_is_found_in_what_a_shell_runs() {
    let table = [
        ("exec dask scheduler --dashboard-prefix '/a b'", ""),
        ("exec dask scheduler --dashboard-prefix \"/p\" 2>&1 | tee /log", "/p"),
        ("pip install x && dask scheduler \\\n  --dashboard-prefix=/p/q;", "/p/q"),
        ("dask scheduler --host $(hostname -i) --dashboard-prefix /p", "/p"),
        ("P=/p; dask scheduler --dashboard-prefix $P", "/p"),
        ("dask scheduler --dashboard-prefix ${P:-/p}", "/p"),
        ("dask scheduler --dashboard-prefix $P", ""),
        ("dask scheduler --dashboard-prefix $(cat /p)", ""),
        ("dask worker --dashboard-prefix /w & dask scheduler --dashboard-prefix /p", "/p"),
        ("dask scheduler --dashboard-prefix /p & dask worker --dashboard-prefix /w", "/p"),
        ("dask scheduler --version; dask scheduler --dashboard-prefix /p", "/p"),
        ("sh -c 'dask scheduler --dashboard-prefix /p'", "/p"),
        ("echo --dashboard-prefix /p; dask scheduler", ""),
        ("# dask scheduler --dashboard-prefix /p\nmy-scheduler", ""),
    ];
    for (text, expected) in table {
        assert_eq!(script(text), expected, "{text}");
    }
    let wrapped = ["bash", "-euo", "pipefail", "-c", "exec \"$@\"", "--", "dask", "scheduler", "--dashboard-prefix=/p"];
    assert_eq!(args(&wrapped).0, "/p");
    assert_eq!(args(&["sh", "-c", "dask scheduler --dashboard-prefix /p", "dask-scheduler"]).0, "/p");
}

#[test]
fn options_are_read_as_dask_reads_them() {
    let table: [(&[&str], &str); 10] = [
        (&["--dashboard-prefix", "/a", "--dashboard-prefix=/b"], "/b"),
        (&["--dashboard-prefix", "//p//q/"], "/p//q"),
        (&["--dashboard-prefix", "/"], ""),
        (&["--dashboard-prefix", ""], ""),
        (&["--dashboard-prefix"], ""),
        (&["--dashboard-prefix-other", "/p"], ""),
        (&["--preload", "a.py", "--", "--dashboard-prefix", "/p"], ""),
        (&["--dashboard-prefix", "/user/a@b.c/proxy-1_x~y:8787"], "/user/a@b.c/proxy-1_x~y:8787"),
        (&["--dashboard-prefix", "/p?q"], ""),
        (&["--dashboard-prefix", "/p/../../metrics"], ""),
    ];
    for (words, expected) in table {
        assert_eq!(args(&[&["dask-scheduler"], words].concat()).0, expected, "{words:?}");
    }
}

#[test]
fn variables_of_the_container_are_replaced() {
    let env = json!([{"name": "USER", "value": "ann"}, {"name": "PREFIX", "value": "/u/$(USER)"}]);
    let with = |args: Value| seen(&json!({"args": args, "env": env})).0;
    assert_eq!(with(json!(["dask", "scheduler", "--dashboard-prefix", "$(PREFIX)/d"])), "/u/ann/d");
    assert_eq!(with(json!(["sh", "-c", "dask scheduler --dashboard-prefix=${PREFIX}"])), "/u/ann");
    assert_eq!(with(json!(["dask", "scheduler", "--dashboard-prefix", "$(OTHER)"])), "");
    assert_eq!(with(json!(["dask", "scheduler", "--dashboard-prefix", "$$(PREFIX)"])), "");
}

#[test]
fn the_port_is_found_in_the_dashboards_address() {
    let table = [
        ("8799", Some(8799)),
        (":8799", Some(8799)),
        ("0.0.0.0:8799", Some(8799)),
        ("[::]:8799", Some(8799)),
        (":8799,:8800", Some(8799)),
        (":0", None),
        ("0.0.0.0", None),
        ("65536", None),
        ("", None),
    ];
    for (address, expected) in table {
        assert_eq!(args(&["dask", "scheduler", "--dashboard-address", address]).1, expected, "{address}");
    }
    assert_eq!(args(&["dask", "scheduler"]).1, Some(8787));
}

#[test]
fn the_service_says_what_differs_from_the_defaults() {
    let declared = json!([{"name": "web", "containerPort": 8799}, {"name": "tcp-comm", "containerPort": 8786}]);
    let container = |args: &[&str]| {
        let args = [&["dask", "scheduler"], args].concat();
        json!({"args": args, "ports": declared})
    };
    let comm = json!({"name": "tcp-comm", "port": 8786});
    let moved = container(&["--dashboard-address", ":8799"]);
    let port = |name: &str| map_of([(DASHBOARD_PORT, name)]);
    let table = [
        (container(&[]), json!({"name": "http-dashboard", "port": 80, "targetPort": 8787}), Map::new()),
        (container(&[]), json!({"name": "web", "port": 8787}), port("web")),
        (container(&[]), json!({"name": "web", "port": 80, "targetPort": "unknown"}), Map::new()),
        (moved.clone(), json!({"name": "http-dashboard", "port": 8787, "targetPort": 8799}), Map::new()),
        (moved.clone(), json!({"name": "ui", "port": 80, "targetPort": "web"}), port("ui")),
        (moved.clone(), json!({"name": "ui", "port": 8799}), port("ui")),
        (moved.clone(), json!({"port": 8799}), Map::new()),
        (moved.clone(), json!({"name": "ui", "port": "8799"}), Map::new()),
        (moved, json!("no port"), Map::new()),
    ];
    for (container, dashboard, expected) in table {
        let annotations = of_service(&cluster(container, json!([comm, dashboard])));
        assert_eq!(annotations, expected, "{dashboard}");
    }
    let prefixed = container(&["--dashboard-prefix", "p"]);
    assert_eq!(of_service(&cluster(prefixed, json!([comm]))), map_of([(DASHBOARD_PREFIX, "/p")]));
}

/// A proxy with a login in front of the dashboard has the usual name, and the dashboard another one.
#[test]
fn a_port_of_the_dashboard_itself_is_used_before_that_of_a_proxy() {
    let ports = json!([
        {"name": "http-dashboard", "port": 8787, "targetPort": 4180},
        {"name": "internal", "port": 8788, "targetPort": 8787},
    ]);
    assert_eq!(of_service(&cluster(json!({}), ports)), map_of([(DASHBOARD_PORT, "internal")]));
}

/// The command may be in the image, or its value in a Secret.
#[test]
fn an_annotation_of_the_cluster_takes_precedence_over_its_command_line() {
    let given = |prefix: &str| {
        let mut cluster = cluster(json!({"args": ["dask-scheduler", "--dashboard-prefix=/p"]}), json!([]));
        cluster.annotations_mut().insert(DASHBOARD_PREFIX.to_owned(), prefix.to_owned());
        of_service(&cluster)
    };
    assert_eq!(given("/mine/"), map_of([(DASHBOARD_PREFIX, "/mine")]));
    assert_eq!(given(""), Map::new());
    assert_eq!(given("no prefix"), map_of([(DASHBOARD_PREFIX, "/p")]));
}

#[test]
fn the_container_of_the_scheduler_is_found_among_others() {
    let mut cluster = cluster(json!({}), json!([]));
    let proxy = json!({"name": "proxy", "args": ["--dashboard-prefix", "/other"]});
    let scheduler = json!({"name": "s", "args": ["dask-scheduler", "--dashboard-prefix", "/p"]});
    cluster.spec.scheduler.spec.set("containers", json!([proxy, scheduler]));
    assert_eq!(of_service(&cluster), map_of([(DASHBOARD_PREFIX, "/p")]));
}

#[test]
fn a_workers_port_is_named_if_its_name_is_not_the_usual_one() {
    let worker = |args: &[&str], ports: Value| {
        let mut spec = JsonObject::default();
        spec.set("containers", json!([{"args": args, "ports": ports}]));
        of_worker(&spec)
    };
    let moved = ["dask", "worker", "--dashboard-address", "8788"];
    let named = |name: &str| json!([{"name": "nanny", "containerPort": 3000}, {"name": name, "containerPort": 8788}]);
    assert_eq!(worker(&moved, named("web")), map_of([(DASHBOARD_PORT, "web")]));
    assert_eq!(
        worker(&["dask-cuda-worker", "--dashboard-address=:8788"], named("web")),
        map_of([(DASHBOARD_PORT, "web")])
    );
    assert_eq!(worker(&moved, named("http-dashboard")), Map::new());
    assert_eq!(worker(&["dask-worker"], named("web")), Map::new(), "it listens elsewhere");
    assert_eq!(worker(&moved, json!(null)), Map::new());
}

/// Users may write anything. Each of these would take long or much memory if it were carried out.
#[test]
fn hostile_commands_are_read_in_bounded_time() {
    let long = "a ".repeat(1_000_000);
    let nested = (0..8).fold("dask scheduler".to_owned(), |inner, _| format!("sh -c {}", json!(inner)));
    let bomb =
        "A=xxxxxxxxxx;".to_owned() + &"A=$A$A$A$A$A$A$A$A$A$A;".repeat(50) + "dask scheduler --dashboard-prefix $A";
    let shells = ["sh", "-c"].repeat(20_000);
    for text in [long, nested, bomb, "${".repeat(30_000), "$((".repeat(20_000), "\"".repeat(60_001), "`".repeat(60_001)]
    {
        assert_eq!(script(&text), "");
    }
    assert_eq!(args(&shells).0, "");
    assert_eq!(args(&vec!["dask"; 30_000]).0, "");
    for container in
        [json!(null), json!({"args": "x"}), json!({"args": [1, null, {}], "command": {}, "env": {"a": "b"}})]
    {
        assert_eq!(seen(&container), (String::new(), Some(8787)));
    }
}
