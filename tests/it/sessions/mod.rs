//! Sessions from their creation to their end, through the API and with real agents, which are shell
//! scripts here.

mod acp;
mod asking;
mod claims;
mod delivery;
mod events;
mod lists;
mod queue;
mod restart;
mod secrets;
mod standing;
mod structured;
mod turns;
