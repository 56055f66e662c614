//! Text: numbers, patterns and key slots exactly as Redis 7.0 reads and writes them.
//!
//! Clients and tests compare these bytes, so every rule here was checked against a redis-server 7.0.15. Pure
//! functions without state; nothing here knows about keys or values.

pub mod crc16;
pub mod double;
pub mod glob;
pub mod integer;
pub mod long_double;
#[cfg(test)]
mod redis_oracle;
