//! How an attachment is named to a session (contract, section 2), end to end over both versions of
//! the API.

mod outcomes;
mod refusals;
mod table;
