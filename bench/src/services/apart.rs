//! A case in a process of its own, which stays until its connections are measured.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::case::{Measured, Size};
use super::{ServicesArgs, Shape};
use crate::figures::Series;

/// What a case came to.
pub struct Outcome {
    pub shape: Shape,
    pub services: u32,
    pub measured: Measured,
    /// Connections to its Services, until they were answered.
    pub connects: Series,
}

/// A case whose Services are in the kernel.
pub struct Apart {
    outcome: Outcome,
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Apart {
    /// Measures everything but connections.
    pub fn start(args: &ServicesArgs, shape: Shape, services: u32) -> Result<Self> {
        let Size { services, endpoints, repeats } = args.size(services);
        let mut command = Command::new(std::env::current_exe()?);
        let [case, sizes] = [shape.to_string(), services.to_string()];
        command.args(["services", "--case", &case, "--sizes", &sizes]);
        command.args(["--endpoints", &endpoints.to_string(), "--repeats", &repeats.to_string()]);
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start the case's process")?;
        let (orders, answers) = (process.stdin.take(), process.stdout.take());
        let mut answers = BufReader::new(answers.context("the case has no output")?);
        let orders = orders.context("the case has no input")?;
        let measured = Measured::from_json(&read(&mut answers)?)
            .with_context(|| format!("the case {shape} with {services} Services failed"))?;
        let outcome = Outcome { shape, services, measured, connects: Series::default() };
        Ok(Self { outcome, process, orders, answers })
    }

    /// Measures a batch of connections.
    pub fn connect(&mut self) -> Result<()> {
        let Outcome { shape, services, .. } = self.outcome;
        let what = || format!("no connections in the case {shape} with {services} Services");
        self.orders.write_all(b"go\n").with_context(what)?;
        let took: Vec<u64> = serde_json::from_value(read(&mut self.answers).with_context(what)?)?;
        took.into_iter().map(Duration::from_nanos).for_each(|took| self.outcome.connects.push(took));
        Ok(())
    }

    /// Lets the process end, and with it the namespace and all that is in it.
    pub fn end(self) -> Result<Outcome> {
        let Self { outcome, mut process, orders, answers } = self;
        drop((orders, answers));
        ensure!(
            process.wait()?.success(),
            "the case {} with {} Services failed at its end",
            outcome.shape,
            outcome.services
        );
        Ok(outcome)
    }
}

fn read(answers: &mut impl BufRead) -> Result<Value> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    ensure!(!line.is_empty(), "the case's process ended");
    Ok(serde_json::from_str(&line)?)
}
