//! `fairway explain`

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cli::{ExplainArgs, Output};
use crate::diagnostics::{self, Diagnostic};

/// Says what a code means; needs no cluster.
pub fn run(args: &ExplainArgs) -> Result<ExitCode> {
    let Some(code) = &args.code else {
        list(args.output);
        return Ok(ExitCode::SUCCESS);
    };
    let unknown = || format!("there is no code {code:?}; all of them: fairway explain");
    let diagnostic = diagnostics::find(code).with_context(unknown)?;
    match args.output {
        Output::Json => say!("{:#}", to_json(diagnostic)),
        Output::Table => {
            let Diagnostic { code, title, meaning, fix } = diagnostic;
            say!("{code}  {title}\n\n{meaning}\n\nWhat to do: {fix}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(output: Output) {
    match output {
        Output::Json => say!("{:#}", diagnostics::ALL.into_iter().map(to_json).collect::<Value>()),
        Output::Table => {
            for Diagnostic { code, title, .. } in diagnostics::ALL {
                say!("{code}  {title}");
            }
        }
    }
}

fn to_json(diagnostic: &Diagnostic) -> Value {
    let Diagnostic { code, title, meaning, fix } = diagnostic;
    json!({ "code": code, "title": title, "meaning": meaning, "fix": fix })
}
