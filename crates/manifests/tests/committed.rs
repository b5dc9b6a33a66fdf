//! What is committed in `deploy/` is what the source makes.

use std::path::Path;

#[test]
fn committed_files_are_what_the_source_makes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for file in manifests::generated() {
        let found = std::fs::read_to_string(root.join(&file.path)).unwrap_or_default();
        assert!(found == file.text, "{} is not what the source makes; run: cargo xtask bless", file.path);
    }
}
