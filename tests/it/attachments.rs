//! Attachments over HTTP: what is taken in, what is refused, what is handed back, what goes.

mod delete;
mod download;
mod refused;
mod unfinished;
mod upload;
