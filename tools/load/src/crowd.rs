//! Clients in rooms.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::stream::{SelectAll, SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use hdrhistogram::Histogram;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::protocol::{Heard, Protocol};

/// How long a step (join, talk, leave) may take, unless it is told otherwise.
pub const STEP_LIMIT: Duration = Duration::from_secs(120);
/// How many clients of a room connect at once.
const JOINERS: usize = 16;
/// The most sockets of one run.
const SOCKETS_MAX: usize = 10_000;
/// The most messages to one room in one step.
const MESSAGES_MAX: usize = 100_000;

/// Whom to talk to, and how many do.
#[derive(Debug, Clone)]
pub struct Load {
    pub protocol: Protocol,
    /// The address of a room, with `{room}` where its name is.
    pub url: String,
    pub rooms: usize,
    /// How many sockets are in each room.
    pub sockets: usize,
    /// Whether the server says something to each socket that has come in. If it does
    /// not, a socket counts as in as soon as it is open.
    pub greets: bool,
    /// How long a step (join, talk, leave) may take.
    pub limit: Duration,
}

/// All clients, in their rooms.
#[derive(Debug)]
pub struct Crowd {
    runtime: Runtime,
    protocol: Protocol,
    limit: Duration,
    rooms: Vec<Room>,
}

/// How the joining went.
#[derive(Debug, Clone, Copy)]
pub struct Joined {
    pub sockets: usize,
    pub took: Duration,
}

/// How the talking went.
#[derive(Debug)]
pub struct Talked {
    /// How many messages came to a socket.
    pub deliveries: usize,
    pub took: Duration,
    /// From the sending of a message until the last socket of its room has it, in
    /// microseconds; for messages that were alone in their room.
    pub latency: Histogram<u64>,
}

impl Talked {
    /// Deliveries in a second.
    pub fn rate(&self) -> f64 {
        self.deliveries as f64 / self.took.as_secs_f64()
    }

    /// The delay that a share of the messages does not exceed, in milliseconds: 0.5
    /// is the median.
    pub fn millis(&self, share: f64) -> f64 {
        self.latency.value_at_quantile(share) as f64 / 1e3
    }

    /// Median and 99th percentile, in words.
    pub fn delay(&self) -> String {
        format!("{:.1} ms, p99 {:.1} ms", self.millis(0.5), self.millis(0.99))
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// One room, as all its clients see it.
#[derive(Debug)]
struct Room {
    sinks: Vec<SplitSink<Socket, Message>>,
    ears: SelectAll<Ear>,
}

type Ear = stream::Map<
    stream::Zip<SplitStream<Socket>, stream::Repeat<usize>>,
    fn((Received, usize)) -> (usize, Received),
>;

type Received = Result<Message, tokio_tungstenite::tungstenite::Error>;

impl Crowd {
    /// Opens all sockets, and waits until each is in its room.
    ///
    /// # Errors
    /// If one does not get in in time.
    pub fn join(load: &Load) -> Result<(Self, Joined)> {
        let sockets = load.rooms * load.sockets;
        ensure!(load.url.contains("{room}"), "the address has no {{room}} in it");
        ensure!(
            (1..=SOCKETS_MAX).contains(&sockets),
            "{sockets} sockets, of 1 to {SOCKETS_MAX}"
        );
        open_files(sockets)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let begin = Instant::now();
        let tasks = (0..load.rooms).map(|room| {
            let url = load.url.replace("{room}", &format!("load-{room}"));
            runtime.spawn(Room::join(load.clone(), url))
        });
        let tasks: Vec<_> = tasks.collect();
        let rooms = runtime.block_on(async {
            let all =
                stream::iter(tasks).then(async |task| task.await?).try_collect();
            timeout(load.limit, all)
                .await
                .context("not everybody got in in time: if the server says nothing until it is spoken to, add `--no-greeting`")?
        })?;
        let joined = Joined { sockets, took: begin.elapsed() };
        let (protocol, limit) = (load.protocol, load.limit);
        Ok((Self { runtime, protocol, limit, rooms }, joined))
    }

    /// In every room at the same time: sends `messages` messages, each from another
    /// client, with at most `window` of them on their way at once, and waits until
    /// every socket has all of them.
    ///
    /// # Errors
    /// If that takes too long, or one socket hears something else than
    /// the others, or twice, or too little.
    pub fn talk(&mut self, messages: usize, window: usize) -> Result<Talked> {
        ensure!(
            (1..=MESSAGES_MAX).contains(&messages) && window > 0,
            "{messages} messages, of 1 to {MESSAGES_MAX}"
        );
        let sockets: usize = self.rooms.iter().map(|room| room.sinks.len()).sum();
        let begin = Instant::now();
        let tasks: Vec<_> = self
            .rooms
            .drain(..)
            .map(|room| {
                self.runtime.spawn(room.talk(self.protocol, messages, window))
            })
            .collect();
        let mut latency = Histogram::new(3)?;
        for task in tasks {
            let talking = async { timeout(self.limit, task).await };
            let (room, heard) = self
                .runtime
                .block_on(talking)
                .context("not everybody heard all in time")???;
            latency.add(heard)?;
            self.rooms.push(room);
        }
        let took = begin.elapsed();
        Ok(Talked { deliveries: sockets * messages, took, latency })
    }

    /// Closes all sockets, and waits until the server has closed each of them too.
    ///
    /// # Errors
    /// If that takes too long, or a socket still hears what it has heard already.
    pub fn leave(mut self) -> Result<Duration> {
        let begin = Instant::now();
        let tasks: Vec<_> = self
            .rooms
            .drain(..)
            .map(|room| self.runtime.spawn(room.leave(self.protocol)))
            .collect();
        for task in tasks {
            let leaving = async { timeout(self.limit, task).await };
            self.runtime
                .block_on(leaving)
                .context("not everybody got out in time")???;
        }
        Ok(begin.elapsed())
    }
}

impl Room {
    async fn join(load: Load, url: String) -> Result<Self> {
        let join = |client| enter(&load, &url, client);
        let sockets: Vec<Socket> = stream::iter(0..load.sockets)
            .map(join)
            .buffered(JOINERS)
            .try_collect()
            .await?;
        let (mut sinks, mut ears) = (Vec::new(), SelectAll::new());
        for (client, socket) in sockets.into_iter().enumerate() {
            let (sink, ear) = socket.split();
            sinks.push(sink);
            let tag: fn((Received, usize)) -> (usize, Received) =
                |(received, client)| (client, received);
            ears.push(ear.zip(stream::repeat(client)).map(tag));
        }
        Ok(Self { sinks, ears })
    }

    async fn talk(
        mut self,
        protocol: Protocol,
        messages: usize,
        window: usize,
    ) -> Result<(Self, Histogram<u64>)> {
        let sockets = self.sinks.len();
        let mut latency = Histogram::new(3)?;
        // What was said, in the order in which the first socket heard it, and how
        // many have heard it.
        let mut said: Vec<(String, usize)> = Vec::with_capacity(messages);
        let mut counts = vec![0; sockets];
        let (mut sent, mut complete) = (0, 0);
        let mut last_sent = Instant::now();
        while complete < messages {
            while sent < messages && sent < complete + window {
                let message = Message::text(protocol.message(sent));
                last_sent = Instant::now();
                self.sinks[sent % sockets].send(message).await?;
                sent += 1;
            }
            let (client, received) =
                self.ears.next().await.context("all sockets are closed")?;
            let Some(text) = text(received?)? else { continue };
            match protocol.understand(&text, true) {
                Heard::Said(words) => {
                    let number = counts[client];
                    counts[client] += 1;
                    match said.get_mut(number) {
                        None => said.push((words.to_owned(), 1)),
                        Some((first, heard)) => {
                            ensure!(
                                first == words,
                                "one heard {words}, the others {first}"
                            );
                            *heard += 1;
                        }
                    }
                    if said.get(number).is_some_and(|(_, heard)| *heard == sockets)
                    {
                        complete += 1;
                        if window == 1 {
                            latency.record(u64::try_from(
                                last_sent.elapsed().as_micros(),
                            )?)?;
                        }
                    }
                }
                Heard::Refused => bail!("the server says {text}"),
                Heard::Ready | Heard::Other => {}
            }
        }
        ensure!(said.len() == messages, "{} messages came", said.len());
        let mut texts: Vec<&str> =
            said.iter().map(|(text, _)| text.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        ensure!(texts.len() == messages, "a message came twice");
        Ok((self, latency))
    }

    async fn leave(mut self, protocol: Protocol) -> Result<()> {
        for sink in &mut self.sinks {
            sink.send(Message::Close(None)).await?;
        }
        // The streams end when the server has answered.
        while let Some((_, received)) = self.ears.next().await {
            if let Message::Text(text) = received? {
                let said =
                    matches!(protocol.understand(&text, true), Heard::Said(_));
                ensure!(!said, "{text} came after all had been heard");
            }
        }
        Ok(())
    }
}

/// One client comes into a room.
async fn enter(load: &Load, url: &str, client: usize) -> Result<Socket> {
    let protocol = load.protocol;
    let (mut socket, _) =
        connect_async(url).await.with_context(|| format!("cannot open {url}"))?;
    if let Some(hello) = protocol.hello(client) {
        socket.send(Message::text(hello)).await?;
    }
    if !load.greets {
        return Ok(socket);
    }
    while let Some(received) = socket.next().await {
        let Some(text) = text(received?)? else { continue };
        match protocol.understand(&text, false) {
            Heard::Ready => return Ok(socket),
            Heard::Refused => bail!("the server says {text}"),
            Heard::Said(_) | Heard::Other => {}
        }
    }
    bail!("{url} was closed at once")
}

/// The text of a message, if it is one.
fn text(message: Message) -> Result<Option<String>> {
    match message {
        Message::Text(text) => Ok(Some(text.as_str().to_owned())),
        Message::Close(frame) => bail!("the server closed a socket: {frame:?}"),
        Message::Binary(_) => bail!("the server sent binary"),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
    }
}

/// Each socket is an open file, of which a program may have few, until it asks for
/// more.
fn open_files(sockets: usize) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(sockets)? + 200;
    if limit.current.is_some_and(|current| current < wanted) {
        ensure!(
            limit.maximum.is_none_or(|maximum| maximum >= wanted),
            "this system lets a program have {:?} open files, and {wanted} are wanted",
            limit.maximum
        );
        setrlimit(
            Resource::Nofile,
            Rlimit { current: Some(wanted), maximum: limit.maximum },
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_async;

    use super::*;

    /// What a server may do wrong.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Fault {
        None,
        Silent,
        Lost,
        Twice,
        LastTwice,
        Order,
        Other,
    }

    /// A room for three that counts, and errs once, with the second message to the
    /// last client.
    async fn serve(listener: TcpListener, fault: Fault) -> Result<()> {
        let mut sockets = Vec::new();
        for _ in 0..3 {
            let mut socket = accept_async(listener.accept().await?.0).await?;
            if fault != Fault::Silent {
                socket.send(Message::text("new value: 0")).await?;
            }
            sockets.push(socket);
        }
        let (mut sinks, mut ears): (Vec<_>, Vec<_>) =
            sockets.into_iter().map(StreamExt::split).unzip();
        let mut value = 0;
        loop {
            let next = ears.iter_mut().map(|ear| Box::pin(ear.next()));
            let (received, ..) = futures_util::future::select_all(next).await;
            match received {
                Some(Ok(Message::Text(_))) => value += 1,
                _ => break,
            }
            for (client, sink) in sinks.iter_mut().enumerate() {
                let wrong = value == 2 && client == 2;
                let last = value == 5 && client == 2;
                let says: &[u32] = match fault {
                    Fault::LastTwice if last => &[5, 5],
                    Fault::Lost if wrong => &[],
                    Fault::Twice if wrong => &[2, 2],
                    Fault::Other if wrong => &[7],
                    Fault::Order if client == 2 && value == 2 => &[],
                    Fault::Order if client == 2 && value == 3 => &[3, 2],
                    _ => &[value],
                };
                for value in says {
                    sink.send(Message::text(format!("new value: {value}"))).await?;
                }
            }
        }
        join_all(sinks.iter_mut().map(|sink| sink.close())).await;
        while let Some(Some(Ok(_))) =
            join_all(ears.iter_mut().map(|ear| ear.next())).await.pop()
        {}
        Ok(())
    }

    fn talk_with(fault: Fault, greets: bool) -> Result<Talked> {
        let server = Runtime::new()?;
        let listener = server.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let port = listener.local_addr()?.port();
        server.spawn(serve(listener, fault));
        let load = Load {
            protocol: Protocol::Counter,
            url: format!("ws://127.0.0.1:{port}/{{room}}"),
            rooms: 1,
            sockets: 3,
            greets,
            limit: Duration::from_secs(3),
        };
        let (mut crowd, _) = Crowd::join(&load)?;
        let talked = crowd.talk(5, if fault == Fault::Order { 5 } else { 1 });
        crowd.leave()?;
        talked
    }

    /// A room that does everything right is measured.
    #[test]
    fn a_good_room() -> Result<()> {
        let talked = talk_with(Fault::None, true)?;
        assert_eq!((talked.deliveries, talked.latency.len()), (15, 5));
        Ok(())
    }

    /// A room that says nothing until it is spoken to, as Stateroom's own example, is
    /// measured if that is known; else the way to say so is told.
    #[test]
    fn a_room_that_does_not_greet() -> Result<()> {
        let talked = talk_with(Fault::Silent, false)?;
        assert_eq!((talked.deliveries, talked.latency.len()), (15, 5));
        let error = talk_with(Fault::Silent, true).map(|_| ()).unwrap_err();
        assert!(format!("{error:#}").contains("add `--no-greeting`"), "{error:#}");
        Ok(())
    }

    /// A message that is lost, comes twice, in another order, or is another one than
    /// the others hear, is an error, and no figure.
    #[test]
    fn a_bad_room_is_found_out() {
        for (fault, says) in [
            (Fault::Lost, "not everybody heard all in time"),
            (Fault::Twice, "one heard"),
            (Fault::LastTwice, " came"),
            (Fault::Order, "one heard"),
            (Fault::Other, "one heard"),
        ] {
            let error = talk_with(fault, true).map(|_| ()).unwrap_err();
            assert!(format!("{error:#}").contains(says), "{fault:?}: {error:#}");
        }
    }
}
