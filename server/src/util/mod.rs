//! Small helpers without a home of their own: quoting and glob patterns.

pub mod glob;
pub mod quote;
