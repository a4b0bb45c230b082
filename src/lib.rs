//! Satchel: a self-hosted attachment service for coding agents.
//!
//! A file is uploaded over HTTP, named in a prompt with a line `ATTACHMENT:"<url>"`, and arrives,
//! whole and verified, in the workspace of the coding agent that runs the session. The rooms, in
//! reading order: [`identity`] (who may do what), [`attachments`] (what is kept and handed back),
//! [`sessions`] (handing files to an agent), [`blobs`] (bytes on disk), and the two outer walls
//! [`http`] and [`cli`]. ARCHITECTURE.md is the map.

pub mod app;
pub mod attachments;
pub mod blobs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod db;
pub mod documents;
pub mod example_agent;
pub mod hex;
pub mod http;
pub mod id;
pub mod identity;
pub mod presence;
pub mod sessions;
pub mod telemetry;
