//! Services for people.

use model::Name;

use super::report::{ServiceReport, settings};

/// One line a Service.
pub(super) fn table(reports: &[ServiceReport], wide: bool) {
    let rows = reports.iter().map(|report| {
        let (serving, all) = report.count();
        let addresses: Vec<String> = report.frontends.iter().map(|each| each.frontend.to_string()).collect();
        let mut row = vec![
            report.service.name.namespace.to_string(),
            report.service.name.name.to_string(),
            report.kind().to_owned(),
            format!("{serving}/{all}"),
            if addresses.is_empty() { "-".to_owned() } else { addresses.join(", ") },
        ];
        row.extend(wide.then(|| settings(&report.service)));
        row
    });
    let mut header = vec!["NAMESPACE", "NAME", "TYPE", "ENDPOINTS", "FRONTENDS"];
    header.extend(wide.then_some("SETTINGS"));
    columns(&header, &rows.collect::<Vec<_>>());
}

/// All about one Service.
pub(super) fn one(node: &Name, report: &ServiceReport, wide: bool) {
    say!("Service {}, {}, as node {node} sees it", report.service.name, report.kind());
    say!("{}", settings(&report.service));
    for rejected in &report.rejected {
        say!("not in force: {rejected}");
    }
    say!("");
    let frontends = report
        .frontends
        .iter()
        .map(|each| vec![each.frontend.to_string(), each.port.to_string(), each.kind.clone(), each.does.clone()]);
    columns(&["FRONTEND", "PORT", "KIND", "CONNECTIONS GO"], &frontends.collect::<Vec<_>>());
    say!("");
    let backends = report.backends.iter().map(|each| {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let mut row = vec![
            each.socket.to_string(),
            each.port.to_string(),
            or_dash(each.node.as_ref().map(ToString::to_string)),
            each.state.to_string(),
        ];
        row.extend(wide.then(|| or_dash(each.pod.as_ref().map(ToString::to_string))));
        row.extend(wide.then(|| if each.serves_locally { "yes" } else { "no" }.to_owned()));
        row
    });
    let mut header = vec!["BACKEND", "PORT", "NODE", "STATE"];
    header.extend(wide.then_some(["POD", "LOCAL"]).into_iter().flatten());
    columns(&header, &backends.collect::<Vec<_>>());
    say!("");
    kernel(report);
}

fn kernel(report: &ServiceReport) {
    let Some(kernel) = &report.kernel else {
        return say!("Run this on a node, as root, to see what its kernel holds.");
    };
    let rows = kernel.elements.iter().map(|(set, element, held)| {
        vec![set.to_string(), element.clone(), if *held { "held" } else { "MISSING" }.to_owned()]
    });
    columns(&["MAP", "ELEMENT", "KERNEL"], &rows.collect::<Vec<_>>());
}

/// Prints columns as wide as their widest cell; the last one is not padded.
fn columns(header: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(header.get(column).map(|cell| cell.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let line: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        say!("{}", line.join("  ").trim_end());
    };
    print(&mut header.iter().copied());
    for row in rows {
        print(&mut row.iter().map(String::as_str));
    }
}
