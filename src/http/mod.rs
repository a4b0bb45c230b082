//! The outer wall towards the network: what is common to all endpoints.

pub mod answers;
pub mod body;
mod docs_page;
pub mod form;
pub mod health;
pub mod openapi;
pub mod path;
pub mod problem;
pub mod range;
pub mod serve;
