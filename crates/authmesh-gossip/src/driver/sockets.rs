//! The two sockets of a node, on one port.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

/// Tries to find a port that is free for both.
const TRIES: usize = 32;

#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
    /// Where they are bound.
    pub(crate) bound: SocketAddr,
}

impl Sockets {
    pub(crate) async fn bind(at: SocketAddr) -> io::Result<Self> {
        let mut tries = 0;
        loop {
            let tcp = TcpListener::bind(at).await?;
            let bound = tcp.local_addr()?;
            match UdpSocket::bind(bound).await {
                Ok(udp) => return Ok(Self { udp, tcp, bound }),
                // Another process has the datagrams of the port that the system chose for streams: take another.
                Err(error) if at.port() == 0 && error.kind() == io::ErrorKind::AddrInUse && tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

/// The address that a socket would write to `towards` from. Nothing is sent.
pub(crate) async fn own_ip(bound: SocketAddr, towards: Option<SocketAddr>) -> io::Result<IpAddr> {
    if !bound.ip().is_unspecified() {
        return Ok(bound.ip());
    }
    // Without a seed, the documentation's address (RFC 5737, RFC 3849) takes the road to anywhere.
    let anywhere: SocketAddr = match bound.is_ipv4() {
        true => ([192, 0, 2, 1], 9).into(),
        false => ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9).into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(bound.ip(), 0)).await?;
    socket.connect(native(towards.unwrap_or(anywhere), bound)).await?;
    Ok(socket.local_addr()?.ip().to_canonical())
}

/// A stream to a member, from the bound address.
pub(crate) async fn connect(bound: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = match bound.is_ipv4() {
        true => TcpSocket::new_v4()?,
        false => TcpSocket::new_v6()?,
    };
    if !bound.ip().is_unspecified() {
        socket.bind(SocketAddr::new(bound.ip(), 0))?;
    }
    let stream = socket.connect(native(to, bound)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An address as a socket of this family wants it: IPv6 sockets write to IPv4 addresses in their mapped form.
pub(crate) fn native(to: SocketAddr, bound: SocketAddr) -> SocketAddr {
    match (to.ip(), bound.is_ipv6()) {
        (IpAddr::V4(ip), true) => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
        _ => to,
    }
}

/// An address as everybody names it.
pub(crate) fn canonical(from: SocketAddr) -> SocketAddr {
    SocketAddr::new(from.ip().to_canonical(), from.port())
}
