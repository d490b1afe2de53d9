//! What the kernel does for connections to PostgreSQL over a network: one that swallows everything is noticed within seconds.
//!
//! A host that vanished, or a firewall that forgot a connection, answers nothing and refuses nothing. Left to itself the kernel repeats
//! what was sent for a quarter of an hour, and waits for an answer to what arrived for ever. The driver has no setting for that and keeps
//! its sockets to itself, so all of this process that lead to the server's port are looked up and set: repeatedly, to no harm.

use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use rustix::net::sockopt::{
    set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl, set_tcp_user_timeout,
};
use rustix::net::{SocketAddr, getpeername};

/// What was sent must have arrived within this.
pub(super) const ARRIVES: Duration = Duration::from_secs(10);
/// Silent for so long, the other end is asked whether it is there, …
const IDLE: Duration = Duration::from_secs(5);
/// … this often, …
const PROBES: u32 = 3;
/// … so far apart.
const APART: Duration = Duration::from_secs(2);

/// Sets the sockets that lead to this port. Where that fails the connection is as good as it was.
pub(super) fn attach(port: u16) {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for fd in numbers.collect::<Vec<RawFd>>() {
        // SAFETY: it was open a moment ago and is used for system calls only. If it was closed meanwhile they fail; if its number was
        // given to another socket, that one is asked where it leads.
        let socket = unsafe { BorrowedFd::borrow_raw(fd) };
        if leads_to(socket, port) {
            let _ = set(socket);
        }
    }
}

fn leads_to(socket: BorrowedFd<'_>, port: u16) -> bool {
    let peer = getpeername(socket).ok().flatten();
    peer.and_then(|peer| SocketAddr::try_from(peer).ok())
        .is_some_and(|peer| peer.port() == port)
}

fn set(socket: BorrowedFd<'_>) -> rustix::io::Result<()> {
    set_tcp_user_timeout(socket, ARRIVES.as_millis() as u32)?;
    set_tcp_keepidle(socket, IDLE)?;
    set_tcp_keepintvl(socket, APART)?;
    set_tcp_keepcnt(socket, PROBES)?;
    set_socket_keepalive(socket, true)
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::{socket_keepalive, tcp_user_timeout};
    use tidegate_test_fixtures::postgres;
    use tidegate_test_fixtures::proxy::{Proxy, Upstream};

    use super::*;
    use crate::store::Store;

    fn patience_of_sockets_to(port: u16) -> Vec<(u32, bool)> {
        let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let numbers: Vec<RawFd> = entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        let mut found = Vec::new();
        for fd in numbers {
            // SAFETY: as above.
            let socket = unsafe { BorrowedFd::borrow_raw(fd) };
            if leads_to(socket, port) {
                found.push((
                    tcp_user_timeout(socket).unwrap(),
                    socket_keepalive(socket).unwrap(),
                ));
            }
        }
        found
    }

    #[tokio::test]
    async fn every_connection_over_a_network_notices_that_nobody_is_there() {
        let database = postgres::database().await;
        let proxy = Proxy::start(Upstream::Socket(database.socket()));
        let store = Store::connect(&database.through(proxy.port()), 4).await.unwrap();
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(store.pool().acquire().await.unwrap());
        }
        let wanted = (ARRIVES.as_millis() as u32, true);
        assert_eq!(patience_of_sockets_to(proxy.port()), vec![wanted; 4]);
    }
}
