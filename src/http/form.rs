//! `multipart/form-data` (RFC 7578), read as a stream in bounded memory.
//!
//! [`Parser`] turns bytes into events and knows nothing of the network; [`Form`] drives it from a
//! request's body and hands out the files. Odd input behaves as FastAPI's parser (python-multipart
//! 0.0.30 under Starlette) behaves, and where that is lenient without a limit, there is a limit
//! here: see the constants. The bytes of a part are never copied unless a delimiter may straddle
//! two reads, and are searched with SIMD.
//!
//! Not done: nested multiparts, transfer encodings, `filename*` (all ignored by the reference too).

mod head;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use memchr::memmem::Finder;

pub use head::PartHead;

/// Longest boundary accepted, in bytes.
pub const MAX_BOUNDARY: usize = 256;
/// Most bytes of one part's headers.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Most headers of one part.
pub const MAX_HEADERS: usize = 16;
/// Most parts of one form.
pub const MAX_PARTS: usize = 1000;
/// Most bytes of all the parts that are not the wanted file, and of what follows the last part, together.
pub const MAX_OTHER_BYTES: u64 = 1024 * 1024;

/// Why a form could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// The request is not `multipart/form-data` at all.
    #[error("the request is no multipart/form-data")]
    NotMultipart,
    /// The form breaks the rules of its format.
    #[error("malformed form: {0}")]
    Malformed(&'static str),
    /// The body ended before the closing delimiter.
    #[error("unfinished form: the body ended before the closing boundary")]
    Unfinished,
    /// A limit on something other than the file was passed.
    #[error("the form's parts other than the file hold more than {MAX_OTHER_BYTES} bytes together")]
    OthersTooLarge,
    /// The client sent nothing for too long.
    #[error("nothing was received for {} s in the middle of the body", .0.as_secs())]
    Silent(Duration),
    /// The connection broke.
    #[error("the connection broke in the middle of the body")]
    Broken(#[source] axum::Error),
}

/// What the parser found next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A part begins.
    Part(PartHead),
    /// Some bytes of the part.
    Data(Bytes),
    /// The part is complete.
    PartEnd,
    /// The form is complete; whatever follows is ignored.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first delimiter; leading line ends are skipped.
    Start,
    /// In a part's headers.
    Head,
    /// In a part's bytes.
    Data,
    /// Between a part's last byte and what follows its delimiter.
    PartEnd { last: bool },
    /// After the closing delimiter.
    End,
}

/// The format itself: push bytes in, take events out.
#[derive(Debug)]
pub struct Parser {
    /// `\r\n--boundary`.
    delimiter: Vec<u8>,
    finder: Finder<'static>,
    pending: Bytes,
    state: State,
    parts: usize,
}

impl Parser {
    /// A parser for the boundary in a `Content-Type` header's value.
    pub fn new(content_type: &str) -> Result<Self, FormError> {
        let boundary = head::boundary(content_type)?;
        let delimiter = [b"\r\n--", boundary.as_slice()].concat();
        let finder = Finder::new(&delimiter).into_owned();
        Ok(Self { delimiter, finder, pending: Bytes::new(), state: State::Start, parts: 0 })
    }

    /// Gives the parser more bytes.
    pub fn push(&mut self, bytes: Bytes) {
        if self.pending.is_empty() {
            self.pending = bytes;
        } else {
            let mut joined = BytesMut::with_capacity(self.pending.len() + bytes.len());
            joined.extend_from_slice(&self.pending);
            joined.extend_from_slice(&bytes);
            self.pending = joined.freeze();
        }
    }

    /// The next event; `None` when more bytes are needed.
    pub fn next_event(&mut self) -> Result<Option<Event>, FormError> {
        loop {
            match self.state {
                State::Start => match self.start()? {
                    true => {}
                    false => return Ok(None),
                },
                State::Head => return self.head(),
                State::Data => return Ok(self.data()),
                State::PartEnd { last } => {
                    self.state = if last { State::End } else { State::Head };
                    return Ok(Some(Event::PartEnd));
                }
                State::End => {
                    self.pending = Bytes::new();
                    return Ok(Some(Event::End));
                }
            }
        }
    }

    /// Skips line ends and takes the first delimiter, which needs no line end before it.
    fn start(&mut self) -> Result<bool, FormError> {
        let skipped = self.pending.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let _ = self.pending.split_to(skipped);
        let opening = &self.delimiter[2..];
        let known = self.pending.len().min(opening.len());
        if self.pending[..known] != opening[..known] {
            return Err(FormError::Malformed("it does not begin with its boundary"));
        }
        let Some(after) = self.pending.get(opening.len()..opening.len() + 2) else { return Ok(false) };
        self.state = match after {
            b"\r\n" => State::Head,
            b"--" => State::End,
            _ => return Err(FormError::Malformed("its first boundary is not followed by a line end")),
        };
        let _ = self.pending.split_to(opening.len() + 2);
        Ok(true)
    }

    fn head(&mut self) -> Result<Option<Event>, FormError> {
        let length = if self.pending.starts_with(b"\r\n") {
            0
        } else {
            let searched = &self.pending[..self.pending.len().min(MAX_HEADER_BYTES + 4)];
            match memchr::memmem::find(searched, b"\r\n\r\n") {
                Some(at) => at + 2,
                None if searched.len() == MAX_HEADER_BYTES + 4 => {
                    return Err(FormError::Malformed("a part has more than 16384 bytes of headers"));
                }
                None => return Ok(None),
            }
        };
        let head = head::parse(&self.pending[..length])?;
        let _ = self.pending.split_to(length + 2);
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(FormError::Malformed("it has more than 1000 parts"));
        }
        // A part without bytes may be closed by a delimiter whose line end is the one that ended
        // the headers; the reference wants a line end of its own there, and so does this.
        self.state = State::Data;
        Ok(Some(Event::Part(head)))
    }

    fn data(&mut self) -> Option<Event> {
        let mut from = 0;
        while let Some(found) = self.finder.find(&self.pending[from..]) {
            let at = from + found;
            let end = at + self.delimiter.len();
            match self.pending.get(end..end + 2) {
                Some(after @ (b"\r\n" | b"--")) => {
                    let last = after == b"--";
                    let data = self.pending.split_to(at);
                    let _ = self.pending.split_to(self.delimiter.len() + 2);
                    self.state = State::PartEnd { last };
                    return Some(if data.is_empty() { self.part_end(last) } else { Event::Data(data) });
                }
                Some(_) => from = end,
                None => return self.take_data(at),
            }
        }
        self.take_data(self.pending.len() - self.held_back())
    }

    fn part_end(&mut self, last: bool) -> Event {
        self.state = if last { State::End } else { State::Head };
        Event::PartEnd
    }

    fn take_data(&mut self, length: usize) -> Option<Event> {
        (length > 0).then(|| Event::Data(self.pending.split_to(length)))
    }

    /// How many bytes at the end may be the beginning of a delimiter.
    fn held_back(&self) -> usize {
        let window = self.pending.len().min(self.delimiter.len() - 1);
        let tail = &self.pending[self.pending.len() - window..];
        let starts = memchr::memchr_iter(b'\r', tail);
        starts.map(|at| &tail[at..]).find(|rest| self.delimiter.starts_with(rest)).map_or(0, <[u8]>::len)
    }
}

/// A form on its way in.
#[derive(Debug)]
pub struct Form {
    body: axum::body::Body,
    parser: Parser,
    silence: Duration,
    others: u64,
    in_file: bool,
}

impl Form {
    /// The form in a request's body. `silence`: how long the client may send nothing.
    pub fn new(
        content_type: Option<&str>,
        body: axum::body::Body,
        silence: Duration,
    ) -> Result<Self, FormError> {
        let parser = Parser::new(content_type.ok_or(FormError::NotMultipart)?)?;
        Ok(Self { body, parser, silence, others: 0, in_file: false })
    }

    /// Skips to the next part in the given field, a file where it has a non-empty `filename`. `None` once the whole
    /// body is there, with whatever follows the form.
    pub async fn next_part(&mut self, field: &str) -> Result<Option<PartHead>, FormError> {
        loop {
            match self.event().await? {
                Event::Part(head) => {
                    self.in_file = head.name == field && head.filename.is_some();
                    if !self.in_file {
                        self.count_other(head.name.len())?;
                    }
                    if head.name == field {
                        return Ok(Some(head));
                    }
                }
                Event::Data(data) => self.count_other(data.len())?,
                Event::PartEnd => {}
                Event::End => {
                    // A body that breaks off behind its form broke off all the same.
                    while let Some(bytes) = self.read().await? {
                        self.count_other(bytes.len())?;
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// More bytes of the present file; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FormError> {
        if !self.in_file {
            return Ok(None);
        }
        match self.event().await? {
            Event::Data(data) => Ok(Some(data)),
            Event::Part(_) | Event::PartEnd | Event::End => {
                self.in_file = false;
                Ok(None)
            }
        }
    }

    fn count_other(&mut self, bytes: usize) -> Result<(), FormError> {
        self.others += bytes as u64;
        if self.others > MAX_OTHER_BYTES { Err(FormError::OthersTooLarge) } else { Ok(()) }
    }

    async fn event(&mut self) -> Result<Event, FormError> {
        loop {
            if let Some(event) = self.parser.next_event()? {
                return Ok(event);
            }
            let bytes = self.read().await?.ok_or(FormError::Unfinished)?;
            self.parser.push(bytes);
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, FormError> {
        loop {
            let frame = tokio::time::timeout(self.silence, self.body.frame())
                .await
                .map_err(|_| FormError::Silent(self.silence))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(FormError::Broken(error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}
