//! The outer wall towards the network: what is common to all endpoints.

pub mod answers;
pub mod body;
pub mod digest;
pub mod form;
pub mod health;
pub mod problem;
pub mod range;
pub mod serve;
