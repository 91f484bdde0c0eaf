//! Loopback ports that stay ours.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use tokio::net::TcpSocket;

/// A port on 127.0.0.1, reserved for as long as this value lives.
///
/// The reservation is a socket that is bound with `SO_REUSEADDR` and does not listen. Linux then gives the port to
/// nobody by chance (neither to a bind to port 0 nor to an outgoing connection), refuses connections to it, and still
/// lets one program bind and listen on it, as long as that program sets `SO_REUSEADDR` too: nginx, node and tokio do.
/// So a program may be stopped and started again on the same port, with nobody slipping in between.
pub struct Port {
    address: SocketAddr,
    _reservation: TcpSocket,
}

impl Port {
    /// Reserves a free port.
    pub fn reserve() -> Self {
        let reservation = TcpSocket::new_v4().expect("no socket left: raise `ulimit -n`");
        reservation.set_reuseaddr(true).expect("SO_REUSEADDR on a new socket");
        reservation
            .bind(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)))
            .expect("no free port on 127.0.0.1");
        let address = reservation.local_addr().expect("address of a bound socket");
        Self {
            address,
            _reservation: reservation,
        }
    }

    /// The address, for example `127.0.0.1:40123`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number alone.
    pub fn number(&self) -> u16 {
        self.address.port()
    }

    /// `http://127.0.0.1:PORT` followed by `path`, which begins with a slash or is empty.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port({})", self.address)
    }
}
