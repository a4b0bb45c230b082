//! Sessions from their creation to their end, through the API and with real agents, which are shell
//! scripts here.

mod acp;
mod acp_hostile;
mod acp_prefix;
mod acp_refused;
mod asking;
mod claims;
mod clock;
mod delivery;
mod events;
mod fleet;
mod lists;
mod queue;
mod restart;
mod secrets;
mod standing;
mod structured;
mod turns;
mod undelivered;
mod workers;
