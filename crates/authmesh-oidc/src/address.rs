//! Which addresses belong to the public internet, and a resolver that knows no others.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// What an address is that is not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Loopback,
    Private,
    Shared,
    LinkLocal,
    UniqueLocal,
    Metadata,
    Reserved,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "a loopback address",
            Self::Private => "a private address (RFC 1918)",
            Self::Shared => "an address of a carrier's or a cloud's shared range (RFC 6598)",
            Self::LinkLocal => "a link-local address, where clouds keep their metadata",
            Self::UniqueLocal => "a unique-local address (RFC 4193)",
            Self::Metadata => "an address at which a cloud serves its machines",
            Self::Reserved => "an address that is reserved, multicast, or made for documentation",
        })
    }
}

/// Azure serves its virtual machines (DHCP, DNS, the agent's secrets) at this address out of the public range.
const AZURE_WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// The address that a URL's host is written as, if it is one. IPv6 stands in brackets there.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    // A final dot makes a name absolute; what is left of it may be an address all the same.
    bare.unwrap_or(host).trim_end_matches('.').parse().ok()
}

/// What `address` is, unless it is one of the public internet: by the IANA special-purpose registries for IPv4 and IPv6 (RFC
/// 6890 and its successors). What is not known to be public is refused.
pub(crate) fn not_public(address: IpAddr) -> Option<Kind> {
    match address {
        IpAddr::V4(v4) => not_public_v4(v4),
        IpAddr::V6(v6) => not_public_v6(v6),
    }
}

fn not_public_v4(address: Ipv4Addr) -> Option<Kind> {
    if address == AZURE_WIRE_SERVER {
        return Some(Kind::Metadata);
    }
    match address.octets() {
        [127, ..] => Some(Kind::Loopback),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some(Kind::Private),
        [100, 64..=127, ..] => Some(Kind::Shared),
        [169, 254, ..] => Some(Kind::LinkLocal),
        // "This network"; protocol assignments; 6to4 relays; documentation; benchmarks; multicast and beyond.
        [0, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [224..=255, ..] => Some(Kind::Reserved),
        _ => None,
    }
}

fn not_public_v6(address: Ipv6Addr) -> Option<Kind> {
    if address.is_loopback() {
        return Some(Kind::Loopback);
    }
    match address.segments() {
        // IPv4-mapped: the system connects to the IPv4 address. The old IPv4-compatible form names one, too.
        [0, 0, 0, 0, 0, 0xffff | 0, ..] => not_public_v4(embedded(address)).or_else(|| {
            // Public IPv4 in the compatible form is obsolete (RFC 4291 section 2.5.5.1), and no way to reach anything.
            address.to_ipv4_mapped().is_none().then_some(Kind::Reserved)
        }),
        // NAT64 (RFC 6052): where IPv6 is all there is, every IPv4 host is reached by it.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => not_public_v4(embedded(address)),
        [0xfc00..=0xfdff, ..] => Some(Kind::UniqueLocal),
        [0xfe80..=0xfebf, ..] => Some(Kind::LinkLocal),
        // Of the range for global unicast, 2000::/3: protocol assignments with Teredo, documentation, 6to4.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => Some(Kind::Reserved),
        [0x2000..=0x3fff, ..] => None,
        _ => Some(Kind::Reserved),
    }
}

/// The IPv4 address in the last four bytes.
fn embedded(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

/// A name that leads to an address which is not public.
#[derive(Debug, thiserror::Error)]
#[error("{name} leads to {address}, {kind}, and public_addresses_only is set")]
pub(crate) struct Refused {
    name: String,
    address: IpAddr,
    kind: Kind,
}

type Looked = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
type LookUp = dyn Fn(String) -> Looked + Send + Sync;

/// A resolver that hands out public addresses only. The connection goes to the addresses that were judged, so there is no time
/// between the two in which a name could change.
pub(crate) struct PublicOnly {
    look_up: Arc<LookUp>,
}

impl PublicOnly {
    /// The system's resolver, judged.
    pub(crate) fn system() -> Self {
        Self::over(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }))
    }

    fn over(look_up: impl Fn(String) -> Looked + Send + Sync + 'static) -> Self {
        Self {
            look_up: Arc::new(look_up),
        }
    }
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let looked = (self.look_up)(name.clone());
        Box::pin(async move {
            let addresses = looked.await?;
            // One bad address spoils the name: a name that means both a public host and a private one is made to deceive.
            let bad = addresses
                .iter()
                .find_map(|at| not_public(at.ip()).map(|kind| (at.ip(), kind)));
            if let Some((address, kind)) = bad {
                return Err(Refused { name, address, kind }.into());
            }
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::sync::Mutex;

    use super::*;

    fn kind(address: &str) -> Option<Kind> {
        not_public(address.parse().unwrap())
    }

    #[test]
    fn the_borders_of_every_range_are_where_the_registries_put_them() {
        for (inside, expected) in [
            ("0.0.0.0", Kind::Reserved),
            ("10.0.0.0", Kind::Private),
            ("10.255.255.255", Kind::Private),
            ("100.64.0.0", Kind::Shared),
            ("100.127.255.255", Kind::Shared),
            ("127.255.255.255", Kind::Loopback),
            ("168.63.129.16", Kind::Metadata),
            ("169.254.169.254", Kind::LinkLocal),
            ("172.16.0.0", Kind::Private),
            ("172.31.255.255", Kind::Private),
            ("192.0.0.192", Kind::Reserved),
            ("192.0.2.1", Kind::Reserved),
            ("192.168.255.255", Kind::Private),
            ("198.19.255.255", Kind::Reserved),
            ("224.0.0.1", Kind::Reserved),
            ("255.255.255.255", Kind::Reserved),
            ("::", Kind::Reserved),
            ("::1", Kind::Loopback),
            ("::ffff:127.0.0.1", Kind::Loopback),
            ("::ffff:192.168.0.1", Kind::Private),
            ("::8.8.8.8", Kind::Reserved),
            ("64:ff9b::10.0.0.1", Kind::Private),
            ("64:ff9b:1::8.8.8.8", Kind::Reserved),
            ("fc00::", Kind::UniqueLocal),
            ("fd00:ec2::254", Kind::UniqueLocal),
            ("fe80::1", Kind::LinkLocal),
            ("febf::1", Kind::LinkLocal),
            ("fec0::1", Kind::Reserved),
            ("ff02::1", Kind::Reserved),
            ("2001::1", Kind::Reserved),
            ("2001:1ff::1", Kind::Reserved),
            ("2001:db8::1", Kind::Reserved),
            ("2002:a00:1::", Kind::Reserved),
            ("3fff::1", Kind::Reserved),
            ("5f00::1", Kind::Reserved),
        ] {
            assert_eq!(kind(inside), Some(expected), "{inside}");
        }
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2001:200::1",
            "2606:4700::1111",
        ] {
            assert_eq!(kind(public), None, "{public}");
        }
    }

    async fn resolved(resolver: &PublicOnly) -> Result<Vec<SocketAddr>, String> {
        let name = "login.example.com".parse().unwrap();
        match resolver.resolve(name).await {
            Ok(addresses) => Ok(addresses.collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[tokio::test]
    async fn a_name_that_turns_private_after_it_was_public_is_refused() {
        let answers = Mutex::new(vec![
            vec!["127.0.0.1:0".parse().unwrap()],
            vec!["1.1.1.1:0".parse().unwrap(), "[2606:4700::1111]:0".parse().unwrap()],
        ]);
        let resolver = PublicOnly::over(move |_| {
            let answer = answers.lock().unwrap().pop().unwrap();
            Box::pin(async move { Ok(answer) })
        });
        assert_eq!(resolved(&resolver).await.unwrap().len(), 2);
        let refused = resolved(&resolver).await.unwrap_err();
        assert!(refused.contains("login.example.com leads to 127.0.0.1"), "{refused}");
    }

    #[tokio::test]
    async fn one_private_address_among_public_ones_spoils_the_name() {
        let resolver = PublicOnly::over(|_| {
            Box::pin(async {
                Ok(vec![
                    "1.1.1.1:0".parse().unwrap(),
                    "[::ffff:10.0.0.1]:0".parse().unwrap(),
                ])
            })
        });
        assert!(resolved(&resolver).await.unwrap_err().contains("private"));
    }
}
