//! The rules of probes and of what happens when a container starts and stops.

use crate::error::FieldError;
use crate::kinds::field::Field;
use crate::kinds::metadata::non_negative;
use crate::kinds::{names, port};

const SCHEMES: &[&str] = &["HTTP", "HTTPS"];
const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
const PROBE_HANDLERS: usize = 4;
const COUNTS: [&str; 5] =
    ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];

/// What is wrong with the three probes of a container.
pub(super) fn validate_probes(container: &Field<'_>, grace_seconds: Option<i64>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.get(name);
        if !probe.is_set() {
            continue;
        }
        errors.extend(validate_probe(&probe, grace_seconds));
        let (successes, grace) = (probe.get("successThreshold"), probe.get("terminationGracePeriodSeconds"));
        if name == "readinessProbe" {
            errors.extend(grace.is_set().then(|| grace.invalid("must not be set for readinessProbes")));
        } else {
            errors.extend((successes.integer() != Some(1)).then(|| successes.invalid("must be 1")));
        }
    }
    errors
}

fn validate_probe(probe: &Field<'_>, grace_seconds: Option<i64>) -> Vec<FieldError> {
    let mut errors = validate_handler(probe, &HANDLERS[..PROBE_HANDLERS], grace_seconds);
    errors.extend(COUNTS.iter().filter_map(|count| non_negative(&probe.get(count))));
    let grace = probe.get("terminationGracePeriodSeconds");
    errors.extend(grace.integer().is_some_and(|seconds| seconds <= 0).then(|| grace.invalid("must be greater than 0")));
    errors
}

/// What is wrong with the hooks of a container.
pub(super) fn validate_lifecycle(container: &Field<'_>, grace_seconds: Option<i64>) -> Vec<FieldError> {
    let lifecycle = container.get("lifecycle");
    let hooks = ["postStart", "preStop"].map(|name| lifecycle.get(name));
    let given = hooks.iter().filter(|hook| hook.is_set());
    given.flat_map(|hook| validate_handler(hook, &HANDLERS, grace_seconds)).collect()
}

/// Exactly one way of doing it; the first one given is judged.
fn validate_handler(parent: &Field<'_>, possible: &[&str], grace_seconds: Option<i64>) -> Vec<FieldError> {
    let mut given = possible.iter().map(|name| (*name, parent.get(name))).filter(|(_, handler)| handler.is_set());
    let Some((name, handler)) = given.next() else { return vec![parent.required("must specify a handler type")] };
    let mut errors = match name {
        "exec" => {
            let command = handler.get("command");
            command.is_empty().then(|| command.required("")).into_iter().collect()
        }
        "httpGet" => validate_http_get(&handler),
        "grpc" => port::validate_number(&handler.get("port")).into_iter().collect(),
        "sleep" => validate_sleep(&handler, grace_seconds),
        _ => port::validate_number_or_name(&handler.get("port")),
    };
    errors.extend(given.map(|(_, other)| other.forbidden("may not specify more than 1 handler type")));
    errors
}

fn validate_http_get(get: &Field<'_>) -> Vec<FieldError> {
    let (path, scheme, headers) = (get.get("path"), get.get("scheme"), get.get("httpHeaders"));
    let mut errors: Vec<FieldError> = path.is_empty().then(|| path.required("")).into_iter().collect();
    errors.extend(port::validate_number_or_name(&get.get("port")));
    errors.extend((!SCHEMES.contains(&scheme.text())).then(|| scheme.not_supported(SCHEMES)));
    for header in headers.items() {
        let name = header.get("name").at(headers.path());
        errors.extend(name.malformed(names::http_header_name));
    }
    errors
}

fn validate_sleep(sleep: &Field<'_>, grace_seconds: Option<i64>) -> Vec<FieldError> {
    let seconds = sleep.get("seconds").integer().unwrap_or(0);
    let Some(grace) = grace_seconds.filter(|grace| !(0..=*grace).contains(&seconds)) else { return Vec::new() };
    let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
    vec![FieldError::invalid(sleep.path(), seconds, detail)]
}
