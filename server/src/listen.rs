//! Listening sockets, and the acceptors that deal connections out to the I/O threads.

use std::io::{self, Write};
use std::mem;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::config::Config;
use crate::io::{Accepted, IoThreads};
use crate::server::Server;

/// Open listening sockets that nobody accepts from yet.
pub struct Listeners {
    tcp: Vec<(Place, TcpListener)>,
    unix: Option<UnixListener>,
}

/// A socket could not be opened; the log says why.
#[derive(Debug)]
pub struct ListenFailed;

/// An address as the configuration has it, without the mark of optional ones, and a port.
type Place = (String, u16);

/// The listening sockets in use: where clients come in.
#[derive(Default)]
pub struct Doors {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    threads: Option<Arc<IoThreads>>,
    tcp: Vec<Door>,
}

/// One listening socket and the thread that accepts from it.
struct Door {
    place: Place,
    listener: Arc<TcpListener>,
    closed: Arc<AtomicBool>,
    acceptor: thread::JoinHandle<()>,
}

impl Listeners {
    /// Opens what the configuration asks for.
    ///
    /// # Errors
    /// The line to log.
    pub fn open(config: &Config) -> Result<Listeners, String> {
        let failed = || format!("Failed listening on port {} (TCP), aborting.", config.port);
        let tcp = open_tcp(config, &[]).ok_or_else(failed)?;
        if tcp.is_empty() && config.port != 0 && !config.bind.is_empty() {
            return Err(failed());
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
    pub fn accept(self, server: &Arc<Server>, threads: &Arc<IoThreads>) -> io::Result<()> {
        let mut state = server.doors.state.lock();
        state.threads = Some(threads.clone());
        for (place, listener) in self.tcp {
            let door = Door::open(place, listener, server, threads)?;
            state.tcp.push(door);
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
                                    threads.deal(Accepted::Unix(socket));
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

impl Doors {
    /// Listens where `config` says, and no longer where it does not. Connections stay. Nothing has changed if that
    /// fails.
    ///
    /// # Errors
    /// If one of the sockets cannot be opened; the log says why.
    pub fn move_to(&self, server: &Arc<Server>, config: &Config) -> Result<(), ListenFailed> {
        let mut state = self.state.lock();
        let threads = state.threads.clone().ok_or(ListenFailed)?;
        let start = |opened: Vec<(Place, TcpListener)>| -> Result<Vec<Door>, ListenFailed> {
            opened
                .into_iter()
                .map(|(place, listener)| Door::open(place, listener, server, &threads))
                .collect::<Result<_, _>>()
                .map_err(|error| {
                    tracing::warn!("Can't start an acceptor: {error}");
                    ListenFailed
                })
        };
        let wanted: Vec<Place> = places_of(config).map(|(place, _)| place).collect();
        let (kept, left) = mem::take(&mut state.tcp)
            .into_iter()
            .partition::<Vec<_>, _>(|door| wanted.contains(&door.place));
        let old: Vec<Place> = left.iter().map(|door| door.place.clone()).collect();
        state.tcp = kept;
        // The old sockets first: one for all addresses and one for a single address of the same port exclude each
        // other.
        left.into_iter().for_each(Door::close);
        let open: Vec<&Place> = state.tcp.iter().map(|door| &door.place).collect();
        let new = open_tcp(config, &open).ok_or(ListenFailed).and_then(start);
        match new {
            Ok(new) => {
                state.tcp.extend(new);
                Ok(())
            }
            Err(failed) => {
                let reopened = old.into_iter().filter_map(|place| {
                    let listener = listen(&place, config.tcp_backlog);
                    listener.map(|listener| (place, listener)).ok()
                });
                state.tcp.extend(start(reopened.collect())?);
                Err(failed)
            }
        }
    }
}

impl Door {
    fn open(
        place: Place,
        listener: TcpListener,
        server: &Arc<Server>,
        threads: &Arc<IoThreads>,
    ) -> io::Result<Door> {
        let (server, threads) = (server.clone(), threads.clone());
        let listener = Arc::new(listener);
        let closed = Arc::new(AtomicBool::new(false));
        let acceptor = {
            let (listener, closed) = (listener.clone(), closed.clone());
            move || {
                loop {
                    match listener.accept() {
                        _ if closed.load(Ordering::Relaxed) => return,
                        Ok((socket, peer)) => admit_tcp(&server, &threads, socket, peer),
                        Err(error) => pause_after(&error),
                    }
                }
            }
        };
        let acceptor = thread::Builder::new()
            .name("hardtack-accept".into())
            .spawn(acceptor)?;
        Ok(Door {
            place,
            listener,
            closed,
            acceptor,
        })
    }

    fn close(self) {
        self.closed.store(true, Ordering::Relaxed);
        // Wakes the acceptor. It ends, and with it the socket.
        let _ = socket2::SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        if self.acceptor.join().is_err() {
            tracing::warn!(
                "The acceptor of {}:{} had failed",
                self.place.0,
                self.place.1
            );
        }
    }
}

/// Where the configuration wants to listen, and where it does not mind if that is impossible.
fn places_of(config: &Config) -> impl Iterator<Item = (Place, bool)> {
    let addresses = config.bind.iter().filter(|_| config.port != 0);
    addresses.map(|address| match address.strip_prefix('-') {
        Some(address) => ((address.to_owned(), config.port), true),
        None => ((address.clone(), config.port), false),
    })
}

/// Opens the places of the configuration that are not open yet; `None` if one of them cannot be.
fn open_tcp(config: &Config, open: &[&Place]) -> Option<Vec<(Place, TcpListener)>> {
    let mut opened = Vec::new();
    for (place, optional) in places_of(config).filter(|(place, _)| !open.contains(&place)) {
        match listen(&place, config.tcp_backlog) {
            Ok(listener) => opened.push((place, listener)),
            Err(error) if optional && error.kind() != io::ErrorKind::AddrInUse => {}
            Err(error) => {
                let (address, port) = place;
                tracing::warn!(
                    "Could not create server TCP listening socket {address}:{port}: {error}"
                );
                return None;
            }
        }
    }
    Some(opened)
}

fn listen((address, port): &Place, backlog: u32) -> io::Result<TcpListener> {
    let ip: IpAddr = match address.as_str() {
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
    socket.bind(&SocketAddr::from((ip, *port)).into())?;
    socket.listen(backlog as i32)?;
    Ok(socket.into())
}

fn admit_tcp(server: &Server, threads: &IoThreads, mut socket: TcpStream, peer: SocketAddr) {
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
        threads.deal(Accepted::Tcp(socket));
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

/// Out of descriptors or the like: others have to go first.
fn pause_after(error: &io::Error) {
    tracing::warn!("Error accepting a client connection: {error}");
    thread::sleep(Duration::from_millis(100));
}
