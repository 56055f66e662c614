//! What the black-box tests share: servers as child processes, a raw RESP client, a walk over a whole data set.

mod dataset;
mod process;
mod resp;

pub use dataset::Dataset;
pub use process::{Kind, Server, redis_tool};
pub use resp::{Client, Reply};
