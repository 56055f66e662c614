//! Listening sockets, and the acceptors that deal connections out to the I/O threads.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::config::Config;
use crate::io::{Accepted, IoThread};
use crate::server::Server;

/// Open listening sockets.
pub struct Listeners {
    tcp: Vec<TcpListener>,
    unix: Option<UnixListener>,
}

impl Listeners {
    /// Opens what the configuration asks for.
    ///
    /// # Errors
    /// The line to log.
    pub fn open(config: &Config) -> Result<Listeners, String> {
        let mut tcp = Vec::new();
        if config.port != 0 {
            for address in &config.bind {
                let (address, optional) = match address.strip_prefix('-') {
                    Some(address) => (address, true),
                    None => (address.as_str(), false),
                };
                match listen(address, config) {
                    Ok(listener) => tcp.push(listener),
                    Err(error) if optional && error.kind() != io::ErrorKind::AddrInUse => {}
                    Err(error) => {
                        tracing::warn!(
                            "Could not create server TCP listening socket {address}:{}: {error}",
                            config.port
                        );
                        return Err(format!(
                            "Failed listening on port {} (TCP), aborting.",
                            config.port
                        ));
                    }
                }
            }
            if tcp.is_empty() && !config.bind.is_empty() {
                return Err(format!(
                    "Failed listening on port {} (TCP), aborting.",
                    config.port
                ));
            }
        }
        let unix = match &config.unixsocket {
            None => None,
            Some(path) => {
                // A socket that a dead server left behind is in the way.
                let _ = std::fs::remove_file(path);
                let failed =
                    |error| format!("Failed opening Unix socket {}: {error}", path.display());
                let listener = UnixListener::bind(path).map_err(failed)?;
                if config.unixsocketperm.0 != 0 {
                    let mode = std::fs::Permissions::from_mode(config.unixsocketperm.0);
                    std::fs::set_permissions(path, mode).map_err(failed)?;
                }
                Some(listener)
            }
        };
        if tcp.is_empty() && unix.is_none() {
            return Err("Configured to not listen anywhere, exiting.".to_owned());
        }
        Ok(Listeners { tcp, unix })
    }

    /// Starts to accept connections, one thread per socket.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn accept(self, server: &Arc<Server>, threads: &Arc<Vec<IoThread>>) -> io::Result<()> {
        for listener in self.tcp {
            let (server, threads) = (server.clone(), threads.clone());
            thread::Builder::new()
                .name("hardtack-accept".into())
                .spawn(move || {
                    loop {
                        match listener.accept() {
                            Ok((socket, peer)) => admit_tcp(&server, &threads, socket, peer),
                            Err(error) => pause_after(&error),
                        }
                    }
                })?;
        }
        if let Some(listener) = self.unix {
            let (server, threads) = (server.clone(), threads.clone());
            thread::Builder::new()
                .name("hardtack-accept".into())
                .spawn(move || {
                    loop {
                        match listener.accept() {
                            Ok((mut socket, _)) => {
                                if is_full(&server, &mut socket) {
                                    continue;
                                }
                                if socket.set_nonblocking(true).is_ok() {
                                    deal(&threads, Accepted::Unix(socket));
                                }
                            }
                            Err(error) => pause_after(&error),
                        }
                    }
                })?;
        }
        Ok(())
    }
}

fn listen(address: &str, config: &Config) -> io::Result<TcpListener> {
    let ip: IpAddr = match address {
        "*" => IpAddr::from([0, 0, 0, 0]),
        "::*" => IpAddr::from([0u16; 8]),
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        address => address
            .parse()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
    };
    let socket = Socket::new(
        Domain::for_address((ip, 0).into()),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if ip.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((ip, config.port)).into())?;
    socket.listen(config.tcp_backlog as i32)?;
    Ok(socket.into())
}

fn admit_tcp(server: &Server, threads: &[IoThread], mut socket: TcpStream, peer: SocketAddr) {
    if is_full(server, &mut socket) {
        return;
    }
    let config = server.config();
    if config.protected_mode
        && config.requirepass.is_empty()
        && !peer.ip().to_canonical().is_loopback()
    {
        server.stats.rejected_connections.add(1);
        let _ = socket.write_all(
            b"-DENIED Hardtack is running in protected mode because no password is set: connections are only accepted \
              from this machine. Set one with 'requirepass', or turn 'protected-mode' off.\r\n",
        );
        return;
    }
    let keepalive = config.tcp_keepalive;
    let prepared = (|| {
        socket.set_nodelay(true)?;
        if keepalive > 0 {
            let probe = TcpKeepalive::new()
                .with_time(Duration::from_secs(keepalive.into()))
                .with_interval(Duration::from_secs((keepalive / 3).max(1).into()))
                .with_retries(3);
            socket2::SockRef::from(&socket).set_tcp_keepalive(&probe)?;
        }
        socket.set_nonblocking(true)
    })();
    if prepared.is_ok() {
        deal(threads, Accepted::Tcp(socket));
    }
}

/// Turns a client away if there are too many.
fn is_full(server: &Server, socket: &mut impl Write) -> bool {
    let full = server.clients.count() >= server.config().maxclients as usize;
    if full {
        server.stats.rejected_connections.add(1);
        let _ = socket.write_all(b"-ERR max number of clients reached\r\n");
    }
    full
}

fn deal(threads: &[IoThread], accepted: Accepted) {
    if let Some(thread) = threads.iter().min_by_key(|thread| thread.connections()) {
        thread.deal(accepted);
    }
}

/// Out of descriptors or the like: others have to go first.
fn pause_after(error: &io::Error) {
    tracing::warn!("Error accepting a client connection: {error}");
    thread::sleep(Duration::from_millis(100));
}
