//! Satchel: a self-hosted attachment service for coding agents.

pub mod attachments;
pub mod blobs;
pub mod clock;
pub mod db;
pub mod http;
pub mod id;
pub mod identity;
