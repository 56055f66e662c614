//! Who goes when memory is short: clients above `maxmemory-clients` first, then keys.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use hardtack_storage::command::{CommandError, Flags};
use hardtack_storage::engine::Turn;

use crate::client::ClientHandle;
use crate::commands::client_memory;
use crate::server::Server;

/// Makes room before a command with these flags runs, if memory is above its limit.
///
/// # Errors
/// If there is none for a command that needs memory.
pub fn make_room(server: &Server, turn: &mut Turn<'_>, flags: Flags) -> Result<(), CommandError> {
    // What is being loaded is not in the log yet, and nothing may go from it.
    if server.is_loading() || !turn.is_short_of_memory() {
        return Ok(());
    }
    evict_clients(server);
    turn.make_room(flags)
}

/// Disconnects the clients that take the most memory, until the others take no more than they may.
pub fn evict_clients(server: &Server) {
    let config = server.config();
    let memory_max = config.maxmemory_clients.bytes(config.maxmemory);
    drop(config);
    if memory_max == 0 {
        return;
    }
    let mut clients: Vec<(usize, Arc<ClientHandle>)> = server
        .clients
        .all()
        .into_iter()
        .filter(|handle| !handle.no_evict.load(Relaxed) && !handle.is_killed())
        .map(|handle| (client_memory(&handle), handle))
        .collect();
    let mut total: u64 = clients.iter().map(|(bytes, _)| *bytes as u64).sum();
    if total <= memory_max {
        return;
    }
    clients.sort_unstable_by_key(|(bytes, _)| *bytes);
    while total > memory_max
        && let Some((bytes, handle)) = clients.pop()
    {
        total -= bytes as u64;
        if server.clients.kill_for_memory(handle.id, bytes as u64) {
            server.stats.evicted_clients.add(1);
            tracing::info!(
                "Evicting client {} ({}), which takes {bytes} bytes",
                handle.id,
                handle.addr
            );
        }
    }
}
