//! Containers in real namespaces: root file system, process 1, output, terminals, ending.
//!
//! The shim starts this program again for each step of starting a container, so it has a `main` of its own: as a helper
//! it is what `fairway` would be. Everything runs in fresh namespaces; no root is needed.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount, umount};
use sandbox::images::{PATH, StopSignal};
use sandbox::rootfs::{Bind, Purpose};
use sandbox::shim::protocol::Frame;
use sandbox::shim::{Started, Stdin};
use support::{Container, Test, shell, wait_for};

fn main() -> std::process::ExitCode {
    let tests: &[Test] = &[
        ("a_container_is_process_1_and_sees_no_other", a_container_is_process_1_and_sees_no_other),
        ("output_reaches_the_log_with_its_stream", output_reaches_the_log_with_its_stream),
        ("the_exit_code_and_signal_are_kept", the_exit_code_and_signal_are_kept),
        ("a_missing_program_is_reported_in_container_runtime_words", a_missing_program_is_reported),
        ("the_root_hides_the_hosts_homes_and_is_writable", the_root_hides_the_hosts_homes_and_is_writable),
        ("a_node_sees_no_plugin_configurations_of_the_host", a_node_sees_no_plugin_configurations_of_the_host),
        ("binds_show_files_and_directories_read_only_where_asked", binds_show_files_and_directories),
        ("stop_asks_first_and_kills_when_grace_is_over", stop_asks_first_and_kills_when_grace_is_over),
        ("a_terminal_is_one_for_the_program_too", a_terminal_is_one_for_the_program_too),
        ("standard_input_ends_with_the_first_client", standard_input_ends_with_the_first_client),
        ("the_kernel_is_read_only_unless_privileged", the_kernel_is_read_only_unless_privileged),
        ("exec_runs_inside_and_gives_the_exit_code", exec_runs_inside_and_gives_the_exit_code),
        ("the_container_dies_with_its_shim", the_container_dies_with_its_shim),
        ("a_built_in_image_runs_under_its_usual_path", a_built_in_image_runs_under_its_usual_path),
    ];
    support::run(tests)
}

fn a_container_is_process_1_and_sees_no_other() {
    let container = Container::start(shell("echo $$; ls -d /proc/[0-9]* | wc -l"));
    assert_eq!(container.wait().code, 0);
    // The shell, and `ls` or `wc` at the moment of counting.
    let output = container.output();
    assert!(["1\n2\n", "1\n3\n"].contains(&output.as_str()), "{output}");
}

fn output_reaches_the_log_with_its_stream() {
    let container = Container::start(shell("echo out; echo err >&2; printf unfinished"));
    container.wait();
    let lines: Vec<String> = container.log_lines();
    let mut lines: Vec<&str> = lines.iter().map(|line| line.split_once(' ').unwrap().1).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["stderr F err", "stdout F out", "stdout P unfinished"]);
}

fn the_exit_code_and_signal_are_kept() {
    let exit = Container::start(shell("exit 7")).wait();
    assert_eq!((exit.code, exit.signal), (7, None));
    let container = Container::start(shell("sleep 100"));
    container.send(&Frame::Stop { grace_ms: 0 });
    let exit = container.wait();
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
}

fn a_missing_program_is_reported() {
    let mut spec = shell("");
    spec.arguments = vec!["no-such-program".to_owned()];
    let (_container, started) = Container::try_start(spec);
    let Started::Failed(exit) = started else { panic!("started") };
    assert_eq!(exit.code, 128);
    assert_eq!(exit.start_error.unwrap(), r#"exec: "no-such-program": executable file not found in $PATH"#);
}

fn the_root_hides_the_hosts_homes_and_is_writable() {
    let script = "ls -A /home /root /srv /mnt; ls /usr/bin/env /etc/passwd; echo x > /tmp/f && echo y > /etc/added && \
                  echo z > /var/lib/f && cat /tmp/f /etc/added /var/lib/f; test -c /dev/null && echo device; pwd";
    let container = Container::start(shell(script));
    container.wait();
    let output = container.output();
    assert!(output.starts_with("/home:\n\n/mnt:\n\n/root:\n\n/srv:\n"), "{output}");
    assert!(output.ends_with("x\ny\nz\ndevice\n/\n"), "{output}");
}

fn a_node_sees_no_plugin_configurations_of_the_host() {
    // A node's own roots take this for the host's /etc; so it can be made as on a host with a container engine.
    let etc = Path::new("/opt/fairway/etc");
    mount(Some("tmpfs"), "/opt", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    fs::create_dir_all(etc.join("cni/net.d")).unwrap();
    fs::write(etc.join("cni/net.d/87-engine.conflist"), "{}").unwrap();
    fs::write(etc.join("seen"), "seen\n").unwrap();
    let mut spec = shell("cat /etc/seen; ls -A /etc/cni/net.d; echo own > /etc/cni/net.d/own; cat /etc/cni/net.d/*");
    spec.purpose = Purpose::Node;
    let container = Container::start(spec);
    container.wait();
    umount("/opt").unwrap();
    assert_eq!(container.output(), "seen\nown\n");
}

fn binds_show_files_and_directories() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "content\n").unwrap();
    let mut spec = shell(
        "cat /etc/resolv.conf /data/file /usr/share/made/deep/file; echo new > /data/new; echo no > /etc/resolv.conf",
    );
    spec.binds = vec![
        Bind { source: outside.path().join("file"), target: "/etc/resolv.conf".into(), read_only: true },
        Bind::writable(outside.path(), "/data"),
        Bind { source: outside.path().into(), target: "/usr/share/made/deep".into(), read_only: true },
    ];
    let container = Container::start(spec);
    assert_ne!(container.wait().code, 0);
    let output = container.output();
    // Standard error may come first: it is another stream.
    assert!(output.contains("content\ncontent\ncontent\n"), "{output}");
    assert!(output.contains("Read-only file system"), "{output}");
    assert_eq!(fs::read_to_string(outside.path().join("new")).unwrap(), "new\n");
}

fn stop_asks_first_and_kills_when_grace_is_over() {
    let polite = Container::start(shell("trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done"));
    wait_for("the trap", || polite.output().contains("ready"));
    polite.send(&Frame::Stop { grace_ms: 60_000 });
    assert_eq!((polite.wait().code, polite.output()), (3, "ready\nbye\n".to_owned()));

    let stubborn = Container::start(shell("trap '' TERM; echo ready; while :; do sleep 0.01; done"));
    wait_for("the trap", || stubborn.output().contains("ready"));
    let asked = Instant::now();
    stubborn.send(&Frame::Stop { grace_ms: 200 });
    assert_eq!(stubborn.wait().signal, Some(9));
    assert!(asked.elapsed() >= Duration::from_millis(200));
}

fn a_terminal_is_one_for_the_program_too() {
    // It looks at the size when it is told to go on, which is after the resizing.
    let mut spec = shell("tty; read line; stty size; echo got $line");
    (spec.terminal, spec.stdin) = (true, Stdin::Once);
    let container = Container::start(spec);
    let mut client = container.connect();
    client.send(&Frame::Resize { columns: 123, rows: 45 });
    client.send(&Frame::Attach { stdin: true });
    client.send(&Frame::Stdin(b"words\n".to_vec()));
    let shown = client.read_until("got words");
    // What is typed shows up too, as on any terminal.
    assert!(shown.contains("/dev/pts/0\r\n") && shown.contains("45 123\r\n"), "{shown}");
    assert_eq!(container.wait().code, 0);
}

fn standard_input_ends_with_the_first_client() {
    let mut spec = shell("cat; echo end");
    spec.stdin = Stdin::Once;
    let container = Container::start(spec);
    assert!(!container.was_attached());
    let mut client = container.connect();
    client.send(&Frame::Attach { stdin: true });
    client.send(&Frame::Stdin(b"in\n".to_vec()));
    client.send(&Frame::CloseStdin);
    assert_eq!(client.read_until("end"), "in\nend\n");
    assert!(container.was_attached());
    assert_eq!(container.wait().code, 0);
}

fn the_kernel_is_read_only_unless_privileged() {
    let script =
        "echo 1 > /proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward; grep CapEff /proc/self/status";
    let usual = Container::start(shell(script));
    usual.wait();
    assert!(usual.output().contains("Read-only file system"), "{}", usual.output());
    assert!(usual.output().contains("CapEff:\t00000000a80425fb"), "{}", usual.output());

    let mut spec = shell(script);
    spec.purpose = Purpose::PrivilegedContainer;
    let privileged = Container::start(spec);
    privileged.wait();
    assert!(privileged.output().starts_with("1\n"), "{}", privileged.output());
}

fn exec_runs_inside_and_gives_the_exit_code() {
    let container = Container::start(shell("echo inside > /tmp/mark; echo ready; sleep 1000"));
    wait_for("the mark", || container.output().contains("ready"));
    let output = container.exec(&["sh", "-c", "cat /tmp/mark; echo $GREETING; exit 5"]);
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()), (Some(5), "inside\nhello\n"));
    let output = container.exec(&["no-such-program"]);
    assert_eq!(output.status.code(), Some(126));
    assert_eq!(container.exec_error(), r#"exec: "no-such-program": executable file not found in $PATH"#);
}

fn the_container_dies_with_its_shim() {
    let container = Container::start(shell("sleep 1000"));
    let running = container.running();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(running.shim_pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_for("the container's end", || {
        fs::read_to_string(format!("/proc/{}/stat", running.pid)).map_or(true, |stat| stat.contains(") Z "))
    });
}

fn a_built_in_image_runs_under_its_usual_path() {
    let image = sandbox::images::find("registry.k8s.io/e2e-test-images/agnhost:2.53").unwrap();
    let mut spec = shell("");
    spec.arguments = ["/agnhost", "connect", "nowhere"].map(str::to_owned).to_vec();
    spec.links = image.links.iter().map(|(path, name)| (path.into(), (*name).to_owned())).collect();
    spec.environment = vec![("PATH".to_owned(), PATH.to_owned())];
    spec.stop_signal = StopSignal::Terminate;
    let container = Container::start(spec);
    assert_eq!(container.wait().code, 1);
    assert_eq!(container.output(), "UNKNOWN: address nowhere: missing port in address\n");
}
