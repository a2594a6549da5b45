//! A real WebSocket client.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::{HeaderName, HeaderValue, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::Base;

/// How long the answer to an upgrade is waited for.
const UPGRADE_LIMIT: Duration = Duration::from_secs(60);
/// How long a message is waited for, unless a test says otherwise.
const MESSAGE_LIMIT: Duration = Duration::from_secs(10);

/// One WebSocket. It blocks while it waits for a message, and gives up in time.
#[derive(Debug)]
pub struct Socket {
    socket: WebSocket<TcpStream>,
    /// What the server answered to the upgrade.
    pub response: Response<Option<Vec<u8>>>,
}

/// The end of a WebSocket: the code and the reason that the server gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    pub code: u16,
    pub reason: String,
}

impl Socket {
    /// Opens a WebSocket at a path of the server.
    ///
    /// # Errors
    /// If the server does not upgrade.
    pub fn open(at: &Base, path: &str) -> Result<Self> {
        Self::open_with(at, path, &[])
    }

    /// Opens a WebSocket with more headers.
    ///
    /// # Errors
    /// If the server does not upgrade. A refusal by HTTP is a
    /// [`tungstenite::Error::Http`], which has its status and its body.
    pub fn open_with(
        at: &Base,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self> {
        Self::open_at(at.host(), at.port(), path, headers)
    }

    /// Opens a WebSocket anywhere.
    pub(crate) fn open_at(
        host: &str,
        port: u16,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self> {
        let url = format!("ws://{host}:{port}{path}");
        let mut request = url.into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(
                HeaderName::from_bytes(name.as_bytes())?,
                HeaderValue::from_str(value)?,
            );
        }
        let stream = TcpStream::connect((host, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(UPGRADE_LIMIT))?;
        let opened = tungstenite::client(request, stream);
        let (socket, response) = opened.map_err(|error| match error {
            HandshakeError::Failure(error) => anyhow::Error::from(error),
            HandshakeError::Interrupted(_) => {
                anyhow::anyhow!("no answer to the upgrade in time")
            }
        })?;
        let mut socket = Self { socket, response };
        socket.patience(MESSAGE_LIMIT)?;
        Ok(socket)
    }

    /// How long a message is waited for.
    ///
    /// # Errors
    /// If the operating system does not take it.
    pub fn patience(&mut self, limit: Duration) -> Result<()> {
        Ok(self.stream().set_read_timeout(Some(limit))?)
    }

    /// The connection below, for a test that wants to break it.
    pub fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// Sends a text.
    ///
    /// # Errors
    /// If the socket is closed.
    pub fn say(&mut self, text: impl Into<String>) -> Result<()> {
        self.send(Message::text(text.into()))
    }

    /// Sends any message.
    ///
    /// # Errors
    /// If the socket is closed.
    pub fn send(&mut self, message: Message) -> Result<()> {
        Ok(self.socket.send(message)?)
    }

    /// The next text or binary message.
    ///
    /// # Errors
    /// If none comes in time, or the socket is closed.
    pub fn message(&mut self) -> Result<Message> {
        loop {
            match self.socket.read()? {
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                Message::Close(frame) => bail!("the socket was closed: {frame:?}"),
                message => return Ok(message),
            }
        }
    }

    /// The next message, which must be a text.
    ///
    /// # Errors
    /// As with [`Socket::message`].
    pub fn text(&mut self) -> Result<String> {
        match self.message()? {
            Message::Text(text) => Ok(text.as_str().to_owned()),
            other => bail!("not a text: {other:?}"),
        }
    }

    /// All messages until one comes that `last` is looking for, and this one too.
    ///
    /// # Errors
    /// As with [`Socket::text`]; with what was heard until then.
    pub fn until(&mut self, last: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let mut heard = Vec::new();
        loop {
            let text =
                self.text().with_context(|| format!("heard {heard:?} so far"))?;
            let found = last(&text);
            heard.push(text);
            if found {
                return Ok(heard);
            }
        }
    }

    /// Whether nothing comes for as long as `quiet`.
    ///
    /// # Errors
    /// If the socket is closed.
    pub fn silent(&mut self, quiet: Duration) -> Result<bool> {
        self.patience(quiet)?;
        let heard = self.socket.read();
        self.patience(MESSAGE_LIMIT)?;
        match heard {
            Err(Error::Io(error))
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                Ok(true)
            }
            Err(error) => Err(error.into()),
            Ok(Message::Close(frame)) => bail!("the socket was closed: {frame:?}"),
            Ok(_) => Ok(false),
        }
    }

    /// Reads on until the server closes the socket, and returns how it did. What
    /// comes before is dropped.
    ///
    /// # Errors
    /// If it does not close in time, or breaks off without a close frame.
    pub fn closed(&mut self) -> Result<Closed> {
        loop {
            if let Message::Close(frame) = self.socket.read()? {
                let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                    (frame.code.into(), frame.reason.as_str().to_owned())
                });
                return Ok(Closed { code, reason });
            }
        }
    }

    /// Closes the socket, and waits for the server's answer.
    ///
    /// # Errors
    /// If none comes in time.
    pub fn close(&mut self, code: u16, reason: &str) -> Result<Closed> {
        let code = CloseCode::from(code);
        self.socket.close(Some(CloseFrame { code, reason: reason.into() }))?;
        self.closed()
    }
}
