//! Services for people.

use model::Name;
use model::from_kube::SliceRecord;

use super::report::ServiceReport;
use super::words::{notes, settings};
use crate::output::columns;

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
    for note in notes(report) {
        say!("{note}");
    }
    say!("");
    let frontends = report
        .frontends
        .iter()
        .map(|each| vec![each.frontend.to_string(), each.port.to_string(), each.kind.to_string(), each.does.clone()]);
    columns(&["FRONTEND", "PORT", "KIND", "CONNECTIONS GO"], &frontends.collect::<Vec<_>>());
    if !report.reached.is_empty() {
        say!("from this machine: {}", report.reached.join("  "));
    }
    say!("");
    backends(report, wide);
    say!("");
    slices(report);
    kernel(report);
}

fn backends(report: &ServiceReport, wide: bool) {
    let with_local = wide || report.has_local_policy();
    let row = |address: String, port: Option<&Name>, node: Option<&Name>, local: bool| {
        let mut row = vec![address, or_dash(port), or_dash(node)];
        row.extend(with_local.then(|| if local { "yes" } else { "no" }.to_owned()));
        row
    };
    let last = |state: String, pod: Option<String>| {
        [wide.then(|| pod.unwrap_or_else(|| "-".to_owned())), Some(state)].into_iter().flatten()
    };
    let serving = report.backends.iter().map(|each| {
        let mut row = row(each.socket.to_string(), Some(&each.port), each.node.as_ref(), each.serves_locally);
        row.extend(last(report.standing_of(each).to_string(), each.pod.as_ref().map(ToString::to_string)));
        row
    });
    let left_out = report.left_out.iter().map(|each| {
        let mut row = row(each.address.to_string(), each.port.as_ref(), each.node.as_ref(), false);
        row.extend(last(each.to_string(), each.pod.as_ref().map(ToString::to_string)));
        row
    });
    let mut header = vec!["BACKEND", "PORT", "NODE"];
    header.extend(with_local.then_some("LOCAL"));
    header.extend(wide.then_some("POD"));
    header.push("STATE");
    columns(&header, &serving.chain(left_out).collect::<Vec<_>>());
}

fn slices(report: &ServiceReport) {
    let Some(record) = report.record.as_ref().filter(|record| !record.slices.is_empty()) else { return };
    let row = |slice: &SliceRecord| {
        vec![
            slice.name.to_string(),
            slice.address_type.clone(),
            slice.endpoints.to_string(),
            if slice.ports.is_empty() { "-".to_owned() } else { slice.ports.join(",") },
            slice.managed_by.clone().unwrap_or_else(|| "-".to_owned()),
            slice.delegated_by.as_ref().map_or_else(String::new, |label| format!("left to others by {label}")),
        ]
    };
    let header = ["SLICE", "FAMILY", "ENDPOINTS", "PORTS", "MANAGED BY", ""];
    columns(&header, &record.slices.iter().map(row).collect::<Vec<_>>());
    say!("");
}

fn or_dash(name: Option<&Name>) -> String {
    name.map_or_else(|| "-".to_owned(), ToString::to_string)
}

fn kernel(report: &ServiceReport) {
    let kernel = match &report.kernel {
        None => return,
        Some(Err(unseen)) => return say!("{unseen}"),
        Some(Ok(kernel)) => kernel,
    };
    let rows = kernel.elements.iter().map(|(set, element, held)| {
        vec![set.to_string(), element.clone(), if *held { "held" } else { "MISSING" }.to_owned()]
    });
    columns(&["MAP", "ELEMENT", "KERNEL"], &rows.collect::<Vec<_>>());
}
