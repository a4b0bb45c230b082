//! The outer wall towards the network: what is common to all endpoints.

pub mod form;
pub mod problem;
pub mod range;
