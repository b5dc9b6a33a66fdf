//! One shape at one size, measured in this process and in a network namespace of its own.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{getegid, geteuid};
use serde_json::{Value, json};

use super::connects;
use crate::figures::Series;

/// The single changes, in the order in which they are made.
pub const CHANGES: [&str; 4] = ["one Service more", "one Service less", "one endpoint more", "one endpoint less"];

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub services: u32,
    pub endpoints: u32,
    pub repeats: u32,
}

/// Something that puts Services into the kernel.
pub trait Case: Sized {
    /// Prepares what does not count.
    fn prepare(size: &Size) -> Result<Self>;
    /// Writes everything into an empty kernel.
    fn cold(&mut self) -> Result<()>;
    /// Starts anew with everything there; whether something was written. None when the shape has no such thing.
    fn restart(&mut self) -> Result<Option<bool>>;
    /// Makes the change of [`CHANGES`] and returns how long that took.
    fn change(&mut self, change: usize) -> Result<Duration>;
}

/// Time by the clock and on the CPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
}

/// What one case cost.
#[derive(Debug, Default)]
pub struct Measured {
    pub cold: Cost,
    pub restart: Option<Cost>,
    pub restart_wrote: bool,
    /// One series for each of [`CHANGES`].
    pub changes: Vec<Series>,
    pub peak_kib: u64,
}

/// Measures a case and prints what it cost; then measures connections for as long as it is ordered to.
pub fn measure<C: Case>(size: &Size) -> Result<()> {
    enter_namespace().context("cannot make a network namespace; unprivileged user namespaces may be switched off")?;
    let mut case = C::prepare(size)?;
    let mut measured = Measured::default();
    let (cold, ()) = cost(|| case.cold())?;
    measured.cold = cold;
    let (restart, wrote) = cost(|| case.restart())?;
    measured.restart = wrote.map(|_| restart);
    measured.restart_wrote = wrote.unwrap_or_default();
    measured.changes = vec![Series::default(); CHANGES.len()];
    for _ in 0..size.repeats {
        for (index, series) in measured.changes.iter_mut().enumerate() {
            series.push(case.change(index)?);
        }
    }
    measured.peak_kib = peak_kib()?;
    println!("{}", measured.to_json());
    connects::serve().context("cannot serve the endpoints")?;
    connects::measure_at_orders(size.services)
}

/// Makes this process root of new namespaces; it must have one thread.
fn enter_namespace() -> Result<()> {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        unshare(CloneFlags::CLONE_NEWNET)?;
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    Ok(())
}

fn cost<T>(work: impl FnOnce() -> Result<T>) -> Result<(Cost, T)> {
    let (begun, cpu) = (Instant::now(), cpu_time()?);
    let result = work()?;
    Ok((Cost { wall: begun.elapsed(), cpu: cpu_time()?.saturating_sub(cpu) }, result))
}

/// What this process and its children have spent on the CPU, in the kernel or not.
fn cpu_time() -> Result<Duration> {
    let duration = |time: TimeVal| {
        Duration::from_secs(time.tv_sec().unsigned_abs()) + Duration::from_micros(time.tv_usec().unsigned_abs())
    };
    let mut spent = Duration::ZERO;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        spent += duration(usage.user_time()) + duration(usage.system_time());
    }
    Ok(spent)
}

/// The most memory this process or one of its children ever had.
fn peak_kib() -> Result<u64> {
    let own = getrusage(UsageWho::RUSAGE_SELF)?.max_rss();
    Ok(own.max(getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss()).unsigned_abs())
}

impl Measured {
    /// As JSON, in microseconds and KiB.
    pub fn to_json(&self) -> Value {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let cost = |cost: Cost| json!([micros(cost.wall), micros(cost.cpu)]);
        let changes: Vec<Vec<u64>> =
            self.changes.iter().map(|series| series.iter().copied().map(micros).collect()).collect();
        json!({
            "cold": cost(self.cold),
            "restart": self.restart.map(cost),
            "restart_wrote": self.restart_wrote,
            "changes": changes,
            "peak_kib": self.peak_kib,
        })
    }

    /// The reverse of [`Measured::to_json`].
    pub fn from_json(json: &Value) -> Result<Self> {
        let cost = |value: &Value| -> Result<Cost> {
            let [wall, cpu] = serde_json::from_value::<[u64; 2]>(value.clone())?.map(Duration::from_micros);
            Ok(Cost { wall, cpu })
        };
        let changes: Vec<Vec<u64>> = serde_json::from_value(json["changes"].clone())?;
        Ok(Self {
            cold: cost(&json["cold"])?,
            restart: if json["restart"].is_null() { None } else { Some(cost(&json["restart"])?) },
            restart_wrote: json["restart_wrote"].as_bool().unwrap_or_default(),
            changes: changes.into_iter().map(|each| each.into_iter().map(Duration::from_micros).collect()).collect(),
            peak_kib: json["peak_kib"].as_u64().unwrap_or_default(),
        })
    }
}
