//! What the first packet of a connection pays: connections to Services all of whose endpoints are here.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use compile::sample::{PLAIN_PORT, TARGET_PORTS, plain_address};
use datapath::route::{Route, RouteAction, Rtnetlink};

use crate::figures::Series;

/// How many connections are made, to Services spread over all there are.
const CONNECTIONS: u32 = 3000;
/// How many are made before, so that the first ones do not pay for what all share.
const WARM_UP: u32 = 300;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where the connections come from.
const CLIENT: &str = "10.89.0.1/32";
/// Where Services and endpoints of the sample are.
const SERVICES: &str = "10.96.0.0/12";
const ENDPOINTS: &str = "10.128.0.0/9";

/// Makes every endpoint this machine's own, with one server for all.
pub fn serve() -> Result<()> {
    let mut links = Rtnetlink::open()?;
    let loopback = links.require_link("lo")?.index;
    links.set_up(loopback)?;
    let client = CLIENT.parse()?;
    links.add_address(loopback, client)?;
    let to_services = Route { source: Some(client.addr()), ..Route::on_link(SERVICES.parse()?, loopback) };
    links.add_route(&to_services)?;
    links.add_route(&Route::new(ENDPOINTS.parse()?, RouteAction::Local))?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, TARGET_PORTS[0])).context("cannot serve the endpoints")?;
    // Ends with the case's process.
    thread::spawn(move || listener.incoming().for_each(drop));
    Ok(())
}

/// How long connections take, from their first packet until the answer to it.
pub fn measure(services: u32) -> Result<Series> {
    let connect = |turn: u32| -> Result<Duration> {
        let service = (u64::from(turn) * u64::from(services) / u64::from(CONNECTIONS)) as u32;
        let address = SocketAddr::new(plain_address(service).into(), PLAIN_PORT);
        let begun = Instant::now();
        let stream =
            TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("no answer at {address}"))?;
        let took = begun.elapsed();
        drop(stream);
        Ok(took)
    };
    (0..WARM_UP).try_for_each(|turn| connect(turn * (CONNECTIONS / WARM_UP)).map(drop))?;
    (0..CONNECTIONS).map(connect).collect()
}
