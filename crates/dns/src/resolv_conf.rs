//! The servers a resolver configuration names.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The port of DNS servers that give no other.
const DNS_PORT: u16 = 53;

/// The servers in the text of a `resolv.conf`, in order; lines that name none are left out, as libc does.
pub fn parse_nameservers(text: &str) -> Vec<SocketAddr> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    if words.next()? != "nameserver" {
        return None;
    }
    parse_server(words.next()?)
}

fn parse_server(word: &str) -> Option<SocketAddr> {
    // A link-local server has its interface behind a percent sign; only numbers need no look at the machine.
    match word.split_once('%') {
        Some((address, scope)) => {
            let address: Ipv6Addr = address.parse().ok()?;
            Some(SocketAddrV6::new(address, DNS_PORT, 0, scope.parse().ok()?).into())
        }
        None => Some(SocketAddr::new(word.parse::<IpAddr>().ok()?, DNS_PORT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_in_order() {
        let text =
            "# by hand\nsearch example.com\nnameserver 10.0.0.2\n  nameserver\tfd00::53 \nnameserver fe80::1%2\n";
        let servers: Vec<_> = parse_nameservers(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.2:53", "[fd00::53]:53", "[fe80::1%2]:53"]);
    }

    #[test]
    fn lines_that_name_no_server_are_left_out() {
        assert_eq!(
            parse_nameservers("nameserver\nnameserver dns.example.com\nnameservers 10.0.0.1\n;nameserver 1.1.1.1"),
            []
        );
    }
}
