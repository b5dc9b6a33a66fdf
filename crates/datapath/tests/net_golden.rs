//! What we write, in the words of the reference implementation: needs the program `nft`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::io::Write;
use std::process::{Command, Stdio};

use compile::ruleset::{Element, Operation, Ruleset, TABLE};
use compile::sample::{NODES, add_plain, plain_cluster};
use compile::{NodeView, Plan, diff};
use datapath::nft::{Table, chains_of_others};
use datapath::testing::isolated;

#[expect(clippy::expect_used, reason = "a panic is how a test fails")]
mod support;

/// Runs `nft` in our namespace and returns what it prints.
fn nft(arguments: &[&str], input: &str) -> String {
    let path = "/usr/sbin:/sbin:/usr/bin:/bin";
    let mut command = Command::new("nft");
    command.args(arguments).env("PATH", path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => panic!("cannot run nft: {error}; this tier needs the Debian package nftables"),
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "nft {arguments:?}: {}\n{input}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The ruleset as a script for `nft -f`.
fn script(ruleset: &Ruleset) -> String {
    let mut script = format!("table inet {TABLE} {{\n");
    for (name, set) in &ruleset.sets {
        let keyword = if set.spec.data.is_some() { "map" } else { "set" };
        let entries =
            set.elements.iter().map(|(key, data)| Element { key: key.clone(), data: data.clone() }.to_string());
        let entries: Vec<String> = entries.collect();
        let elements =
            if entries.is_empty() { String::new() } else { format!("elements = {{ {} }};", entries.join(", ")) };
        script += &format!("{keyword} {name} {{ {}; {elements} }}\n", set.spec);
    }
    for (name, chain) in &ruleset.chains {
        let hook = chain.hook.map(|hook| hook.to_string()).unwrap_or_default();
        let rules: Vec<String> = chain.rules.iter().map(ToString::to_string).collect();
        script += &format!("chain {name} {{ {hook}\n{}\n}}\n", rules.join("\n"));
    }
    script + "}\n"
}

/// A listing without what may differ: user data, the order of hashed elements, and the element that nft puts before
/// the first range of a set, which matches nothing.
fn normalised(listing: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut elements: Vec<String> = Vec::new();
    for line in listing.lines() {
        let line = line.split("  userdata = {").next().unwrap_or_default().trim_end();
        match line.trim_start() {
            "" | "element 00000000  : 1 [end]" => {}
            element if element.starts_with("element ") => elements.push(element.to_owned()),
            _ => {
                elements.sort();
                lines.append(&mut elements);
                lines.push(line.to_owned());
            }
        }
    }
    lines.join("\n")
}

#[test]
fn nft_lists_what_it_would_have_made_of_the_same_text() {
    isolated(|| {
        let wanted = support::everything();
        let mut table = Table::open().unwrap();
        table.apply(&compile::diff(&Ruleset::default(), &wanted)).unwrap();
        let list = ["--debug=netlink", "list", "table", "inet", TABLE];
        let ours = nft(&list, "");
        let read = nft(&["list", "table", "inet", TABLE], "");
        assert!(read.contains("comment \"shop/dns:udp\" : drop"), "{read}");
        table.apply(&[Operation::DeleteTable]).unwrap();
        nft(&["-f", "-"], &script(&wanted));
        let theirs = nft(&list, "");
        assert!(ours.contains("[ dynset update reg_key") && ours.contains("elements = { \"eth0\" }"), "{ours}");
        let (ours, theirs) = (normalised(&ours), normalised(&theirs));
        for (ours, theirs) in ours.lines().zip(theirs.lines()) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(ours, theirs);
    });
}

#[test]
fn nft_lists_the_table_of_a_plan_with_whose_element_each_is() {
    isolated(|| {
        let mut cluster = plain_cluster(2, 5);
        add_plain(&mut cluster, 2, 40);
        let plan = Plan::of(NodeView::new(NODES[0].name), &cluster);
        Table::open().unwrap().apply(&diff(&Ruleset::default(), plan.ruleset())).unwrap();
        let listing = nft(&["list", "table", "inet", TABLE], "");
        let expected = "10.96.1.0 . tcp . 80 comment \"shop/plain000000:http\" : goto lb_5";
        assert!(listing.contains(expected), "{listing}");
    });
}

#[test]
fn the_chains_of_others_are_known_by_name() {
    isolated(|| {
        nft(
            &["-f", "-"],
            "add table ip kube-proxy\nadd chain ip kube-proxy services\nadd table inet fairway\nadd chain inet fairway mine\n",
        );
        let found: Vec<_> = chains_of_others().unwrap().into_iter().collect();
        let told = found.iter().map(|chain| (chain.qualified_table(), chain.name.clone()));
        assert_eq!(told.collect::<Vec<_>>(), [("ip kube-proxy".to_owned(), "services".to_owned())]);
    });
}
