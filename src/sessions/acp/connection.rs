//! One connection to an agent: requests out, answers in, the agent's own requests answered.
//!
//! This file is the only one that knows how the protocol's crate is driven.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_client_protocol::v1::{ConnectionTo, Responder};
use agent_client_protocol::{
    self as protocol, Client, ErrorCode, JsonRpcNotification, JsonRpcRequest, Lines, UntypedMessage,
};
use futures_util::SinkExt;
use serde_json::Value;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};
use tokio_util::codec::{FramedWrite, LinesCodec, LinesCodecError};
use tokio_util::task::AbortOnDropHandle;

use super::lines::{self, Oddities, Oddity};
use super::permissions::{self, Permissions};
use super::unanswered::Unanswered;
use crate::sessions::agent::Told;

/// Updates that wait to be read; behind them the agent waits.
const QUEUE: usize = 16;
/// After how long without an update what an agent says between turns is complete.
const QUIET: Duration = Duration::from_millis(500);
/// Bytes of an agent's error that are passed on.
const MAX_ERROR_BYTES: usize = 2000;

/// A connection. Dropped, it is closed.
pub(super) struct Connection {
    link: ConnectionTo<protocol::Agent>,
    _driver: AbortOnDropHandle<()>,
    updates: mpsc::Receiver<Told>,
    oddities: Arc<Oddities>,
    cancelling: Arc<AtomicBool>,
    step: &'static str,
    /// Whether it said something since the last turn that may go on.
    speaking: bool,
}

/// A hand on a connection that ends the turn.
pub(super) struct Canceller {
    link: ConnectionTo<protocol::Agent>,
    cancelling: Arc<AtomicBool>,
}

/// What a connection is opened with.
pub(super) struct Rules<'a> {
    pub(super) profile: &'a str,
    pub(super) permissions: Permissions,
    pub(super) max_line_bytes: usize,
    pub(super) max_text_bytes: usize,
}

/// Why a request has no result.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Refusal {
    /// The agent wants somebody to log in first.
    Authentication,
    /// The agent answered with an error, in its own words.
    Answered(String),
    /// The connection is gone.
    Closed,
}

impl Connection {
    pub(super) async fn open(
        stdin: pipe::Sender,
        stdout: pipe::Receiver,
        rules: &Rules<'_>,
    ) -> io::Result<Self> {
        let oddities = Arc::new(Oddities::of(rules.profile));
        let cancelling = Arc::new(AtomicBool::new(false));
        let (told, updates) = mpsc::channel(QUEUE);
        let (line, text) = (rules.max_line_bytes, rules.max_text_bytes);
        let unanswered = Arc::new(Unanswered::default());
        let incoming =
            lines::incoming(stdout, line, text, told, Arc::clone(&unanswered), Arc::clone(&oddities));
        let outgoing = FramedWrite::new(stdin, LinesCodec::new());
        let outgoing = SinkExt::<String>::sink_map_err(outgoing, |error| match error {
            LinesCodecError::Io(error) => error,
            LinesCodecError::MaxLineLengthExceeded => io::Error::other(error),
        });
        let outgoing = outgoing.with(move |line: String| {
            unanswered.sent(&line);
            std::future::ready(Ok::<_, io::Error>(line))
        });
        let answering = {
            let (policy, cancelling, oddities) =
                (rules.permissions, Arc::clone(&cancelling), Arc::clone(&oddities));
            Client.v1().on_receive_request(
                async move |request: UntypedMessage, responder: Responder, _| {
                    if request.method() != permissions::METHOD {
                        oddities.note(Oddity::Request);
                        return responder.respond_with_error(protocol::Error::method_not_found());
                    }
                    let cancelling = cancelling.load(Ordering::Relaxed);
                    responder.respond(permissions::answer(policy, request.params(), cancelling))
                },
                protocol::on_receive_request!(),
            )
        };
        let (send, link) = oneshot::channel();
        let driver = tokio::spawn(async move {
            let served = answering.connect_with(Lines::new(outgoing, incoming), async move |link| {
                let _ = send.send(link);
                std::future::pending::<Result<(), protocol::Error>>().await
            });
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection to an agent ended");
            }
        });
        let driver = AbortOnDropHandle::new(driver);
        let link = link.await.map_err(io::Error::other)?;
        Ok(Self { link, _driver: driver, updates, oddities, cancelling, step: "initialize", speaking: false })
    }

    /// Sends a request and waits for its result. Meanwhile updates go to `told`, or nowhere; all that came before the
    /// result are passed on before this answers.
    pub(super) async fn ask(
        &mut self,
        step: &'static str,
        request: impl JsonRpcRequest,
        told: Option<&mpsc::Sender<Told>>,
    ) -> Result<Value, Refusal> {
        self.step = step;
        let message = request.to_untyped_message().map_err(|error| Refusal::Answered(error.to_string()))?;
        let answer = self.link.send_request(message).block_task();
        let mut answer = std::pin::pin!(answer);
        let pass_on = async |update| {
            if let Some(told) = told {
                let _ = told.send(update).await;
            }
        };
        let answer = loop {
            tokio::select! {
                biased;
                Some(update) = self.updates.recv() => pass_on(update).await,
                answer = &mut answer => break answer,
            }
        };
        while let Ok(update) = self.updates.try_recv() {
            pass_on(update).await;
        }
        answer
            .map_err(|error| if self.link.termination().is_some() { Refusal::Closed } else { refusal(error) })
    }

    /// What can end a turn while its request waits for an answer.
    pub(super) fn canceller(&self) -> Canceller {
        Canceller { link: self.link.clone(), cancelling: Arc::clone(&self.cancelling) }
    }

    /// Reads on between turns; answers when the agent will not write any more. What it tells goes to `told`, with a pause
    /// once it is quiet. Dropped, it loses nothing.
    pub(super) async fn closed(&mut self, told: &mpsc::Sender<Told>) {
        loop {
            // Room first: what was received and then dropped would be lost.
            let Ok(room) = told.reserve().await else { return };
            let wait = if self.speaking { QUIET } else { Duration::MAX };
            match tokio::time::timeout(wait, self.updates.recv()).await {
                Ok(Some(update)) => {
                    self.speaking = true;
                    room.send(update);
                }
                Ok(None) => return,
                Err(_) => {
                    self.speaking = false;
                    room.send(Told::Pause);
                }
            }
        }
    }

    /// What was asked last.
    pub(super) fn step(&self) -> &'static str {
        self.step
    }

    /// What was not understood so far.
    pub(super) fn oddities(&self) -> &Oddities {
        &self.oddities
    }
}

impl Canceller {
    /// Asks the agent to end its turn, and answers its questions for leave accordingly from now on.
    pub(super) fn cancel(&self, notification: impl JsonRpcNotification) {
        self.cancelling.store(true, Ordering::Relaxed);
        // A connection that is closed has no turn to cancel.
        let _ = self.link.send_notification(notification);
    }
}

fn refusal(error: protocol::Error) -> Refusal {
    if protocol::is_incoming_transport_closed(&error) || protocol::is_connection_terminated(&error) {
        return Refusal::Closed;
    }
    if error.code == ErrorCode::AUTH_REQUIRED {
        return Refusal::Authentication;
    }
    let mut text = error.message;
    match error.data {
        Some(Value::String(more)) => text = format!("{text}: {more}"),
        Some(more) if !more.is_null() => text = format!("{text}: {more}"),
        _ => {}
    }
    text.truncate(text.floor_char_boundary(MAX_ERROR_BYTES));
    Refusal::Answered(text)
}
