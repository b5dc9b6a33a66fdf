//! What a built-in program says on standard error, in the form Go's `log` package made usual for test images.

use std::io::Write;

/// Writes one line with the time in front.
pub fn say(text: impl AsRef<str>) {
    let now = jiff::Zoned::now();
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(std::io::stderr(), "{} {}", now.strftime("%Y/%m/%d %H:%M:%S"), text.as_ref());
}

/// The host name, which in a pod is the pod's name.
pub fn host_name() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
