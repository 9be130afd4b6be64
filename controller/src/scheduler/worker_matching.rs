//! Matches Dask processes to the workers whose pods they run in.

use std::collections::BTreeMap;

use crate::view::PodView;

/// Returns the processes of each of `names` that has any. A process belongs to a Deployment if its name is the
/// Deployment's name, possibly followed by `-0`, `-1`, … of several processes in one pod (`--nworkers`). If the user
/// or Dask chose another name, it belongs to the Deployment whose pod has its address. Processes that match none of
/// `names` are left out.
pub(crate) fn registered<'a>(
    names: impl IntoIterator<Item = &'a str>,
    pods: impl IntoIterator<Item = &'a PodView>,
    workers: &[dask_scheduler_client::Worker],
) -> BTreeMap<String, Vec<dask_scheduler_client::Worker>> {
    let mut found: BTreeMap<String, Vec<dask_scheduler_client::Worker>> =
        names.into_iter().map(|name| (name.to_owned(), Vec::new())).collect();
    // A node's address is shared by many pods, and the address of a pod that has ended may be in use by another pod.
    let has_own_ip = |pod: &&PodView| pod.status.pod_ip != pod.status.host_ip && !pod.has_ended();
    let by_ip: BTreeMap<&str, &str> = pods
        .into_iter()
        .filter(has_own_ip)
        .filter_map(|pod| Some((pod.status.pod_ip.as_deref()?, pod.deployment()?)))
        .collect();
    for worker in workers {
        let by_address = || worker.host().and_then(|host| by_ip.get(host).copied());
        let owner = [Some(worker.name.as_str()), without_process(&worker.name), by_address()]
            .into_iter()
            .flatten()
            .find(|name| found.contains_key(*name))
            .map(str::to_owned);
        if let Some(processes) = owner.and_then(|name| found.get_mut(&name)) {
            processes.push(worker.clone());
        }
    }
    found.retain(|_, processes| !processes.is_empty());
    found
}

/// Returns `name` without the number of a process.
fn without_process(name: &str) -> Option<&str> {
    let (name, number) = name.rsplit_once('-')?;
    (!number.is_empty() && number.bytes().all(|c| c.is_ascii_digit())).then_some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const A: &str = "demo-default-worker-abcde00000";
    const B: &str = "demo-default-worker-abcde00001";

    fn process(name: &str, address: &str) -> dask_scheduler_client::Worker {
        dask_scheduler_client::Worker {
            address: address.to_owned(),
            name: name.to_owned(),
            status: "running".to_owned(),
            processing: 0,
        }
    }

    /// Retiring it could retire another group's worker.
    #[test]
    fn a_process_on_the_nodes_network_is_not_known_by_its_address() {
        let mut pod = pod(A, "10.0.0.1");
        pod.status.host_ip = Some("10.0.0.1".to_owned());
        let workers = [process("demo-gpu-worker-fffff00000", "tcp://10.0.0.1:1")];
        assert!(registered([A], [&pod], &workers).is_empty());
        pod.status.host_ip = Some("10.9.9.9".to_owned());
        assert_eq!(registered([A], [&pod], &workers).len(), 1);
        pod.status.phase = Some("Failed".to_owned());
        assert!(registered([A], [&pod], &workers).is_empty());
    }

    fn pod(deployment: &str, ip: &str) -> PodView {
        serde_json::from_value(json!({
            "metadata": {
                "name": format!("{deployment}-5d8f7c-abcde"),
                "labels": {"pod-template-hash": "5d8f7c"},
                "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{deployment}-5d8f7c"), "uid": "u", "controller": true},
                ],
            },
            "status": {"podIP": ip},
        }))
        .unwrap()
    }

    fn addresses(workers: &[dask_scheduler_client::Worker]) -> BTreeMap<String, Vec<String>> {
        let pods = [pod(A, "10.0.0.1"), pod(B, "fd00::2")];
        let found = registered([A, B], &pods, workers);
        let addresses = |processes: Vec<dask_scheduler_client::Worker>| {
            processes.into_iter().map(|worker| worker.address).collect()
        };
        found.into_iter().map(|(name, processes)| (name, addresses(processes))).collect()
    }

    fn expected<const N: usize>(pairs: [(&str, &[&str]); N]) -> BTreeMap<String, Vec<String>> {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        pairs.into_iter().map(|(name, list)| (name.to_owned(), owned(list))).collect()
    }

    #[test]
    fn a_process_is_known_by_its_name() {
        assert_eq!(addresses(&[process(A, "tcp://1.1.1.1:1")]), expected([(A, &["tcp://1.1.1.1:1"])]));
    }

    #[test]
    fn several_processes_of_one_pod_are_known_by_their_prefix() {
        let workers = [process(&format!("{A}-0"), "tcp://1.1.1.1:1"), process(&format!("{A}-11"), "tcp://1.1.1.1:2")];
        assert_eq!(addresses(&workers), expected([(A, &["tcp://1.1.1.1:1", "tcp://1.1.1.1:2"])]));
    }

    #[test]
    fn a_process_with_a_name_of_its_own_is_known_by_its_pods_address() {
        let workers = [process("mine", "tcp://10.0.0.1:1"), process("tls://[fd00::2]:2", "tls://[fd00::2]:2")];
        assert_eq!(addresses(&workers), expected([(A, &["tcp://10.0.0.1:1"]), (B, &["tls://[fd00::2]:2"])]));
    }

    /// Another group's worker must never be taken for one of this group.
    #[test]
    fn processes_of_others_are_left_out() {
        let workers = [
            process("demo-gpu-worker-fffff00000", "tcp://10.0.0.9:1"),
            process(&format!("{A}-x"), "tcp://10.0.0.9:2"),
            process(&format!("{A}-"), "tcp://10.0.0.9:3"),
            process("", "inproc://x"),
        ];
        assert_eq!(addresses(&workers), expected([]));
    }
}
