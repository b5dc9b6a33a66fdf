//! What the first packet of a connection pays: connections to Services all of whose endpoints are here.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use compile::sample::{PLAIN_PORT, TARGET_PORTS, plain_address};
use datapath::route::{Route, RouteAction, Rtnetlink};
use serde_json::json;

/// How many connections are made at a time, to Services spread over all there are.
const CONNECTIONS: u32 = 300;
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

/// Measures connections at every order, which is a line of input, and prints each batch as a line of nanoseconds.
pub fn measure_at_orders(services: u32) -> Result<()> {
    let mut first = 0;
    for order in io::stdin().lines() {
        order.context("cannot read an order")?;
        let batch = measure(services, first)?;
        first = (first + 1) % services.max(1);
        println!("{}", json!(batch.iter().map(Duration::as_nanos).collect::<Vec<u128>>()));
    }
    Ok(())
}

/// How long connections take, from their first packet until the answer to it, beginning with the Service `first`.
fn measure(services: u32, first: u32) -> Result<Vec<Duration>> {
    let connect = |turn: u32| -> Result<Duration> {
        let step = u64::from(turn) * u64::from(services) / u64::from(CONNECTIONS);
        let service = (u64::from(first) + step) % u64::from(services.max(1));
        let address = SocketAddr::new(plain_address(service as u32).into(), PLAIN_PORT);
        let begun = Instant::now();
        let stream =
            TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("no answer at {address}"))?;
        let took = begun.elapsed();
        drop(stream);
        Ok(took)
    };
    (0..CONNECTIONS).map(connect).collect()
}
