//! A client that speaks `counter.v1`: it says what it was told to say, prints what it
//! hears until nothing has come for a while, closes the socket, and prints how.
//!
//! ```sh
//! cargo run --example client -- ws://localhost:8787/ws/plaza increment decrement
//! ```

use std::env;
use std::error::Error;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};
use wire::{FromRoom, PROTOCOL, ToRoom};

const USAGE: &str =
    "client [-w <seconds>] ws://<host>/ws/<room> [increment|decrement]...";

/// How long the server's answer to our close may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Socket = WebSocket<MaybeTlsStream<TcpStream>>;

/// What is asked for on the command line.
struct Asked {
    url: String,
    says: Vec<ToRoom>,
    /// How long nothing has to come before the client goes.
    patience: Duration,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let asked = arguments()?;
    let mut socket = connect(&asked)?;
    for message in &asked.says {
        socket.send(Message::binary(message.encode()?))?;
    }
    listen(&mut socket)
}

// ANCHOR: connect
fn connect(asked: &Asked) -> Result<Socket> {
    let mut request = asked.url.as_str().into_client_request()?;
    request
        .headers_mut()
        .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    // An error if the server does not choose our protocol.
    let (socket, _) = tungstenite::connect(request).map_err(refusal)?;
    wait_at_most(&socket, asked.patience)?;
    Ok(socket)
}
// ANCHOR_END: connect

// ANCHOR: listen
fn listen(socket: &mut Socket) -> Result<()> {
    loop {
        match socket.read() {
            Ok(Message::Binary(frame)) => match FromRoom::decode(&frame) {
                Ok(FromRoom::Value(value)) => println!("{value}"),
                Err(error) => {
                    let code = error.close_code().into();
                    let reason = error.to_string().into();
                    socket.close(Some(CloseFrame { code, reason }))?;
                }
            },
            Ok(Message::Close(Some(CloseFrame { code, reason }))) => {
                println!("closed: {code} {reason}");
                return Ok(());
            }
            Ok(Message::Close(None)) => {
                println!("closed, without a code");
                return Ok(());
            }
            // A text is not for us; pings are answered by the library.
            Ok(_) => {}
            // Nothing came for a while: goodbye. The server's answer ends the loop.
            Err(tungstenite::Error::Io(error))
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut
                ) && socket.can_write() =>
            {
                let (code, reason) = (CloseCode::Normal, "goodbye".into());
                socket.close(Some(CloseFrame { code, reason }))?;
                wait_at_most(socket, ANSWER_LIMIT)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
// ANCHOR_END: listen

fn wait_at_most(socket: &Socket, limit: Duration) -> Result<()> {
    if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
        stream.set_read_timeout(Some(limit))?;
    }
    Ok(())
}

/// What the server said instead of an upgrade.
fn refusal(error: tungstenite::Error) -> Box<dyn Error> {
    match error {
        tungstenite::Error::Http(answer) => answer.status().to_string().into(),
        error => error.into(),
    }
}

fn arguments() -> Result<Asked> {
    let mut arguments = env::args().skip(1).peekable();
    let mut patience = Duration::from_secs(1);
    if arguments.next_if(|argument| argument == "-w").is_some() {
        let seconds: f64 = arguments.next().ok_or(USAGE)?.parse()?;
        patience = Duration::try_from_secs_f64(seconds)?;
    }
    let url = arguments.next().ok_or(USAGE)?;
    let says = arguments
        .map(|word| match word.as_str() {
            "increment" => Ok(ToRoom::Increment),
            "decrement" => Ok(ToRoom::Decrement),
            _ => Err(format!("there is no {word:?}; {USAGE}")),
        })
        .collect::<std::result::Result<_, _>>()?;
    Ok(Asked { url, says, patience })
}
