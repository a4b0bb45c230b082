//! The integration tests, in one binary: the real program, real files, real sockets.
//!
//! Each test starts a service of its own on an empty folder and a free port and tells a story
//! through its users. Nothing waits by sleeping: what takes time is polled until a deadline.

#![allow(clippy::unwrap_used)] // A test that cannot go on is to fail.

mod access;
mod attachments;
mod cli;
mod client;
mod containment;
mod crash;
mod durability;
mod identity;
mod limits;
mod names;
mod openapi;
mod prompts;
mod sessions;
mod storage;
mod support;
mod surroundings;
mod tidy;
