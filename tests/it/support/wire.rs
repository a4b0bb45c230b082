//! Bytes on the wire: a connection on which a test says exactly what is sent and when.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{PATIENCE, User, form};

/// One connection to the service.
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// An answer as it came: the status, the header lines and as much of the body as they announce.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Wire {
    pub async fn open(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), unread: Vec::new() }
    }

    /// Sends bytes; an error means that the service has closed its end.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await.expect("the service reads")
    }

    /// Says that no more will be sent.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Reads one answer (an interim one, such as 100, too). `None` if the service closes without.
    pub async fn answer(&mut self) -> Option<RawAnswer> {
        let end = loop {
            if let Some(at) = memchr::memmem::find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            if self.read_more().await == 0 {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        self.unread.drain(..end);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = RawAnswer { status, head, body: Vec::new() };
        let size = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.unread.len() < size {
            if self.read_more().await == 0 {
                break;
            }
        }
        let size = size.min(self.unread.len());
        answer.body = self.unread.drain(..size).collect();
        Some(answer)
    }

    /// Reads until the service closes its end; everything that came.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.read_more().await > 0 {}
        std::mem::take(&mut self.unread)
    }

    /// The connection itself, with what was read ahead.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.unread)
    }

    async fn read_more(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("the service answers");
        let read = read.unwrap_or(0);
        self.unread.extend_from_slice(&buffer[..read]);
        read
    }
}

impl RawAnswer {
    /// A header's value; `None` if it is not there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The head of an upload of a form of that many bytes by a user; `more` are further header lines,
/// each ended by CRLF.
pub fn upload_head(user: &User, size: u64, more: &str) -> String {
    format!(
        "POST {} HTTP/1.1\r\nHost: satchel\r\n{}Content-Type: {}\r\nContent-Length: {size}\r\n{more}\r\n",
        user.upload_path(),
        user.authorization(),
        form::content_type(),
    )
}
