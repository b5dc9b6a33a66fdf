//! `logs`, `exec`, `run -it` and what passes through them.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use nix::pty::openpty;

use crate::kubectl::{Kubectl, read_all};

crate::tests!(logs, logs_follow, logs_of_a_selection, exec, exec_on_a_terminal, run_and_remove, exit_codes);

/// A pod of a shell that prints and then waits.
fn shell(kubectl: &Kubectl, name: &str, script: &str) {
    let line = format!("run {name} --image=busybox --restart=Never --labels=shell={name} -- sh -c '{script}'");
    kubectl.ok(&line);
    kubectl.ok(&format!("wait --for=condition=Ready pod/{name} --timeout=60s"));
}

fn logs(kubectl: &Kubectl) {
    shell(kubectl, "speaker", "echo one; echo two; echo three; sleep 600");
    kubectl.eventually("logs speaker", |said| said == "one\ntwo\nthree\n");
    assert_eq!(kubectl.ok("logs speaker --tail=1"), "three\n");
    let stamped = kubectl.ok("logs speaker --timestamps --tail=1");
    let (stamp, rest) = stamped.split_once(' ').unwrap();
    assert!(stamp.starts_with("20") && stamp.ends_with('Z') && rest == "three\n", "{stamped}");
    let refused = kubectl.refused("logs speaker -c nobody");
    assert_eq!(refused, "error: container nobody is not valid for pod speaker\n");
    let missing = kubectl.refused("logs nobody");
    assert_eq!(
        missing.trim_end(),
        format!(
            "error: error from server (NotFound): pods \"nobody\" not found in namespace \"{}\"",
            kubectl.namespace
        )
    );
}

fn logs_follow(kubectl: &Kubectl) {
    shell(kubectl, "counter", "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done");
    let mut log = kubectl.follow("logs -f counter");
    log.until(|line| line == "line 1");
    log.until(|line| line == "line 7");
}

fn logs_of_a_selection(kubectl: &Kubectl) {
    kubectl.ok("create deployment chorus --image=busybox --replicas=2 -- sh -c 'echo sung; sleep 600'");
    kubectl.ok("rollout status deployment/chorus --timeout=60s");
    kubectl.eventually("logs -l app=chorus", |said| said == "sung\nsung\n");
    let named = kubectl.ok("logs -l app=chorus --prefix");
    assert!(named.lines().all(|line| line.starts_with("[pod/chorus-") && line.ends_with("/busybox] sung")), "{named}");
}

fn exec(kubectl: &Kubectl) {
    shell(kubectl, "patient", "sleep 600");
    assert_eq!(kubectl.ok("exec patient -- echo hello"), "hello\n");
    assert_eq!(kubectl.ok_with("exec -i patient -- cat", "through and back\n"), "through and back\n");
    assert_eq!(kubectl.ok("exec patient -- hostname"), "patient\n");
    let both = kubectl.run("exec patient -- sh -c 'echo out; echo err >&2'");
    assert_eq!((both.out.as_str(), both.err.as_str()), ("out\n", "err\n"));
    let wrong = kubectl.refused("exec patient -c nobody -- true");
    assert_eq!(wrong, "Error from server (BadRequest): container nobody is not valid for pod patient\n");
}

fn exit_codes(kubectl: &Kubectl) {
    shell(kubectl, "failing", "sleep 600");
    let said = kubectl.run("exec failing -- sh -c 'exit 7'");
    assert_eq!((said.code, said.err.as_str()), (7, "command terminated with exit code 7\n"));
    assert_ne!(kubectl.run("exec failing -- no-such-program").code, 0);
}

fn exec_on_a_terminal(kubectl: &Kubectl) {
    shell(kubectl, "terminal", "sleep 600");
    let said = on_a_terminal(
        kubectl.command("exec -it terminal -- sh -c 'tty && stty size && read line && echo got $line'"),
        "typed\n",
    );
    assert!(said.contains("/dev/pts/"), "{said}");
    assert!(said.contains("24 80"), "{said}");
    assert!(said.contains("got typed"), "{said}");
}

fn run_and_remove(kubectl: &Kubectl) {
    let line = "run lookup -it --rm --restart=Never --image=busybox -- nslookup kubernetes.default";
    let said = on_a_terminal(kubectl.command(line), "");
    assert!(said.contains("kubernetes.default.svc.cluster.local"), "{said}");
    assert!(said.contains("10.96.0.1"), "{said}");
    assert!(said.contains("pod \"lookup\" deleted"), "{said}");
    assert_eq!(kubectl.refused("get pod lookup"), "Error from server (NotFound): pods \"lookup\" not found\n");
    let failed = kubectl.run("run failing-run -i --rm --restart=Never --image=busybox -- sh -c 'exit 3'");
    assert_eq!(failed.code, 3, "{}{}", failed.out, failed.err);
}

/// Runs a command as a person at a terminal of 24 lines and 80 columns does; returns all it showed.
fn on_a_terminal(mut command: Command, typed: &str) -> String {
    let size = nix::pty::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None).unwrap();
    let side = || Stdio::from(terminal.slave.try_clone().unwrap());
    command.env("TERM", "xterm").stdin(side()).stdout(side()).stderr(side());
    let mut child = command.spawn().unwrap();
    // Else the terminal would never end.
    drop(command);
    drop(terminal.slave);
    let mut master = File::from(terminal.master);
    master.write_all(typed.as_bytes()).unwrap();
    let reader = master.try_clone().unwrap();
    let (sender, shown) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(read_all(reader)));
    let shown = shown.recv_timeout(std::time::Duration::from_secs(120));
    let _ = child.kill();
    let _ = child.wait();
    shown.expect("the command ends")
}
