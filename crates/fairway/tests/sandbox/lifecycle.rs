//! Sandboxes come up, stand beside each other, survive the loss of any part, and leave nothing behind.

use std::net::TcpListener;
use std::{fs, io};

use apiserver::client::{Client, PODS};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sandbox::machine::StateDir;
use serde_json::{Value, json};

use crate::harness::{Place, processes_naming, until};

fn status(place: &Place) -> Vec<Value> {
    let said = place.run(&["status", "-o", "json"]);
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.err))
}

fn supervisor_of(place: &Place, name: &str) -> i32 {
    let record = fs::read(place.state().join(name).join("sandbox.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    record["supervisor"].as_i64().unwrap().try_into().unwrap()
}

/// The processes of one role, found by the first word of their command line.
fn role(place: &Place, name: &str, role: &str) -> Vec<i32> {
    let runs_role = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(role.as_bytes())
    };
    processes_naming(&place.state().join(name)).into_iter().filter(runs_role).collect()
}

fn kill_role(place: &Place, name: &str, wanted: &str) {
    let before = role(place, name, wanted);
    assert!(!before.is_empty(), "no {wanted} runs");
    for pid in &before {
        kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
    }
    until(&format!("{wanted} runs again"), || {
        let now = role(place, name, wanted);
        now.len() == before.len() && now.iter().all(|pid| !before.contains(pid))
    });
}

#[test]
fn what_came_up_goes_down_without_a_trace() {
    let place = Place::new();
    let name = place.up(&["--nodes", "2"]);
    let sandboxes = status(&place);
    assert_eq!((sandboxes.len(), &sandboxes[0]["state"], &sandboxes[0]["readyNodes"]), (1, &"Ready".into(), &2.into()));
    let state = place.state().join(&name);
    assert!(!processes_naming(&state).is_empty());
    let said = place.succeed(&["down", "--name", &name]);
    assert!(said.err.contains("network namespaces"), "{}", said.err);
    assert_eq!(processes_naming(&state), [0; 0]);
    assert_eq!(fs::read_dir(place.state()).unwrap().count(), 0);
    assert!(!place.kubeconfig().exists());
}

#[test]
fn a_second_up_of_the_same_name_is_refused_and_harms_nothing() {
    let place = Place::new();
    let name = place.up(&["--nodes", "1"]);
    let said = place.run(&["up", "--name", &name]);
    assert_eq!(said.code, 1);
    assert!(
        said.err.contains("is already up") && said.err.contains(&format!("fairway down --name {name}")),
        "{}",
        said.err
    );
    assert_eq!(status(&place)[0]["state"], "Ready");
}

#[test]
fn two_sandboxes_run_side_by_side() {
    let place = Place::new();
    let names = [place.up(&["--nodes", "1"]), place.up(&["--nodes", "1"])];
    let sandboxes = status(&place);
    assert_eq!(sandboxes.iter().map(|one| one["state"].as_str().unwrap()).collect::<Vec<_>>(), ["Ready", "Ready"]);
    place.succeed(&["down", "--name", &names[0]]);
    assert_eq!(status(&place)[0]["name"], names[1].as_str());
    assert_eq!(status(&place)[0]["state"], "Ready");
}

#[test]
fn a_taken_port_is_refused_with_the_way_out() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = place.run(&["up", "--name", &place.name(), "--api-port", &port]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains(&format!("port {port} on 127.0.0.1 is taken")), "{}", said.err);
    assert!(said.err.contains("--api-port"), "{}", said.err);
}

#[test]
fn ranges_that_overlap_are_refused_before_anything_is_made() {
    let place = Place::new();
    let said = place.run(&["up", "--pod-cidr", "10.96.0.0/16"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("pod range 10.96.0.0/16 overlaps service range"), "{}", said.err);
    assert!(!place.state().exists());
}

#[test]
fn down_works_after_the_supervisor_was_killed() {
    let place = Place::new();
    let name = place.up(&["--nodes", "2"]);
    kill(Pid::from_raw(supervisor_of(&place, &name)), Signal::SIGKILL).unwrap();
    let state = place.state().join(&name);
    until("the kernel took everything with it", || processes_naming(&state).is_empty());
    until("it is known to be dead", || status(&place)[0]["state"] == "Dead");
    place.succeed(&["down", "--name", &name]);
    assert_eq!(fs::read_dir(place.state()).unwrap().count(), 0);
}

#[test]
fn a_dead_sandbox_makes_room_for_a_new_one_of_its_name() {
    let place = Place::new();
    let name = place.up(&["--nodes", "1"]);
    kill(Pid::from_raw(supervisor_of(&place, &name)), Signal::SIGKILL).unwrap();
    until("it is dead", || status(&place)[0]["state"] == "Dead");
    place.succeed(&["up", "--name", &name, "--nodes", "1"]);
    assert_eq!(status(&place)[0]["state"], "Ready");
}

#[test]
fn every_killed_role_starts_again_and_finds_its_state() {
    let place = Place::new();
    let name = place.up(&["--nodes", "2"]);
    for part in ["apiserver", "controllers", "node"] {
        kill_role(&place, &name, part);
    }
    until("the sandbox is whole again", || status(&place)[0]["state"] == "Ready");
    assert_eq!(status(&place)[0]["readyPods"], status(&place)[0]["pods"]);
}

/// Ended processes that nobody has waited for, of a node of a sandbox.
fn zombies(place: &Place, name: &str, node: i32) -> usize {
    let children = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
        (fields.next()? == "Z" && fields.next()?.parse() == Ok(node)).then_some(())
    });
    assert_eq!(role(place, name, "node"), [node]);
    children.count()
}

#[test]
fn containers_that_ended_leave_no_process() {
    let place = Place::new();
    let name = place.up(&["--nodes", "1"]);
    let [node] = role(&place, &name, "node")[..] else { panic!("one node") };
    let api = Client::unix(StateDir::new(&place.state(), &name).unwrap().api_socket());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pod = json!({
        "metadata": { "name": "short" },
        "spec": { "restartPolicy": "Never", "containers": [{ "name": "short", "image": "busybox", "args": ["true"] }] },
    });
    runtime.block_on(api.create(&PODS, "default", &pod)).unwrap();
    until("its container has ended", || {
        let pod = runtime.block_on(api.get(&PODS, "default", "short")).unwrap();
        pod["status"]["phase"] == "Succeeded"
    });
    until("no process is left of it", || zombies(&place, &name, node) == 0);
}

#[test]
fn a_command_can_be_run_on_a_node_and_beside_the_nodes() {
    let place = Place::new();
    let name = place.up(&["--nodes", "1"]);
    let on_node = place.succeed(&["enter", "--name", &name, "--node", "node1", "--", "hostname"]);
    assert_eq!(on_node.out.trim(), "node1");
    let unknown = place.run(&["enter", "--name", &name, "--node", "node7", "--", "true"]);
    assert!(unknown.err.contains("the nodes are node1"), "{}", unknown.err);
    let beside = place.succeed(&["enter", "--name", &name, "--", "cat", "/proc/net/route"]);
    assert!(beside.out.contains("underlay"), "{}", beside.out);
    let held =
        place.succeed(&["enter", "--name", &name, "--node", "node1", "--", "fairway", "service", "show", "kubernetes"]);
    assert!(held.out.contains("held") && !held.out.contains("MISSING"), "{}", held.out);
}

#[test]
fn a_reader_that_goes_is_no_failure_and_a_full_disk_is_one() {
    let place = Place::new();
    for arguments in [&["explain"][..], &["completions", "bash"]] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let ended = place.command(arguments).stdout(writer).output().unwrap();
        assert_eq!((ended.status.code(), ended.stderr), (Some(0), Vec::new()), "{arguments:?}");
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let ended = place.command(arguments).stdout(full).output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}");
        assert!(String::from_utf8_lossy(&ended.stderr).starts_with("error: cannot write"), "{ended:?}");
    }
}
